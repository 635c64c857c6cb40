"""A call on its way to an agent, and the future of its reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import pykka
from pykka._envelope import Envelope  # the type that pykka's own inboxes carry

from torpor.eventloop import on_event_loop
from torpor.storage.errors import BlockingCallError, CallTimeoutError, SaveError
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

    from pykka._types import OptExcInfo

    from torpor.commands import Command
    from torpor.durable import DurableActor
    from torpor.manager import InstanceManager
    from torpor.origin import Origin

__all__ = ["Call", "Control", "Reply"]

logger = logging.getLogger("torpor")

R = TypeVar("R")

_NO_KEYWORDS: dict[str, Any] = {}


class Control:
    """What the runtime itself asks of an agent, by a message in its mailbox."""

    HIBERNATE = "hibernate"
    DELETE = "delete"
    TICK = "tick"


class Call(Envelope[Any]):
    """One message. ``message`` (pykka's word) is its command, or a ``Control`` name."""

    __slots__ = (
        "_ticket",
        "activation",
        "alone",
        "args",
        "attempts",
        "context",
        "deadline",
        "depth",
        "fresh",
        "kwargs",
        "origin",
        "retry_until",
        "target",
        "trouble",
        "urgent",
    )

    reply_to: Reply[Any] | None

    # Positional on the way of every message: by keywords it takes three times as long.
    def __init__(  # noqa: PLR0913 - one place that makes them
        self,
        target: str,
        message: Command | str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        context: Context | None = None,
        reply_to: Reply[Any] | None = None,
        deadline: float | None = None,
        *,
        fresh: bool = False,
        urgent: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.message = message
        self.reply_to = reply_to  # pyright: ignore[reportIncompatibleVariableOverride]
        self.target = target
        self.args = args
        self.kwargs = _NO_KEYWORDS if kwargs is None else kwargs
        self.context = context
        self.deadline = deadline
        self.fresh = fresh
        self.urgent = urgent
        self.origin = origin
        self.depth = 0
        self.attempts = 0
        self.activation: DurableActor | None = None
        self.alone = False
        self.retry_until: float | None = None
        self.trouble: BaseException | None = None
        if reply_to is None:
            self._ticket = None
        else:
            reply_to.call = self
            self._ticket = [None]

    def start(self) -> bool:
        """Claim the call for its (first) run; False if it was withdrawn."""
        return self._ticket is None or self.attempts > 0 or self.withdraw()

    def start_unseen(self) -> None:
        """Claim the call for its first run while nobody else knows of it."""
        self._ticket = None

    def withdraw(self) -> bool:
        """Take the call back; False if it has started."""
        # list.pop is atomic: of start and withdraw only one gets the ticket.
        if self._ticket is None:
            return False
        try:
            self._ticket.pop()
        except IndexError:
            return False
        return True

    def refuse(self, error: BaseException) -> None:
        """Answer with ``error``, if anybody waits for an answer."""
        if self.reply_to is not None:
            self.reply_to.settle(None, error)


class Reply(pykka.Future[R], Generic[R]):
    """The future of one call: ``get()`` it from a thread, or ``await`` it on any event loop.

    Without a timeout of its own, ``get`` waits until the call's deadline and then raises
    ``CallTimeoutError``; a call that has not started by then is withdrawn. Cancelling the task
    that awaits it withdraws the call too, if it has not started.
    """

    _done = False
    _value: Any = None
    _error: BaseException | None = None
    _waiters: list[Callable[[], None]] | None = None
    _get_hook: Any = None
    _get_hook_result: Any = pykka.Future[Any]()._get_hook_result  # noqa: SLF001 - "none yet"
    manager: InstanceManager | None = None  # pykka makes futures of its own accord, without one
    call: Call | None = None

    if not TYPE_CHECKING:
        # Not pykka's, which makes objects that few replies need; the class has its defaults.
        __init__ = object.__init__

    @classmethod
    def of(cls, manager: InstanceManager) -> Self:
        """Return a new reply of a call in ``manager``."""
        reply = cls()
        reply.manager = manager
        return reply

    def __repr__(self) -> str:
        call = self.call
        return f"<Reply from {call.target}: pending>" if call else "<Reply: done>"

    @property
    def done(self) -> bool:
        """Whether the reply, a value or an error, is there."""
        return self._done

    @property
    def error(self) -> BaseException | None:
        """The error that the call ended with; None if it ended well, or has not ended."""
        return self._error

    def on_settled(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the reply is there, on the thread that brings it; or at once.

        What it raises there is logged.
        """
        ticket = [None]

        def once() -> None:
            # Whoever settles it and whoever finds it settled may both come: one gets the ticket.
            try:
                ticket.pop()
            except IndexError:
                return
            then()

        self._add_waiter(once)
        if self._done:
            once()

    def settle(self, value: Any, error: BaseException | None) -> bool:
        """Set the result; False if there is one already."""
        if self._done:
            return False
        self._value = value
        self._error = error
        # Waiters add themselves and then look at _done; here it is the other way round.
        self._done = True
        waiters = self._waiters
        if waiters:
            for wake in tuple(waiters):
                try:
                    wake()
                except Exception:  # of one waiter, and no concern of the others
                    logger.exception("what was to be called with a reply failed")
        self.call = None  # it refers to this reply: nothing is to wait for the cycle collector
        return True

    def set(self, value: R | None = None) -> None:
        """Set the value; ``queue.Full`` if there is a result (pykka's contract)."""
        if self._get_hook is not None or not self.settle(value, None):
            raise queue.Full

    def set_exception(self, exc_info: OptExcInfo | None = None) -> None:
        """Set an error, by default the one being handled; ``queue.Full`` if there is a result."""
        error = (exc_info or sys.exc_info())[1]
        if self._get_hook is not None or not self.settle(None, error):
            raise queue.Full

    def cancel(self) -> bool:
        """Withdraw the call if it has not started; return whether it was withdrawn."""
        call = self.call
        if call is None or not call.withdraw():
            return False
        detail = "cancelled before it started"
        self.settle(None, CallTimeoutError(call.target, detail, "not_run"))
        return True

    def get(self, *, timeout: float | None = None) -> R:
        """Wait for the result and return it, or raise it if it is an error.

        Raises ``CallTimeoutError`` after ``timeout`` seconds (the call goes on), or at the
        call's own deadline; ``BlockingCallError`` on a thread with a running event loop;
        ``CallCycleError`` inside a turn if the wait could never end.
        """
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self._done:
            self._wait(timeout)
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value

    def __await__(self) -> Generator[Any, None, R]:
        if self._get_hook is not None:
            return (yield from asyncio.to_thread(self.get).__await__())
        if not self._done:
            yield from self._wait_async().__await__()
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value

    __iter__ = __await__

    def _add_waiter(self, wake: Callable[[], None]) -> list[Callable[[], None]]:
        waiters: list[Callable[[], None]] = self.__dict__.setdefault("_waiters", [])
        waiters.append(wake)
        return waiters

    def _wait(self, timeout: float | None) -> None:
        manager, call = self.manager, self.call
        if call is None:
            assert self._done, "nobody is going to settle this reply"
            return
        assert manager is not None
        if on_event_loop():
            detail = "this thread runs an event loop; await the reply instead"
            raise BlockingCallError(call.target, detail)
        lock = threading.Lock()
        lock.acquire()
        wake = partial(_release, lock)
        waiters = self._add_waiter(wake)
        if self._done:
            return
        deadline = call.deadline
        if timeout is not None:
            limit = manager.clock.monotonic() + timeout
            deadline = limit if deadline is None else min(deadline, limit)
        turn = current_turn()
        try:
            with manager.pool.blocking(call.target):
                if turn is None:
                    manager.clock.acquire(lock, deadline)
                else:
                    with manager.waits.waiting(turn.activation.address, call.target, self):
                        manager.clock.acquire(lock, deadline)
        except BaseException:
            self.cancel()
            raise
        if not self._done:
            waiters.remove(wake)
            self._time_out(call, manager.clock.monotonic())

    async def _wait_async(self) -> None:
        manager, call = self.manager, self.call
        if call is None:
            assert self._done, "nobody is going to settle this reply"
            return
        assert manager is not None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        wakes = manager.wakes_on(loop)
        wake = partial(wakes.wake, future)
        waiters = self._add_waiter(wake)
        if self._done:
            return
        if call.deadline is not None:
            wakes.wake_at(call.deadline, future)
        turn = current_turn()
        try:
            if turn is None:
                await future
            else:
                with manager.waits.waiting(turn.activation.address, call.target, self):
                    await future
        except BaseException:
            self.cancel()
            raise
        finally:
            waiters.remove(wake)
            wakes.forget(future)
        if not self._done:
            self._time_out(call, manager.clock.monotonic())

    def _time_out(self, call: Call, now: float) -> None:
        expired = call.deadline is not None and call.deadline <= now
        trouble = call.trouble
        if expired and call.withdraw():
            detail = f"not started in time: {trouble}" if trouble else "not started in time"
            error = CallTimeoutError(call.target, detail, "not_run")
            error.__cause__ = trouble
            self.settle(None, error)
        elif expired and trouble is not None and call.activation is not None:
            call.activation.stall(trouble)
            detail = f"not saved in time, saving goes on: {trouble}"
            raise SaveError(call.target, detail) from trouble
        elif not self._done:
            raise CallTimeoutError(call.target, "no reply in time", "unknown")


def _release(lock: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # its deadline has released it already
        lock.release()
