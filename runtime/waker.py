"""Wakes agents that have something to do: a schedule, or messages that wait.

It knows when what this process committed is due, and is prompt there; what other processes
committed, or an earlier life of this one, it finds by asking the storage every few seconds.
"""

from __future__ import annotations

import heapq
import logging
import threading
from typing import TYPE_CHECKING

from torpor.calls import Call, Control, Reply
from torpor.errands import logged
from torpor.mail import is_mail, receiver_of
from torpor.storage.errors import StorageError, TorporError, UnknownKindError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.manager import InstanceManager
    from torpor.storage import Due

__all__ = ["Waker"]

logger = logging.getLogger("torpor")

_AT_ONCE = 256
_KNOWN = 100_000


class Waker:
    """Puts a tick into the mailbox of every agent that is due. Thread-safe.

    It has no thread: the runtime's timer tells the time, workers ask the storage. Due agents
    are read from the storage's index, ``_AT_ONCE`` more than those that are being ticked, that
    nobody here can wake, or that are still due after their tick, so that these hold up nobody
    behind them.
    """

    def __init__(self, manager: InstanceManager, interval: float | None) -> None:
        self._manager = manager
        self._interval = interval
        self._lock = threading.Lock()
        self._heap: list[tuple[float, str]] = []
        self._known: dict[str, float] = {}
        self._armed = float("inf")
        self._ticking: set[tuple[str, bool]] = set()
        self._again: set[tuple[str, bool]] = set()
        self._stuck: set[str] = set()
        self._ticked_rows: set[tuple[str, float]] = set()
        self._started = False
        self._polling = False
        self._more = False
        self._failing = False

    def start(self) -> None:
        """Ask the storage now, and from now on every interval. Once is enough."""
        if self._started or self._interval is None:
            return
        self._started = True
        self._ask()

    def saved(self, key: str, wake_at: float | None) -> None:
        """Take note of the ``wake_at`` that a record, or the head of a thread, now has."""
        if wake_at is None:
            if key in self._known:
                with self._lock:
                    self._known.pop(key, None)
            return
        with self._lock:
            if self._known.get(key) == wake_at or len(self._heap) >= _KNOWN:
                return  # what does not fit in here is found in the storage
            self._known[key] = wake_at
            heapq.heappush(self._heap, (wake_at, key))
        self._arm(wake_at)

    def _arm(self, wake_at: float) -> None:
        clock = self._manager.clock
        when = clock.monotonic() + max(wake_at - clock.time(), 0)
        with self._lock:
            if when >= self._armed:
                return
            self._armed = when
        self._manager.timer.at(when, self._alarm)

    def _alarm(self) -> None:
        now = self._manager.clock.time()
        due: list[str] = []
        with self._lock:
            self._armed = float("inf")
            while self._heap and self._heap[0][0] <= now:
                wake_at, key = heapq.heappop(self._heap)
                if self._known.get(key) == wake_at:
                    del self._known[key]
                    due.append(key)
            following = self._heap[0][0] if self._heap else None
        if due:
            self._manager.errands.run(
                lambda: self._wake(due),
                logged("cannot wake some who are due, will find them again: %s"),
            )
        if following is not None:
            self._arm(following)

    def _wake(self, due: list[str]) -> None:
        for key in due:
            self._wake_one(key)

    def _wake_one(self, key: str, *, found: Due | None = None) -> bool:
        """Tick the agent that a due record belongs to; False if that can't be done here."""
        if not is_mail(key):
            return self.tick(key, found=found)
        try:
            address = receiver_of(self._manager.storage, key)
        except StorageError:
            return False
        return address is not None and self.tick(address, mail=True, found=found)

    # -- what the storage knows ---------------------------------------------------------------

    def _ask(self) -> None:
        assert self._interval is not None
        self._poll()
        self._manager.timer.after(self._interval, self._ask)

    def _poll(self) -> None:
        with self._lock:
            if self._polling or self._manager.stopping:
                return
            self._polling = True
            limit = _AT_ONCE + len(self._ticking) + len(self._stuck)
        self._manager.errands.run(lambda: self._wake_due(limit), self._polled)

    def _polled(self, found: tuple[bool, set[str]] | None, error: BaseException | None) -> None:
        if error is not None and not self._failing:
            logger.warning("cannot ask who is due, will ask again: %s", error)
        self._failing = error is not None
        full, stuck = found or (False, set[str]())
        with self._lock:
            self._polling = False
            grown = len(stuck) > len(self._stuck)
            self._stuck = stuck
            self._more = full
            # Their ticks may all be over by now: then nobody else looks for more.
            again = self._more and (grown or len(self._ticking) < _AT_ONCE // 2)
            self._more = self._more and not again
        if again:
            self._poll()

    def _wake_due(self, limit: int) -> tuple[bool, set[str]]:
        """Tick those that are due; return whether there may be more, and as ``_wake_found``."""
        due = self._manager.storage.list_due(self._manager.clock.time(), limit)
        return len(due) >= limit, self._wake_found(due)

    def _wake_found(self, due: Sequence[Due]) -> set[str]:
        """Tick those that are due; return who can't be, or was, and is due as before."""
        with self._lock:
            self._ticked_rows &= {(item.key, item.wake_at) for item in due}
            stuck = {key for key, _ in self._ticked_rows}
        return stuck | {item.key for item in due if not self._wake_one(item.key, found=item)}

    # -- ticks --------------------------------------------------------------------------------

    def tick(self, address: str, *, mail: bool = False, found: Due | None = None) -> bool:
        """Have an agent look after what it has to do; False if it can't be woken here and now.

        ``mail``: there is some. ``found``: what the storage says, and so its copy in memory may
        be older than what is stored.
        """
        tick = (address, mail)
        with self._lock:
            if tick in self._ticking:
                if found is None:  # what is due now came up after that one had looked
                    self._again.add(tick)
                return True
            self._ticking.add(tick)
        reply = Reply[object].of(self._manager)
        fresh = found is not None and address in self._manager.table
        call = Call(address, Control.TICK, (mail,), reply_to=reply, fresh=fresh)
        try:
            self._manager.deliver(self._manager.ref_of(address), call)
        except TorporError as error:
            if isinstance(error, UnknownKindError):
                self._manager.note_unknown(error)
            with self._lock:
                self._ticking.discard(tick)
            return False
        reply.on_settled(lambda: self._ticked(tick, found))
        return True

    def _ticked(self, tick: tuple[str, bool], found: Due | None) -> None:
        with self._lock:
            self._ticking.discard(tick)
            if found is not None:
                self._ticked_rows.add((found.key, found.wake_at))
            repeat = tick in self._again
            self._again.discard(tick)
            few = len(self._ticking) < _AT_ONCE // 2
            more = self._more and few and not self._polling
            self._more = self._more and not more
        if repeat:
            self._manager.pool.schedule(lambda: self._repeat(tick))
        if more:
            self._poll()

    def _repeat(self, tick: tuple[str, bool]) -> None:
        address, mail = tick
        self.tick(address, mail=mail)
