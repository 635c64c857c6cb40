"""Many callers at once, or one with many calls in flight."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from torpor import Reply

__all__ = [
    "Sharing",
    "TaskSharing",
    "in_tasks",
    "in_threads",
    "pipelined",
    "straight",
    "timed",
    "timed_tasks",
]

T = TypeVar("T")


class Sharing(Protocol):
    """Has ``callers`` share ``work(caller, i)`` for i in 0 … n - 1."""

    __name__: str

    def __call__(self, callers: int, n: int, work: Callable[[int, int], object], /) -> None:
        """Do so."""


class TaskSharing(Protocol):
    """Has ``callers`` tasks share ``await work(caller, i)`` for i in 0 … n - 1."""

    __name__: str

    async def __call__(
        self, callers: int, n: int, work: Callable[[int, int], Coroutine[Any, Any, object]], /
    ) -> None:
        """Do so."""


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


def straight(callers: int, n: int, work: Callable[[int, int], object]) -> None:
    """Have ``callers`` tasks share work that blocks, called straight from them, by turns."""

    async def call(caller: int, i: int) -> None:
        work(caller, i)
        await asyncio.sleep(0)

    asyncio.run(in_tasks(callers, n, call))


def timed(share: Sharing, times: list[float]) -> Sharing:
    """Return ``share`` that adds to ``times`` how many seconds each piece of work takes."""

    @wraps(share)
    def timed_share(callers: int, n: int, work: Callable[[int, int], object]) -> None:
        def call(caller: int, i: int) -> None:
            begin = time.perf_counter()
            work(caller, i)
            times.append(time.perf_counter() - begin)

        share(callers, n, call)

    return timed_share


def timed_tasks(share: TaskSharing, times: list[float]) -> TaskSharing:
    """Return ``share`` that adds to ``times`` how many seconds each piece of work takes."""

    @wraps(share)
    async def timed_share(
        callers: int, n: int, work: Callable[[int, int], Coroutine[Any, Any, object]]
    ) -> None:
        async def call(caller: int, i: int) -> None:
            begin = time.perf_counter()
            await work(caller, i)
            times.append(time.perf_counter() - begin)

        await share(callers, n, call)

    return timed_share


def pipelined(
    submit: Callable[[int], Reply[T]], numbers: Iterable[int], *, in_flight: int
) -> Iterator[T]:
    """Yield what is answered to each number, in order; keep ``in_flight`` calls waited for."""
    replies: deque[Reply[T]] = deque()
    for number in numbers:
        if len(replies) == in_flight:
            yield replies.popleft().get()
        replies.append(submit(number))
    for reply in replies:
        yield reply.get()
