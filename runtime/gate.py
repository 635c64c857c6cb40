"""The output gate of one agent: what its turns did is seen outside once it is durable.

An actor here has finished turns that wait for a commit (``unsaved``), at most one change on its
way to the storage (``inflight``), and turns that may be answered (``ready``). All of it is
guarded by the actor's lock; answers are given outside of it, by one thread at a time, in order.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torpor.storage.errors import ConflictError
from torpor.workers import PooledActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.manager import InstanceManager, Registration
    from torpor.storage import Change, ThreadHead
    from torpor.system import SystemState
    from torpor.thread import AgentThread
    from torpor.turn import Turn

__all__ = ["Gate", "GatedActor", "Inflight"]


class Inflight:
    """One change on its way, and what waits for it: turns, and calls of a running one."""

    __slots__ = ("attempts", "change", "count", "failure", "first_failure", "queue")

    def __init__(self, change: Change, queue: list[Turn | Gate], count: int) -> None:
        self.change = change
        self.queue = queue
        self.count = count
        self.attempts = 0
        self.failure: BaseException | None = None
        self.first_failure: float | None = None


class Gate:
    """A call that a running turn made, kept back until all earlier turns are durable.

    It queues among the turns that wait for a commit, and leaves in its place.
    """

    __slots__ = ("refuse", "send", "turn")

    def __init__(
        self, turn: Turn, send: Callable[[], None], refuse: Callable[[BaseException], None]
    ) -> None:
        self.turn = turn
        self.send = send
        self.refuse = refuse

    def release(self) -> None:
        """Let the call out."""
        self.send()


class GatedActor(PooledActor):
    """A pooled actor whose turns are gated by commits. See the module.

    ``base`` is the encoded state after the last finished turn; ``rev`` the durable revision;
    ``dirty`` says that finished turns changed what no change has taken up yet (``changes``
    counts them); ``epoch`` grows when the copy in memory turns out to be stale.
    """

    __slots__ = (
        "address",
        "base",
        "changes",
        "dirty",
        "epoch",
        "head",
        "inflight",
        "journal",
        "manager",
        "ready",
        "recovering",
        "registration",
        "releasing",
        "rev",
        "seen",
        "stalled",
        "system",
        "unsavable",
        "unsaved",
        "unstored",
    )

    def __init__(self, manager: InstanceManager, registration: Registration, address: str) -> None:
        super().__init__(manager.pool)
        self.manager = manager
        self.registration = registration
        self.address = address
        self.base = b""
        # The field values that ``base`` was encoded from, if none of them can change in itself.
        self.seen: tuple[object, ...] | None = None
        self.rev = 0
        self.head: ThreadHead | None = None
        self.journal: AgentThread | None = None
        self.system: SystemState | None = None
        self.dirty = False
        self.changes: int = 0
        self.epoch: int = 0
        self.inflight: Inflight | None = None
        # None instead of empty lists: most agents are idle, and there may be a million.
        self.unsaved: list[Turn | Gate] | None = None
        self.ready: list[Turn | Gate] | None = None
        self.recovering: list[Turn] | None = None
        self.releasing = False
        self.unstored = False
        self.stalled: BaseException | None = None
        self.unsavable: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Whether everything that finished turns did is durable and answered."""
        return (
            self.inflight is None
            and not self.dirty
            and not self.unsaved
            and not self.ready
            and not self.releasing
        )

    @property
    def busy_saving(self) -> bool:
        """Whether finished turns wait to be saved, or answered, by themselves and soon."""
        return not self.settled and not self._answered_early()

    @property
    def trouble(self) -> BaseException | None:
        """Why the last save failed, None if it did not."""
        inflight = self.inflight
        return self.unsavable or (inflight.failure if inflight else None)

    @abstractmethod
    def rested(self) -> None:
        """Take note that nothing is left to do. Called unlocked."""

    @abstractmethod
    def flush(self, *, inline: bool = False) -> None:
        """Send what finished turns changed, unless a change is on its way already."""

    def finish(self, turn: Turn, encoded: bytes) -> None:
        """Take up a turn that has ended with the state ``encoded``; answer it when it may be."""
        journal, system = self.journal, self.system
        with self.lock:
            turn.open = False
            if turn.epoch != self.epoch:
                self.recovering = [*(self.recovering or ()), turn]
                return
            changed = encoded != self.base or self.unstored
            if changed:
                self.base = encoded
                self.seen = None
                self.unstored = False
            if journal is not None and journal.turn_dirty:
                changed = True
                journal.close_turn()
            if system is not None and system.turn_dirty:
                changed = True
                system.close_turn()
            turn.changed = changed
            if self._is_held(turn):
                return
        turn.release()

    def _is_held(self, turn: Turn) -> bool:
        """Whether a turn that has ended is answered later only. Lock held."""
        durability = self.registration.options.durability
        if turn.changed and durability != "none":
            self.dirty = True
            self.changes += 1
            self.unsavable = None
        if durability == "turn":
            if self.dirty or self.inflight is not None:
                if self.unsaved is None:
                    self.unsaved = []
                self.unsaved.append(turn)  # there may be hundreds
                return True
        elif self.dirty:
            self.manager.note_dirty(self)
        if self.releasing or self.ready:
            self.ready = [*(self.ready or ()), turn]
            return True
        return False

    def finish_unchanged(self, turn: Turn) -> bool:
        """End a turn that changed nothing and may be answered now; False if it may not."""
        with self.lock:
            if (
                turn.epoch != self.epoch
                or self.dirty
                or self.inflight is not None
                or self.unstored
                or self.ready
                or self.releasing
            ):
                return False
            turn.open = False
        return True

    def let_out(self, gate: Gate, *, inline: bool) -> bool:
        """Say whether a running turn's call may leave now: all earlier turns are durable.

        If not, it is sent once they are, or refused if they turn out to be stale.
        """
        turn = gate.turn
        with self.lock:
            stale = turn.epoch != self.epoch
            gated = self.registration.options.durability == "turn"
            if not stale and gated and (self.dirty or self.inflight is not None):
                self.unsaved = [*(self.unsaved or ()), gate]
            else:
                turn.let_out = turn.let_out or not stale
                if not stale and not (self.ready or self.releasing):
                    return True
                if not stale:
                    self.ready = [*(self.ready or ()), gate]
        if stale:
            gate.refuse(self._stale())
        else:
            self.flush(inline=inline)
            self._release()
        return False

    def _release(self) -> None:
        while self._release_some():
            pass

    def _release_some(self) -> bool:
        turns: list[Turn | Gate] | None = None
        released = 0
        try:
            with self.lock:
                if self.releasing or not self.ready:
                    self.ready = self.ready or None
                    return False
                self.releasing = True
                turns, self.ready = self.ready, None
            for turn in turns:
                released += 1
                turn.release()
        finally:
            if turns is not None:
                # Not in a function: at its begin an interrupt may come.
                with self.lock:
                    self.releasing = False
                    if left := turns[released:]:
                        self.ready = [*left, *(self.ready or ())]
                if left:  # by an interrupt, which is one caller's and not the others'
                    self.pool.schedule(self._release)
        return bool(self.ready)  # whoever adds to it from now on comes here too

    def stall(self, error: BaseException) -> None:
        """Refuse new calls until the change that is on its way is saved or conflicts."""
        with self.lock:
            if self.inflight is not None:
                self.stalled = error

    def _answered_early(self) -> bool:
        return self.registration.options.durability != "turn"

    def _stale(self) -> ConflictError:
        return ConflictError(self.address, expected=self.rev, found=None, outcome="not_run")

    def forget_changes(self) -> None:
        """Take note that what finished turns changed is on its way, or is not wanted any more."""
        self.dirty = False
        self.changes = 0
        self.unsavable = None

    def note_outdated(self) -> None:
        """Have the running turn run again on the newest copy: it saw that this is an old one.

        With turns before it unsaved there is nothing to do: their commit will conflict.
        """
        with self.lock:
            if self.inflight is None and not self.dirty:
                self.epoch += 1
