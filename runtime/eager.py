"""Begins coroutines at once, each in a Task of its own from its first step.

A Task waits for the next round of its loop before it begins, and who awaits it for the round
behind that: most of what a short handler costs. Python 3.12 can do without
(``asyncio.Task(…, eager_start=True)``); this does the same from 3.11 on, by the functions that
asyncio keeps for those who write tasks of their own (its documentation, "Extending", task
lifetime support). The Task takes its first step later, as always: then it goes on with what the
coroutine waits for, or is over.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import (
    _enter_task,  # pyright: ignore[reportPrivateUsage] # documented, see above
    _leave_task,  # pyright: ignore[reportPrivateUsage]
)
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextvars import Context

__all__ = ["begin"]

_NOTHING = object()


def begin(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], context: Context
) -> asyncio.Task[None] | None:
    """Run the first step of ``coroutine`` now; return the task that goes on, None if it ended.

    To be called on the thread of ``loop``. All steps run in ``context``. Raises what the first
    one raises.
    """
    begun = _Begun()
    task = asyncio.Task(begun, loop=loop, context=context)
    caller = asyncio.current_task(loop)
    if caller is not None:
        _leave_task(loop, caller)
    _enter_task(loop, task)
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return None
    finally:
        _leave_task(loop, task)
        if caller is not None:
            _enter_task(loop, caller)
    begun.go_on(coroutine, awaited)
    return task


class _Begun(Coroutine[Any, Any, None]):
    """What the Task of a coroutine runs that has begun, and may be over."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._awaited: Any = _NOTHING

    def go_on(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        """Have the Task wait for ``awaited``, as ``coroutine`` does."""
        self._coroutine, self._awaited = coroutine, awaited

    def send(self, value: Any, /) -> Any:
        """Take a step, as the Task asks for it."""
        if self._coroutine is None:
            raise StopIteration
        if self._awaited is not _NOTHING:
            awaited, self._awaited = self._awaited, _NOTHING
            return awaited
        return self._coroutine.send(value)

    def throw(self, error: Any, /, *_: Any) -> Any:
        """Raise ``error``, mostly a cancellation, where the coroutine waits."""
        if self._coroutine is None:
            raise error
        awaited, self._awaited = self._awaited, _NOTHING
        if (
            isinstance(error, asyncio.CancelledError)
            and asyncio.isfuture(awaited)
            and awaited.cancel(*error.args)
        ):
            return awaited  # which the Task, had it waited already, would have cancelled itself
        return self._coroutine.throw(error)

    def close(self) -> None:
        """End the coroutine, if there is one."""
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        msg = "only a Task runs this"
        raise TypeError(msg)
