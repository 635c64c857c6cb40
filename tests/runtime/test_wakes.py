"""Tasks on event loops are woken from other threads, many by one call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from torpor.clock import SystemClock
from torpor.testing import ManualClock
from torpor.wakes import Wakes, gathered

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = 20


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the calls from other threads."""

    calls = 0

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, **options: Any
    ) -> asyncio.Handle:
        """Count, and call."""
        self.calls += 1
        return super().call_soon_threadsafe(callback, *args, **options)


def in_thread(work: Callable[[], object]) -> None:
    """Have another thread do ``work``, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def run(wake: Callable[[Wakes, list[asyncio.Future[None]]], None]) -> int:
    """Have ``wake`` wake tasks from another thread; return by how many calls into the loop."""
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)

        async def wait() -> None:
            wakes = Wakes(loop, SystemClock())
            futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(TASKS)]
            in_thread(lambda: wake(wakes, futures))
            await asyncio.gather(*futures)

        runner.run(wait())
        return loop.calls


def test_a_burst_is_one_call() -> None:
    """What is woken while the loop is on its way needs no call of its own."""

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            wakes.wake(future)

    assert run(burst) == 1


def test_what_is_gathered_is_woken_at_the_end_of_the_block() -> None:
    """Until then the loop is left alone."""
    calls: list[int] = []

    def burst(wakes: Wakes, futures: list[asyncio.Future[None]]) -> None:
        with gathered():
            for future in futures:
                wakes.wake(future)
            assert isinstance(wakes.loop, CountingLoop)
            calls.append(wakes.loop.calls)

    assert run(burst) == 1
    assert calls == [0]


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
        wakes.loop.call_soon_threadsafe(futures[0].set_result, None)
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
