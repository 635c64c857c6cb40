"""Where async handlers run: on the loop of ``async with Runtime(…)``, else on a private one."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from torpor.eager import begin
from torpor.eventloop import current_loop

if TYPE_CHECKING:
    from torpor.activation import Activation
    from torpor.turn import Turn

__all__ = ["AsyncTurns"]

logger = logging.getLogger("torpor")

_PATIENCE = 2.0
_BEGUN_IN_A_ROW = 64


class AsyncTurns:
    """Runs each async turn in an asyncio Task from its first step, in its call's context.

    One that is called from outside of turns, of an agent with nothing else to do, begins in the
    middle of its call. While a turn awaits, its agent takes no other message and holds no worker.
    Turns started from other threads reach the loop by one wake-up a burst.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._private: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting: list[tuple[Activation, Turn]] = []
        self._tasks: dict[Turn, asyncio.Task[None]] = {}
        self._cancelling = False
        self._begun = 0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use ``loop``, which stays its owner's, from now on."""
        self._loop = loop

    def start(self, activation: Activation, turn: Turn) -> None:
        """Start an async turn. Any thread."""
        loop = self._loop or self._require_loop()
        if self.on_its_loop():
            self._start(activation, turn)
            return
        with self._lock:
            first = not self._starting
            self._starting.append((activation, turn))
        if first:
            loop.call_soon_threadsafe(self._start_all)

    def on_its_loop(self) -> bool:
        """Whether the calling thread runs the loop that async turns run on."""
        loop = current_loop()
        return loop is not None and loop is self._loop

    def cancel_all(self) -> None:
        """Cancel every turn that still runs, and those to come; each is rolled back. Any thread."""
        self._cancelling = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._cancel_all)

    def close(self) -> None:
        """Stop the private loop, if there is one. One that a handler blocks is left alone."""
        loop, thread = self._private, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_PATIENCE)
            self._thread = None

    def _require_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = self._private = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=[loop], name="torpor-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def _start_all(self) -> None:
        loop = self._loop
        if loop is not None and not self.on_its_loop():  # another one was attached meanwhile
            loop.call_soon_threadsafe(self._start_all)
            return
        with self._lock:
            starting, self._starting = self._starting, []
        for activation, turn in starting:
            self._start(activation, turn)

    def _start(self, activation: Activation, turn: Turn) -> None:
        assert self._loop is not None
        context = turn.call.context
        if context is None:
            context = contextvars.copy_context()
        self._begun += 1
        steps = self._run(activation, turn)
        # Not those that a turn calls: each would begin inside of the one before. And now and then
        # a caller has to wait: one that awaits call after call must let its loop go on.
        if turn.call.urgent or self._cancelling or self._begun % _BEGUN_IN_A_ROW == 0:
            task = self._loop.create_task(steps, context=context)
            if task.done():  # a task factory of the loop's owner has begun it, too
                return
            self._tasks[turn] = task
            task.add_done_callback(partial(self._ended, activation, turn))
            if self._cancelling:
                task.cancel()
            return
        try:
            begun = begin(self._loop, steps, context)
        except Exception as error:  # no concern of those behind it, nor of what begins it
            logger.exception("%s: torpor failed at the end of a turn", activation.address)
            turn.call.refuse(error)
            return
        if begun is not None:
            self._tasks[turn] = begun

    async def _run(self, activation: Activation, turn: Turn) -> None:
        call = turn.call
        assert not isinstance(call.message, str)
        ended = True
        try:
            if not activation.begin(turn):
                return
            result = await call.message.function(activation.agent, *call.args, **call.kwargs)
        except asyncio.CancelledError as error:
            activation.end(turn, None, activation.cancelled(error))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            ended = call.origin is None or not call.origin.may_bury
            if ended:
                activation.end(turn, None, error)
            else:
                fail = partial(_fail, activation, turn, error, contextvars.copy_context())
                activation.pool.schedule(fail)
        else:
            activation.end_well(turn, result)
        finally:
            self._tasks.pop(turn, None)
            if ended:
                activation.resume_after_async()

    def _ended(self, activation: Activation, turn: Turn, task: asyncio.Task[None]) -> None:
        if task.cancelled() and turn.open:  # before its first step
            self._tasks.pop(turn, None)
            activation.end(turn, None, activation.cancelled(asyncio.CancelledError()))
            activation.resume_after_async()

    def _cancel_all(self) -> None:
        for task in tuple(self._tasks.values()):
            task.cancel()


def _fail(
    activation: Activation, turn: Turn, error: BaseException, context: contextvars.Context
) -> None:
    """End a failed turn, and go on, on a worker: a loop does not wait for the storage."""
    try:
        context.run(activation.end, turn, None, error)
    except BaseException as failure:
        turn.call.refuse(failure)
        raise
    finally:
        activation.resume_after_async()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
