"""How what an agent's turns changed gets into the storage, and what if it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.bookkeeping import refused
from torpor.events import ConflictDetected, SaveFailed
from torpor.gate import Gate, GatedActor, Inflight
from torpor.storage import Change, Conflict, Put, Rejected, Saved
from torpor.storage.errors import (
    ConflictError,
    SaveError,
    StorageClosedError,
    StorageUnavailableError,
)
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff
from torpor.system import SystemState, join

if TYPE_CHECKING:
    from torpor.storage import ThreadWrite
    from torpor.turn import Turn

__all__ = ["DurableActor"]


class DurableActor(GatedActor):
    """A gated actor that saves what its turns changed, and sees to what goes wrong with that."""

    __slots__ = ()

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
        self,
        result: tuple[Inflight, Saved | Conflict | Rejected] | None,
        error: BaseException | None,
    ) -> None:
        """Take the outcome of a change that was on its way, or the error of its batch.

        Neither, or that of a change that is not on its way any more: it was taken before.
        """
        if error is not None:
            self._failed(error)
        elif result is None:
            if self.inflight is None:  # else what is parked waits for that
                self._go_on_saved()
        elif isinstance(result[1], Saved):
            self._saved(result[0], result[1])
        elif isinstance(result[1], Conflict):
            self._conflicted(result[0], result[1])
        else:
            self._rejected(result[0], result[1].error)

    def _saved(self, inflight: Inflight, outcome: Saved) -> None:
        with self.lock:
            if self.inflight is inflight:
                self._take_saved(inflight, outcome)
            elif self.inflight is not None:
                return
        self.manager.waker.saved(self.address, inflight.change.wake_at)
        self._go_on_saved()

    def _take_saved(self, inflight: Inflight, outcome: Saved) -> None:
        """Take note of what is durable. Lock held.

        An interrupt can come at calls only, and what was done by then may be done again: so
        that the change is not on its way any more is noted behind the last one.
        """
        write: ThreadWrite | None = inflight.change.thread
        if write is not None and self.journal is not None:
            self.journal.saved(write, outcome.thread)
        if self.system is not None:
            self.system.saved()
        leaving = inflight.queue
        if not self.dirty:
            # What queued up behind the change and changed nothing saw only what is durable.
            leaving = [*leaving, *(self.unsaved or ())]
        for item in leaving:
            if isinstance(item, Gate):
                item.turn.let_out = True
        delete = inflight.change.delete
        self.rev, self.head = (0, None) if delete else (outcome.rev, outcome.thread)
        self.ready = [*(self.ready or ()), *leaving]
        if not self.dirty:
            self.unsaved = None
        self.inflight = None
        self.stalled = None
        self.unsavable = None

    def _go_on_saved(self) -> None:
        """Do what a commit was waited for."""
        self._release()
        if self.system is not None:
            self.send_outbox()
        if self.dirty:
            if self.registration.options.durability == "turn":
                self.flush()
            else:
                self.manager.note_dirty(self)
        self._unpark()

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

    def _conflicted(self, inflight: Inflight, outcome: Conflict) -> None:
        with self.lock:
            if self.inflight is not inflight:
                return
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

    def _rejected(self, inflight: Inflight, error: BaseException) -> None:
        early = self._answered_early()
        gates: list[Gate] = []
        with self.lock:
            if self.inflight is not inflight:
                return
            turns = _turns(inflight.queue)
            if early:
                # Its turns were answered, and built upon: none is undone, so no tick among them
                # is tried again. A tick is stored with what it did, or both are not.
                self.inflight = None
                self.stalled = None  # other than an outage, what is called next may mend it
                self.dirty = True
                self.changes += inflight.count
                self.unsavable = error
            elif len(turns) == 1 and not _fails_again(turns[0], error):
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

    def drop_changes(self, found: int) -> None:
        """Give up answered turns that can't be saved: another process has stored ``found``."""
        with self.lock:
            lost = self.changes
            self.forget_changes()
        if lost:
            self.manager.note_conflict(
                ConflictDetected(self.address, expected=self.rev, found=found, lost_turns=lost)
            )

    def _failed(self, error: BaseException) -> None:
        now = self.manager.clock.monotonic()
        with self.lock:
            inflight = self.inflight
            if inflight is None:
                return
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


def _fails_again(turn: Turn, error: BaseException) -> bool:
    """Have a turn that can't be stored run again as one that fails, if its origin counts that."""
    call, cause = turn.call, turn.error or error
    command, origin = call.message, call.origin
    if origin is None or isinstance(command, str):
        return False
    if not origin.refused(failed=turn.error is not None):
        return False
    call.message, call.args, call.kwargs = refused(command.name, cause)
    turn.let_out = False  # its handler is not run again
    return True


def _turns(queue: list[Turn | Gate]) -> list[Turn]:
    return [item for item in queue if not isinstance(item, Gate)]


def _gates(queue: list[Turn | Gate]) -> list[Gate]:
    return [item for item in queue if isinstance(item, Gate)]
