"""Other actor systems: one actor with an int of state, in the same process where there is that.

Each function hands a loop that asks for the int, one call at a time, to ``measure``.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.benchmarks.case import Lab

__all__ = ["autogen", "ray", "thespian", "xoscar"]


def autogen(lab: Lab) -> float:
    """Return the microseconds of ``send_message`` to a ``RoutedAgent``, awaited."""
    core = import_module("autogen_core")

    async def read(self: Any, message: Any, ctx: Any) -> int:  # noqa: ARG001 - as it is called
        count: int = self.count
        return count

    read.__annotations__ |= {"message": Read, "ctx": core.MessageContext, "return": int}
    fields = {"count": 0, "read": core.message_handler(read)}
    counter: Any = type("Counter", (core.RoutedAgent,), fields)

    async def run() -> float:
        system = core.SingleThreadedAgentRuntime()
        await counter.register(system, "counter", lambda: counter("counter"))
        system.start()
        agent = core.AgentId("counter", "one")
        took = await awaited(lab, lambda: system.send_message(Read(), agent))
        await system.stop()
        return took

    logging.getLogger("autogen_core").setLevel(logging.ERROR)
    return asyncio.run(run())


@dataclass
class Read:
    """The message to autogen's agent."""


def xoscar(lab: Lab) -> float:
    """Return the microseconds of a call of an actor in the pool's main process, awaited."""
    xo = import_module("xoscar")

    class Counter(xo.Actor):  # type: ignore[misc, name-defined] # it is Any here
        def __init__(self) -> None:
            self.count = 0

        async def read(self) -> int:
            return self.count

    async def run() -> float:
        async with await xo.create_actor_pool("127.0.0.1", n_process=0) as pool:
            counter = await xo.create_actor(Counter, address=pool.external_address, uid="one")
            return await awaited(lab, counter.read)

    return asyncio.run(run())


def ray(lab: Lab) -> float:
    """Return the microseconds of a call of an actor, which has a process of its own."""
    system = import_module("ray")

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def read(self) -> int:
            return self.count

    system.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    counter = system.remote(Counter).remote()
    try:
        return repeated(lab, lambda: system.get(counter.read.remote()))
    finally:
        system.shutdown()


def thespian(lab: Lab) -> float:
    """Return the microseconds of an ask with thespian's base for a single thread."""
    actors = import_module("thespian.actors")

    def receive(self: Any, message: Any, sender: Any) -> None:
        if message == "read":
            self.send(sender, 0)

    counter = type("Counter", (actors.Actor,), {"receiveMessage": receive})
    counter.__module__ = __name__
    system = actors.ActorSystem("simpleSystemBase")
    try:
        actor = system.createActor(counter)
        return repeated(lab, lambda: system.ask(actor, "read", 30))
    finally:
        system.shutdown()


def repeated(lab: Lab, call: Callable[[], object]) -> float:
    """Return the microseconds of a blocking call."""

    def work(n: int) -> None:
        for _ in range(n):
            call()

    return 1e6 / lab.rate(work)


async def awaited(lab: Lab, call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Return the microseconds of an awaited call, on the loop that runs."""

    async def work(n: int) -> None:
        for _ in range(n):
            await call()

    return 1e6 / await lab.arate(work)
