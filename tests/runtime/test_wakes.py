"""Tasks on event loops are woken from other threads, many by one call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from torpor.clock import SystemClock
from torpor.testing import ManualClock
from torpor.wakes import Wakes, gathered

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = 20


def in_thread(work: Callable[[], object]) -> None:
    """Have another thread do ``work``, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def run(
    burst: Callable[[Wakes, list[asyncio.Future[None]]], None],
    calls: list[object] | None = None,
) -> int:
    """Have ``burst`` wake tasks from another thread; return by how many calls into the loop."""
    called: list[object] = [] if calls is None else calls

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe

        def counted(wake: Callable[[], object]) -> asyncio.Handle:
            called.append(wake)
            return call(wake)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", counted)
            wakes = Wakes(loop, SystemClock())
            futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(TASKS)]
            in_thread(lambda: burst(wakes, futures))
            await asyncio.gather(*futures)

    asyncio.run(wait())
    return len(called)


def test_a_burst_is_one_call() -> None:
    """What is woken while the loop is on its way needs no call of its own."""

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            wakes.wake(future)

    assert run(burst) == 1


def test_what_is_gathered_is_woken_at_the_end_of_the_block() -> None:
    """Until then the loop is left alone."""
    calls: list[object] = []
    before: list[int] = []

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        with gathered():
            for future in futures:
                wakes.wake(future)
            before.append(len(calls))

    assert run(burst, calls) == 1
    assert before == [0]


def test_each_burst_is_woken() -> None:
    """A wake that comes while the loop takes those before is not lost."""
    rounds = 200

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        wakes = Wakes(loop, SystemClock())
        for _ in range(rounds):
            futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(TASKS)]
            threads = [threading.Thread(target=wakes.wake, args=(future,)) for future in futures]
            for thread in threads:
                thread.start()
            await asyncio.gather(*futures)
            for thread in threads:
                thread.join()

    asyncio.run(wait())


def test_a_closed_loop_is_left_alone() -> None:
    """Nobody waits on it any more, and the other loops of a burst are still woken."""

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        with gathered():
            closed.wake(closed.loop.create_future())
            for future in futures:
                wakes.wake(future)

    loop = asyncio.new_event_loop()
    loop.close()
    closed = Wakes(loop, SystemClock())

    assert run(burst) == 1


def test_a_task_that_is_cancelled_first() -> None:
    """Its future is done by then: that is no error, and the others are woken."""

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        wakes.loop.call_soon_threadsafe(lambda: futures[0].set_result(None))
        for future in futures:
            wakes.wake(future)

    run(burst)


def test_deadlines_share_one_timer() -> None:
    """Each is kept, in whatever order they were given, and one that is forgotten is not."""

    async def wait() -> None:
        loop, clock = asyncio.get_running_loop(), ManualClock()
        wakes, now = Wakes(loop, clock), clock.monotonic()
        late, early, forgotten, last = (loop.create_future() for _ in range(4))
        for future, after in ((late, 5), (early, 1), (forgotten, 2), (last, 9)):
            wakes.wake_at(now + after, future)
        wakes.forget(forgotten)

        await asyncio.to_thread(clock.advance, 1)
        await early
        assert not late.done()
        clock.advance(4)
        await late
        assert not last.done()
        assert not forgotten.done()
        clock.advance(4)
        await last

    asyncio.run(wait())
