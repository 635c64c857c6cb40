"""Many callers at once."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["in_tasks", "in_threads"]


def in_threads(callers: int, n: int, work: Callable[[int, int], object]) -> None:
    """Have ``callers`` threads share ``work(caller, i)`` for i in 0 … n - 1."""
    errors: list[BaseException] = []

    def run(caller: int) -> None:
        try:
            for i in range(caller, n, callers):
                work(caller, i)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


async def in_tasks(
    callers: int, n: int, work: Callable[[int, int], Coroutine[Any, Any, object]]
) -> None:
    """Have ``callers`` tasks share ``work(caller, i)`` for i in 0 … n - 1."""

    async def run(caller: int) -> None:
        for i in range(caller, n, callers):
            await work(caller, i)

    async with asyncio.TaskGroup() as group:
        for caller in range(callers):
            group.create_task(run(caller))
