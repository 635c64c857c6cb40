"""Other libraries that keep what an agent did, on SQLite as they ship: one KB for each save.

They do more than a checkpoint (an event log, a history, a journal of workflows): what their
figures say is what one durable turn of an agent costs there.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.benchmarks.agents import KILOBYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from pathlib import Path

    AsyncSave = Callable[[int, int], Coroutine[Any, Any, None]]

__all__ = ["dbos", "eventsourcing", "openai_agents"]


@contextmanager
def eventsourcing(path: Path, callers: int) -> Generator[Callable[[int, int], None]]:
    """Yield a function that changes the aggregate of a caller and saves it."""
    application = import_module("eventsourcing.application")
    domain = import_module("eventsourcing.domain")

    def change(self: Any, count: int, state: dict[str, Any]) -> None:
        self.count, self.state = count, state

    aggregate: Any = type(
        "Profile",
        (domain.Aggregate,),
        {"__module__": __name__, "change": domain.event("Changed")(change)},
    )
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
    app = application.Application(env=environment)
    profiles = [aggregate() for _ in range(callers)]

    def save(caller: int, i: int) -> None:
        profiles[caller].change(i, KILOBYTE)
        app.save(profiles[caller])

    yield save
    app.close()


@contextmanager
def openai_agents(path: Path, callers: int) -> Generator[AsyncSave]:
    """Yield a function that adds one message to the session of a caller."""
    session = import_module("agents").SQLiteSession
    sessions = [session(f"{caller}", str(path)) for caller in range(callers)]
    text = json.dumps(KILOBYTE)

    async def add(caller: int, i: int) -> None:
        await sessions[caller].add_items([{"role": "user", "content": f"{i} {text}"}])

    yield add
    for opened in sessions:
        opened.close()


@contextmanager
def dbos(path: Path) -> Generator[Callable[[int, int], None]]:
    """Yield a function that runs a workflow of one step with one KB as its argument."""
    system = import_module("dbos").DBOS
    system(
        config={
            "name": "torpor-bench",
            "system_database_url": f"sqlite:///{path}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    def step(state: dict[str, Any]) -> int:
        count: int = state["count"]
        return count

    taken = system.step()(step)

    def workflow(state: dict[str, Any]) -> int:
        count: int = taken(state)
        return count

    started = system.workflow()(workflow)
    system.launch()

    def run(_: int, i: int) -> None:
        started({**KILOBYTE, "count": i})

    yield run
    system.destroy()
