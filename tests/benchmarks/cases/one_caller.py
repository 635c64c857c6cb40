"""One caller, one call at a time, one KB of state on SQLite at full durability; medians.

Torpor: ``thaw, answer`` asks a hibernated agent for an int; ``durable turn`` changes one in
memory; ``thaw, change, save, hibernate`` asks a hibernated one to change and has it hibernate.
The floor is one append of one KB to a file and one fsync. LangGraph saves a changed checkpoint
of the same state by ``SqliteSaver.put`` and loads it by ``get_tuple``.
"""

from __future__ import annotations

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.floor import AppendOnlyFile
from tests.benchmarks.peers.langgraph import LangGraphSaver
from torpor import Runtime

CALLS = 2_000
THAW = "thaw, answer"
TURN = "durable turn"
CYCLE = "thaw, change, save, hibernate"
FLOOR = "append, fsync"


def torpor(lab: Lab) -> Figures:
    """Ask an agent that is asleep, one that is awake, and one that hibernates afterwards."""
    url = f"sqlite:///{lab.folder}/store.db"
    count = 2 * lab.count(CALLS)
    with Runtime(url) as runtime:
        for reply in [runtime.get(Profile, f"{n}").submit(Profile.add) for n in range(count)]:
            reply.get()
    with Runtime(url, max_live=count) as runtime:
        agents = [runtime.get(Profile, f"{n}") for n in range(count)]

        def change_and_hibernate(i: int) -> None:
            agents[i].ask(Profile.add)
            agents[i].hibernate()

        cycle = lab.median_microseconds(CALLS, change_and_hibernate)
        thaw = lab.median_microseconds(CALLS, lambda i: agents[i].ask(Profile.read))
        assert runtime.stats().thaws == 2 * count
        turn = lab.median_microseconds(CALLS, lambda _: agents[0].ask(Profile.add))
    return {THAW: thaw, TURN: turn, CYCLE: cycle}


def floor(lab: Lab) -> Figures:
    """Append and sync."""
    file = AppendOnlyFile(lab.folder / "log")
    took = lab.median_microseconds(CALLS, lambda _: file.append())
    file.close()
    return {THAW: took, TURN: took, CYCLE: took}


def langgraph(lab: Lab) -> Figures:
    """Put and get."""
    with LangGraphSaver.open(lab.folder / "saver.db") as saver:

        def put_and_get(i: int) -> None:
            saver.put("thread", i)
            assert saver.get("thread") == i

        return {TURN: lab.median_microseconds(CALLS, put_and_get)}


CASE = Case(
    name="one_caller",
    rows="P7",
    title="one call at a time, median",
    figures=dict.fromkeys([THAW, TURN, CYCLE], Unit.MICROSECONDS),
    contenders={TORPOR: torpor, FLOOR: floor, "LangGraph": langgraph},
    bars=[
        Bar(figure=THAW, peer=FLOOR, at_most=1),
        Bar(figure=TURN, peer=FLOOR, at_most=1.6),
        Bar(figure=CYCLE, peer=FLOOR, at_most=2.2),
        Bar(figure=TURN, peer="LangGraph", at_least=1.2),
    ],
)
