"""Locks between threads and between processes, on files, with a time limit."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from torpor.storage.errors import ConfigurationError, StorageUnavailableError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

__all__ = ["FileLocks"]

_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.002  # short, so that a process that commits without a pause starves nobody


class FileLocks:
    """Exclusive locks, one per name, each a file in ``folder``.

    They exclude threads (by a mutex) and processes (by ``flock``) alike. The kernel releases
    those of a process that died. Lock files are never removed: a process might lock the removed
    file while another one locks its successor.
    """

    def __init__(self, folder: Path, names: Iterable[str], *, timeout: float) -> None:
        if sys.platform == "win32":
            msg = "file storage needs POSIX file locks: use sqlite storage on Windows"
            raise ConfigurationError(msg)
        self._folder = folder
        self._names = tuple(names)
        self._timeout = timeout
        self._start_afresh()
        _all_locks.add(self)

    def _start_afresh(self) -> None:
        self._mutexes = {name: threading.Lock() for name in self._names}
        self._held: set[int] = set()

    def forget_parent(self) -> None:
        """In a forked child: let go of what the parent's other threads held at that moment.

        Closing a descriptor that both share does not unlock it for the parent.
        """
        for descriptor in self._held:
            os.close(descriptor)
        self._start_afresh()

    @contextmanager
    def hold(self, names: Iterable[str]) -> Generator[None]:
        """Hold the locks of ``names`` for the block, taken in order of name.

        Raises ``StorageUnavailableError`` if they cannot all be had within the timeout.
        """
        deadline = time.monotonic() + self._timeout
        with ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self._hold_one(name, deadline))
            yield

    @contextmanager
    def _hold_one(self, name: str, deadline: float) -> Generator[None]:
        mutex = self._mutexes[name]
        if not mutex.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._busy(name)
        try:
            # Opened anew each time: flock belongs to the open file, which a fork would share.
            descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o666)
            self._held.add(descriptor)
            try:
                self._wait_for(descriptor, name, deadline)
                try:
                    yield
                finally:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                self._held.discard(descriptor)
                os.close(descriptor)
        finally:
            mutex.release()

    def _wait_for(self, descriptor: int, name: str, deadline: float) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise self._busy(name) from None
            else:
                return
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _busy(self, name: str) -> StorageUnavailableError:
        where = self._folder / name
        return StorageUnavailableError(f"{where} was held by another for {self._timeout:g} s")


_all_locks: weakref.WeakSet[FileLocks] = weakref.WeakSet()


def _forget_parent() -> None:
    for locks in _all_locks:
        locks.forget_parent()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_parent)
