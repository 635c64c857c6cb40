"""The output gate of one agent: what its turns did is seen outside once it is durable.

An actor here has finished turns that wait for a commit (``unsaved``), at most one change on its
way to the storage (``inflight``), and turns that may be answered (``ready``). All of it is
guarded by the actor's lock; answers are given outside of it, by one thread at a time, in order.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from torpor.events import ConflictDetected, SaveFailed
from torpor.storage import Change, Conflict, Put, Rejected, Saved
from torpor.storage.errors import (
    ConflictError,
    SaveError,
    StorageClosedError,
    StorageUnavailableError,
)
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff
from torpor.system import SystemState, join
from torpor.workers import PooledActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.manager import InstanceManager, Registration
    from torpor.storage import ThreadHead, ThreadWrite
    from torpor.thread import AgentThread
    from torpor.turn import Turn

__all__ = ["DurableActor", "Gate"]


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


class DurableActor(PooledActor):
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
        self.changes = 0
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

    # -- what the runtime keeps in the record -------------------------------------------------

    def runtime_state(self) -> SystemState:
        """Return the runtime's section of this agent, made if there is none."""
        if self.system is None:
            self.system = SystemState(self.address)
        return self.system

    def send_outbox(self) -> None:
        """Have delivered what is durable in the outbox and not under way."""
        with self.lock:
            system = self.system
            waiting = system.waiting() if system is not None else None
        if waiting and system is not None:
            self.manager.courier.send(self.address, system.life, waiting)

    # -- turns come in ------------------------------------------------------------------------

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

    # -- changes go out -----------------------------------------------------------------------

    def flush(self, *, inline: bool = False) -> None:
        """Send what finished turns changed, unless a change is on its way already.

        A state that was rejected is not sent again before something has changed.
        """
        with self.lock:
            if self.inflight is not None or not self.dirty or self.recovering is not None:
                return
            if self.unsavable is not None:
                return
            self.inflight = Inflight(self._change(), self.unsaved or [], self.changes)
            self.unsaved = None
            self.forget_changes()
        self.manager.commits.submit(self, inline=inline)

    def flush_delete(self, turn: Turn, *, inline: bool) -> None:
        """Send the removal of the record and its thread. Everything before it is durable."""
        with self.lock:
            change = Change(
                key=self.address,
                expected_rev=self.rev,
                delete=True,
                at=self.manager.clock.time(),
            )
            self.inflight = Inflight(change, [turn], 1)
        self.manager.commits.submit(self, inline=inline)

    def _change(self) -> Change:
        spec = self.registration.spec
        data, wake_at = self.base.decode(), None
        if self.system is not None:
            section, wake_at = self.system.save()
            data = join(section, data)
        return Change(
            key=self.address,
            expected_rev=self.rev,
            put=Put(data=data, kind=spec.kind, version=spec.version),
            thread=self.journal.finished() if self.journal is not None else None,
            wake_at=wake_at,
            at=self.manager.clock.time(),
        )

    def committed(
        self, outcome: Saved | Conflict | Rejected | None, error: BaseException | None
    ) -> None:
        """Take the outcome of the change on its way, or the error of its batch."""
        if isinstance(outcome, Saved):
            self._saved(outcome)
        elif isinstance(outcome, Conflict):
            self._conflicted(outcome)
        elif isinstance(outcome, Rejected):
            self._rejected(outcome.error)
        else:
            self._failed(error or StorageUnavailableError("no outcome"))

    def _saved(self, outcome: Saved) -> None:
        with self.lock:
            inflight = self.inflight
            assert inflight is not None
            self.inflight = None
            self.stalled = None
            self.unsavable = None
            self.rev = 0 if inflight.change.delete else outcome.rev
            self.head = None if inflight.change.delete else outcome.thread
            write: ThreadWrite | None = inflight.change.thread
            if write is not None and self.journal is not None:
                self.journal.saved(write, outcome.thread)
            system = self.system
            waiting = system.saved() if system is not None else None
            leaving = inflight.queue
            if not self.dirty:
                # What queued up behind the change and changed nothing saw only what is durable.
                leaving = [*leaving, *(self.unsaved or ())]
                self.unsaved = None
            for item in leaving:
                if isinstance(item, Gate):
                    item.turn.let_out = True
            self.ready = [*(self.ready or ()), *leaving]
        self.manager.waker.saved(self.address, inflight.change.wake_at)
        self._release()
        if waiting and system is not None:
            self.manager.courier.send(self.address, system.life, waiting)
        if self.registration.options.durability == "turn":
            self.flush()
        elif self.dirty:
            self.manager.note_dirty(self)
        self._unpark()

    def _release(self) -> None:
        while True:
            with self.lock:
                turns = self.ready
                if self.releasing or not turns:
                    self.ready = turns or None
                    return
                self.ready = None
                self.releasing = True
            try:
                for turn in turns:
                    turn.release()
            finally:
                with self.lock:
                    self.releasing = False

    def _unpark(self) -> None:
        with self.lock:
            resume = self.parked
            self.parked = False
            idle = not self.claimed and self.settled
        if resume:
            self.pool.schedule(self.run)
        elif idle:
            self.rested()

    # -- what goes wrong ----------------------------------------------------------------------

    def _conflicted(self, outcome: Conflict) -> None:
        with self.lock:
            inflight = self.inflight
            assert inflight is not None
            # After a failure the first sending may have been saved, and overwritten since.
            unknown = _turns(inflight.queue) if inflight.attempts else []
            lost = inflight.count + self.changes if self._answered_early() else 0
            if unknown:
                # Those behind it too that were told already that they may be lost.
                told = [turn for turn in _turns(self.unsaved or []) if turn.answered]
                lost = max(lost, inflight.count + sum(turn.changed for turn in told))
            gates = self._discard([] if unknown else inflight.queue)
        self.manager.note_conflict(
            ConflictDetected(self.address, expected=self.rev, found=outcome.found, lost_turns=lost)
        )
        for turn in unknown:
            error = ConflictError(
                self.address, expected=outcome.expected, found=outcome.found, outcome="unknown"
            )
            turn.refuse(error)
        for gate in [*_gates(inflight.queue if unknown else []), *gates]:
            gate.refuse(self._stale())
        self._resume()

    def _rejected(self, error: BaseException) -> None:
        early = self._answered_early()
        gates: list[Gate] = []
        with self.lock:
            inflight = self.inflight
            assert inflight is not None
            turns = _turns(inflight.queue)
            if early:
                self.inflight = None
                self.dirty = True
                self.changes += inflight.count
                self.unsavable = error
            elif len(turns) == 1:
                gates = [*_gates(inflight.queue), *self._discard([])]
                turns[0].held = None
                turns[0].result, turns[0].error = None, error
                self.ready = [*(self.ready or ()), turns[0]]
            else:
                for turn in turns:
                    # Alone each: then the one that can't be stored fails alone.
                    turn.call.alone = True
                gates = self._discard(inflight.queue)
        self.manager.note_save_failure(SaveFailed(self.address, error, inflight.attempts + 1))
        self._release()
        for gate in gates:
            gate.refuse(error)
        if early:
            self._unpark()
        else:
            self._resume()

    def _failed(self, error: BaseException) -> None:
        now = self.manager.clock.monotonic()
        with self.lock:
            inflight = self.inflight
            assert inflight is not None
            inflight.attempts += 1
            inflight.failure = error
            if inflight.first_failure is None:
                inflight.first_failure = now
            turns = _turns([*inflight.queue, *(self.unsaved or ())])
            limit = inflight.first_failure + MAX_RETRY_SECONDS
        self.manager.note_save_failure(SaveFailed(self.address, error, inflight.attempts))
        transient = isinstance(error, StorageUnavailableError)
        if not transient or limit <= now:
            self.stall(error)
        for turn in turns:
            turn.call.trouble = error
            deadline = limit if turn.call.deadline is None else min(turn.call.deadline, limit)
            if not transient or deadline <= now:
                self.stall(error)
                detail = f"saving failed and goes on: {error}"
                save_error = SaveError(self.address, detail)
                save_error.__cause__ = error
                turn.refuse(save_error)
        if isinstance(error, StorageClosedError):
            return
        delay = backoff(inflight.attempts)
        self.manager.timer.after(delay, lambda: self.manager.commits.submit(self))

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

    def _discard(self, again: list[Turn | Gate]) -> list[Gate]:
        """Give up the copy in memory, have its turns recovered, return the calls to refuse."""
        queue = [*again, *(self.unsaved or ())]
        self.unsaved = None
        self.forget_changes()
        self.inflight = None
        self.stalled = None
        self.epoch += 1
        self.recovering = [*(self.recovering or ()), *_turns(queue)]
        return _gates(queue)

    def note_outdated(self) -> None:
        """Have the running turn run again on the newest copy: it saw that this is an old one.

        With turns before it unsaved there is nothing to do: their commit will conflict.
        """
        with self.lock:
            if self.inflight is None and not self.dirty:
                self.epoch += 1

    def give_up_saving(self) -> None:
        """Answer what waits for a commit: there will be none. Later turns are stale."""
        with self.lock:
            self.epoch += 1
            queue = [*(self.inflight.queue if self.inflight else ()), *(self.unsaved or ())]
        error = SaveError(self.address, "the runtime has stopped before it was saved")
        error.__cause__ = self.trouble
        for turn in _turns(queue):
            turn.refuse(error)
        for gate in _gates(queue):
            gate.refuse(self._stale())

    def abandon_copy(self) -> None:
        """Give up the copy in memory after something that should not happen."""
        with self.lock:
            inflight = self.inflight
            gates = self._discard([])
            self.inflight = inflight
        for gate in gates:
            gate.refuse(self._stale())

    def _resume(self) -> None:
        with self.lock:
            resume = self.parked or not self.claimed
            self.parked = False
            self.claimed = True
        if resume:
            self.pool.schedule(self.run)


def _turns(queue: list[Turn | Gate]) -> list[Turn]:
    return [item for item in queue if not isinstance(item, Gate)]


def _gates(queue: list[Turn | Gate]) -> list[Gate]:
    return [item for item in queue if isinstance(item, Gate)]
