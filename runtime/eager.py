"""Begins coroutines at once: a Task goes on with those that wait, the others never need one.

A Task costs a call at least two rounds of its loop, and most of what a short handler costs. On
Python 3.12 ``asyncio.Task(…, eager_start=True)`` saves the rounds. Here, from 3.11 on, a spare
Task stands in as the current one while a first step runs, by the functions that asyncio keeps
for those who write tasks of their own (asyncio's documentation, "Extending", task lifetime
support). If the step ends the coroutine, the spare is as it was; if not, it carries on with it.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import (
    _enter_task,  # pyright: ignore[reportPrivateUsage] # documented, see above
    _leave_task,  # pyright: ignore[reportPrivateUsage]
    _register_task,  # pyright: ignore[reportPrivateUsage]
    _unregister_task,  # pyright: ignore[reportPrivateUsage]
)
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["EagerTasks"]

_NOTHING = object()


class EagerTasks:
    """Starts coroutines on one event loop, and on its thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spare: _Spare | None = None

    def start(
        self, coroutine: Coroutine[Any, Any, None], context: Context
    ) -> asyncio.Task[None] | None:
        """Run the first step of ``coroutine`` now; return the task that goes on, None if it ended.

        All its steps run in ``context`` and in the same current task. Raises what it raises now.
        """
        spare = self._spare
        self._spare = None  # a step may begin others
        if spare is None or not spare.is_untouched():
            spare = _Spare(self._loop)
        caller = asyncio.current_task(self._loop)
        if caller is not None:
            _leave_task(self._loop, caller)
        _enter_task(self._loop, spare.task)
        goes_on = False
        try:
            awaited = context.run(coroutine.send, None)
            goes_on = True
        except StopIteration:
            return None
        finally:
            _leave_task(self._loop, spare.task)
            if caller is not None:
                _enter_task(self._loop, caller)
            if spare.listed is not goes_on:
                spare.list(listed=goes_on)
            if not goes_on:
                self._put_back(spare)
        spare.carrier.carry(coroutine, context, awaited)
        return spare.task

    def _put_back(self, spare: _Spare) -> None:
        inner: Any = spare.task
        if inner._callbacks:  # noqa: SLF001 - the handler wants to know when its task ends: now
            spare.carrier.carry(_nothing(), Context(), _NOTHING)
        else:
            self._spare = spare


class _Spare:
    """A Task that has nothing to do yet.

    While it is not ``listed`` it is nothing that anybody should wait for, or miss: ``all_tasks``
    does not tell of it, and its loop may end before it.
    """

    __slots__ = ("carrier", "listed", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.carrier = _Carrier(loop)
        self.task = asyncio.Task(self.carrier, loop=loop, context=Context())
        self.listed = True  # as every new task; if the first step waits, it stays so

    def is_untouched(self) -> bool:
        """Whether no handler has cancelled what it took for its own task."""
        inner: Any = self.task
        must_cancel: bool = inner._must_cancel  # noqa: SLF001 - there is no other way to know
        # One that was cancelled before its first step of its own has ended in that.
        return self.carrier.is_free and not must_cancel and not self.task.done()

    def list(self, *, listed: bool) -> None:
        """Have it counted among the loop's tasks, or not."""
        (_register_task if listed else _unregister_task)(self.task)
        inner: Any = self.task
        inner._log_destroy_pending = listed  # noqa: SLF001 - as ``asyncio.gather`` does
        self.listed = listed


class _Carrier(Coroutine[Any, Any, None]):
    """What a spare Task runs: it waits until it is given a coroutine that has begun."""

    __slots__ = ("_awaited", "_context", "_coroutine", "_loop", "_parked")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parked: asyncio.Future[None] | None = None
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._context: Context | None = None
        self._awaited: Any = _NOTHING

    @property
    def is_free(self) -> bool:
        """Whether nothing is carried, and nobody cancelled the waiting for it."""
        return self._coroutine is None and not (self._parked and self._parked.done())

    def carry(self, coroutine: Coroutine[Any, Any, None], context: Context, awaited: Any) -> None:
        """Go on with ``coroutine``, which waits for ``awaited``."""
        self._coroutine, self._context, self._awaited = coroutine, context, awaited
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    def send(self, value: Any, /) -> Any:
        """Take a step, as the Task asks for it."""
        del value  # a Task sends nothing
        if self._coroutine is None:
            self._parked = self._loop.create_future()
            self._parked._asyncio_future_blocking = True  # noqa: SLF001 - as ``await`` does
            return self._parked
        assert self._context is not None
        if self._awaited is not _NOTHING:
            awaited, self._awaited = self._awaited, _NOTHING
            return awaited
        return self._context.run(self._coroutine.send, None)

    def throw(self, error: Any, /, *_: Any) -> Any:
        """Raise ``error``, mostly a cancellation, where the coroutine waits."""
        if self._coroutine is None:
            raise error
        assert self._context is not None
        awaited, self._awaited = self._awaited, _NOTHING
        if (
            isinstance(error, asyncio.CancelledError)
            and asyncio.isfuture(awaited)
            and awaited.cancel(*error.args)
        ):
            return awaited  # which the Task, had it waited already, would have cancelled itself
        return self._context.run(self._coroutine.throw, error)

    def close(self) -> None:
        """End the coroutine, if there is one."""
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        msg = "only a Task runs this"
        raise TypeError(msg)


async def _nothing() -> None:
    """End at once."""
