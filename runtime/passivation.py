"""How an agent leaves memory: hibernated, deleted, or as a copy that turned out to be stale."""

from __future__ import annotations

from torpor.calls import Call, Control
from torpor.chores import chores
from torpor.events import DeadLetter, HibernationReason
from torpor.storage.errors import ConflictError, RuntimeStoppedError, TorporError
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff
from torpor.thawing import Lifecycle, ThawingActor
from torpor.turn import Turn

__all__ = ["PassivatingActor", "hibernation"]


class PassivatingActor(ThawingActor):
    """Does what the runtime itself asks of an agent by a message in its mailbox."""

    __slots__ = ()

    def drop_copy(self) -> None:
        """Forget the agent object and its thread."""
        self.agent = None
        self.journal = None
        self.system = None

    def _push_back(self, call: Call) -> None:
        if self.batch is None:
            self.batch = []
        self.batch.append(call)

    def _park_until_settled(self, call: Call, *, inline: bool) -> bool:
        """True if nothing is unsaved; else False, and ``call`` comes again once that is so."""
        self.flush(inline=inline)
        with self.lock:
            if self.settled:
                return True
            if self.recovering is not None:
                return True
            if self.unsavable is not None and self.inflight is None:
                return True
            self._push_back(call)
            self.park()
        return False

    def _control(self, call: Call, *, inline: bool) -> bool:
        if not call.start():
            return True
        call.attempts = call.attempts or 1
        try:
            if call.message == Control.HIBERNATE:
                return self._hibernate(call, inline=inline)
            if call.message == Control.TICK:
                return self._tick(call)
            return self._delete(call, inline=inline)
        except BaseException as error:
            if self.turn is None:  # else with that
                call.refuse(error)
            raise

    def _tick(self, call: Call) -> bool:
        """Queue the turns of what is due; the tick is answered once they are over.

        False: its mail is read first, and ``call`` comes again.
        """
        [mail] = call.args
        if mail is True:
            self.manager.flush_after_turns(self, inline=False)
            mail = self.manager.mail.fetch(self, self._unpark)
            call.args = (mail,)
        if mail:
            with self.lock:
                if not mail.done:
                    self._push_back(call)
                    self.park()
                    return False
        turns = chores(self, mail or None)
        left = [*turns, call]

        def one_less() -> None:
            left.pop()
            if not left and call.reply_to is not None:
                call.reply_to.settle(None, None)

        for turn in reversed(turns):
            assert turn.reply_to is not None
            turn.reply_to.on_settled(one_less)
            self._push_back(turn)
        one_less()
        return True

    def _hibernate(self, call: Call, *, inline: bool) -> bool:
        reason: HibernationReason = call.args[0]
        if self.lifecycle is Lifecycle.LIVE:
            self.lifecycle = Lifecycle.HIBERNATING
            self.unsavable = None  # it is worth another try
            hooked = "on_hibernate" in self.registration.spec.hooks
            if hooked and reason is not HibernationReason.DISCARDED:
                left_by = self.run_hibernate_hook(call.reply_to)
                if left_by is not None and not self.pool.on_worker():
                    self._push_back(call)  # a worker does the rest: this thread is wanted
                    raise left_by
        if not self._park_until_settled(call, inline=inline):
            return False
        with self.lock:
            if self.recovering is not None:
                self._push_back(call)
                return True
            unsavable = self.unsavable
            waiting = bool(self.mailbox or self.batch)
            polite = reason in {HibernationReason.IDLE, HibernationReason.EVICTED}
            wanted = waiting or self.address in self.manager.attached
            stays = unsavable is not None or (polite and wanted)
            self.lifecycle = Lifecycle.LIVE if stays else Lifecycle.THAWING
            if not stays:
                self.drop_copy()
        if stays:
            if unsavable is not None:
                call.refuse(unsavable)
            return True
        self.manager.note_hibernated(self.address, reason)
        if call.reply_to is not None:
            call.reply_to.settle(None, None)
        return True

    def _delete(self, call: Call, *, inline: bool) -> bool:
        if not self._park_until_settled(call, inline=inline):
            return False
        if self.recovering is not None:
            self._push_back(call)
            return True
        turn = self.turn = Turn(self, call, self.copy_epoch)
        turn.open = False
        try:
            self.manager.mail.settle(self)
        except TorporError as error:
            turn.refuse(error)
        self.turn = None
        if turn.answered:  # so, or by a stop that has given it up
            return True
        with self.lock:
            self.forget_changes()
        self.drop_copy()
        self.lifecycle = Lifecycle.THAWING
        if self.registration.options.durability == "none":
            turn.release()
            return True
        self.flush_delete(turn, inline=inline)
        with self.lock:
            if self.settled:
                return True
            self.park()
        return False

    def discard_copy(self) -> None:
        """See ``TransactionalActor``."""
        self._push_back(hibernation(self.address, HibernationReason.DISCARDED))

    def _recover(self) -> bool:
        """Drop the stale copy; queue its turns to be run again on the newest, after a while.

        False: there are some.
        """
        with self.lock:
            turns = self.recovering or []
            self.recovering = None
        now = self.manager.clock.monotonic()
        again: list[Call] = []
        for turn in turns:
            call = turn.call
            call.retry_until = call.retry_until or now + MAX_RETRY_SECONDS
            expired = min(call.deadline or call.retry_until, call.retry_until) <= now
            command = call.message
            if turn.answered:
                continue
            ended = expired or self.manager.refusing is not None
            if ended or turn.let_out or not (isinstance(command, str) or command.marks.rerun):
                error = self._not_applied()
                turn.refuse(error)
                if call.reply_to is None and not isinstance(command, str):
                    self.manager.dead_letter(DeadLetter(self.address, command.name, error))
            else:
                call.attempts += 1
                again.append(call)
        self.batch = [*(self.batch or ()), *reversed(again)]
        self.drop_copy()
        self.lifecycle = Lifecycle.THAWING
        if not again:
            return True
        self.run_later(backoff(max(call.attempts for call in again)))
        return False

    def _not_applied(self) -> BaseException:
        """Return the error of a turn that ran on a stale copy and is not run again."""
        if self.manager.refusing is None:
            return ConflictError(self.address, expected=self.rev, found=None)
        stopped = RuntimeStoppedError(self.manager.refusing)
        stopped.outcome = "not_applied"
        return stopped

    def run_later(self, delay: float) -> None:
        """See ``ThawingActor``."""
        self.runner = None
        self.manager.timer.after(delay, lambda: self.pool.schedule(self.run))


def hibernation(address: str, reason: HibernationReason) -> Call:
    """Return the message that has an agent hibernate."""
    return Call(address, Control.HIBERNATE, (reason,))
