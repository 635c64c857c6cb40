"""Durable changes of one KB of state on servers, by 64 asyncio callers, each its own agent.

On PostgreSQL beside LangGraph's ``PostgresSaver.put``, called straight from the tasks on its one
connection. On a Redis that forces its append-only file to disk every second (which is about
speed only: what it acknowledged last is lost with the machine) beside redis-py's ``SET`` of as
much, one by one.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Profile
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.peers.langgraph import LangGraphSaver
from tests.benchmarks.places import POSTGRESQL, postgresql, redis_everysec
from tests.benchmarks.together import in_tasks
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

CALLERS = 64


def torpor(lab: Lab) -> Figures:
    """Submit and await."""
    with postgresql() as url:
        on_postgresql = asyncio.run(_save(lab, url))
    with redis_everysec(lab.folder) as url:
        on_redis = asyncio.run(_save(lab, url))
    return {"PostgreSQL": on_postgresql, "Redis": on_redis}


async def _save(lab: Lab, url: str) -> float:
    async with Runtime(url) as runtime:
        agents = [runtime.get(Profile, f"{n}") for n in range(CALLERS)]

        async def save(caller: int, _: int) -> None:
            await agents[caller].submit(Profile.add)

        return await _rate(lab, save)


def langgraph(lab: Lab) -> Figures:
    """Put."""
    with LangGraphSaver.open_postgres(POSTGRESQL) as saver:

        async def put(caller: int, i: int) -> None:
            saver.put(f"{caller}", i)
            await asyncio.sleep(0)

        return {"PostgreSQL": asyncio.run(_rate(lab, put))}


def plain_set(lab: Lab) -> Figures:
    """Set."""
    client_class = import_module("redis").Redis
    document = Profile().model_dump_json()
    with redis_everysec(lab.folder) as url, client_class.from_url(url) as client:

        def work(n: int) -> None:
            for i in range(n):
                client.set(f"{i % CALLERS}", document)

        return {"Redis": lab.rate(work)}


def _rate(
    lab: Lab, save: Callable[[int, int], Coroutine[Any, Any, object]]
) -> Coroutine[Any, Any, float]:
    return lab.arate(lambda n: in_tasks(CALLERS, n, save), begin_with=CALLERS)


CASE = Case(
    name="servers",
    rows="P12",
    title="durable saves of 1 KB on servers",
    figures={"PostgreSQL": Unit.PER_SECOND, "Redis": Unit.PER_SECOND},
    contenders={TORPOR: torpor, "LangGraph": langgraph, "SET one by one": plain_set},
    bars=[
        Bar(figure="PostgreSQL", peer="LangGraph", at_least=8),
        Bar(figure="Redis", peer="SET one by one", at_least=3),
    ],
)
