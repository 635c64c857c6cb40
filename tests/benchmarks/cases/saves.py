"""Durable changes of one KB of state in SQLite at full durability.

Torpor: a call that changes an agent in memory, each caller its own agent; the reply comes when
the change is synced to disk. LangGraph: ``SqliteSaver.put`` of a checkpoint with the same
state, each caller its own thread id, WAL and ``synchronous=FULL`` as it ships. (Its async
saver is slower; the sync one, called straight from the tasks, is its best.) The others write as
much by their own means, called by threads or tasks as their interface is made for; see
``peers.sessions``.
"""

from __future__ import annotations

import asyncio

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers import sessions
from tests.benchmarks.peers.langgraph import LangGraphSaver
from tests.benchmarks.together import in_tasks, in_threads
from torpor import Runtime

CALLERS = 64


def torpor(lab: Lab) -> Figures:
    """Ask, or submit and await."""
    with Runtime(f"sqlite:///{lab.folder}/threads.db") as runtime:
        agents = [runtime.get(Profile, f"{n}") for n in range(CALLERS)]
        one = lab.rate(lambda n: in_threads(1, n, lambda _, __: agents[0].ask(Profile.add)))
        threads = lab.rate(
            lambda n: in_threads(CALLERS, n, lambda caller, _: agents[caller].ask(Profile.add))
        )
    with asyncio.Runner() as runner:
        runtime = Runtime(f"sqlite:///{lab.folder}/tasks.db")
        runner.run(runtime.__aenter__())
        agents = [runtime.get(Profile, f"{n}") for n in range(CALLERS)]

        async def save(caller: int, _: int) -> None:
            await agents[caller].submit(Profile.add)

        tasks = lab.rate(lambda n: runner.run(in_tasks(CALLERS, n, save)))
        runner.run(runtime.astop())
    return {"one at a time": one, "64 threads": threads, "64 tasks": tasks}


def langgraph(lab: Lab) -> Figures:
    """Put."""
    with LangGraphSaver.open(lab.folder / "saver.db") as saver, asyncio.Runner() as runner:

        def put(caller: int, i: int) -> None:
            saver.put(f"{caller}", i)

        async def aput(caller: int, i: int) -> None:
            saver.put(f"{caller}", i)
            await asyncio.sleep(0)

        return {
            "one at a time": lab.rate(lambda n: in_threads(1, n, put)),
            "64 threads": lab.rate(lambda n: in_threads(CALLERS, n, put)),
            "64 tasks": lab.rate(lambda n: runner.run(in_tasks(CALLERS, n, aput))),
        }


def eventsourcing(lab: Lab) -> Figures:
    """Change an aggregate and save it."""
    with sessions.eventsourcing(lab.folder / "events.db", CALLERS) as save:
        return {
            "one at a time": lab.rate(lambda n: in_threads(1, n, save)),
            "64 threads": lab.rate(lambda n: in_threads(CALLERS, n, save)),
        }


def openai_agents(lab: Lab) -> Figures:
    """Add a message to a session."""
    with (
        sessions.openai_agents(lab.folder / "sessions.db", CALLERS) as add,
        asyncio.Runner() as runner,
    ):
        return {
            "one at a time": lab.rate(lambda n: runner.run(in_tasks(1, n, add))),
            "64 tasks": lab.rate(lambda n: runner.run(in_tasks(CALLERS, n, add))),
        }


def dbos(lab: Lab) -> Figures:
    """Run a workflow of one step."""
    with sessions.dbos(lab.folder / "dbos.db") as run, asyncio.Runner() as runner:

        async def arun(caller: int, i: int) -> None:
            await asyncio.to_thread(run, caller, i)

        return {
            "one at a time": lab.rate(lambda n: in_threads(1, n, run)),
            "64 threads": lab.rate(lambda n: in_threads(CALLERS, n, run)),
            "64 tasks": lab.rate(lambda n: runner.run(in_tasks(CALLERS, n, arun))),
        }


CASE = Case(
    name="saves",
    rows="P5",
    title="durable saves of 1 KB",
    figures=dict.fromkeys(["one at a time", "64 threads", "64 tasks"], Unit.PER_SECOND),
    contenders={
        TORPOR: torpor,
        "LangGraph": langgraph,
        "eventsourcing": eventsourcing,
        "OpenAI Agents": openai_agents,
        "DBOS": dbos,
    },
    bars=[
        Bar(figure="64 threads", peer="LangGraph", at_least=3),
        Bar(figure="64 tasks", peer="LangGraph", at_least=8),
        Bar(figure="64 tasks", peer="DBOS", at_least=50),
    ],
)
