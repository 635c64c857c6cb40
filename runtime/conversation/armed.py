"""Which runs of at-most-once tools are still to come, in this process's memory.

A run is marked ``running`` in the agent's state before it starts, and its token is armed here.
Starting it disarms the token. So a call that is ``running`` whose token is not armed has been
started, here or in a process that is gone, and its end was never saved.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torpor.runtime import Runtime

__all__ = ["arm", "disarm", "is_armed"]

_lock = threading.Lock()
_tokens: WeakKeyDictionary[Runtime, set[str]] = WeakKeyDictionary()


def arm(runtime: Runtime, token: str) -> None:
    """Note that the run with this token is to be started in ``runtime``."""
    with _lock:
        _tokens.setdefault(runtime, set()).add(token)


def is_armed(runtime: Runtime, token: str) -> bool:
    """Whether the run with this token has not been started."""
    with _lock:
        return token in _tokens.get(runtime, ())


def disarm(runtime: Runtime, token: str) -> bool:
    """Note that the run with this token starts; False if it has been started, or never can."""
    with _lock:
        tokens = _tokens.get(runtime, set())
        armed = token in tokens
        tokens.discard(token)
        return armed
