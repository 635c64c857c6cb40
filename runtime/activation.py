"""One live agent in memory: thawed, run turn by turn, hibernated.

THAWING -> LIVE -> HIBERNATING -> gone; HIBERNATING -> LIVE when a message arrives in time.
Whoever has claimed an activation runs ``_step``. A step that has to wait (for a load, a commit,
an async handler, a delay) *parks*: it returns with the claim kept, and whatever it waits for
schedules ``run`` again.
"""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from torpor.admission import AdmittingActor
from torpor.events import HibernationReason
from torpor.origin import Bookkeeping
from torpor.passivation import hibernation
from torpor.storage.errors import (
    AgentPausedError,
    CallTimeoutError,
    RuntimeStoppedError,
    StorageUnavailableError,
)
from torpor.thawing import Lifecycle
from torpor.turn import Turn

if TYPE_CHECKING:
    from torpor.calls import Call
    from torpor.pauses import Pause

__all__ = ["Activation"]

logger = logging.getLogger("torpor")

_TURNS_AT_A_TIME = 64


class Activation(AdmittingActor):
    """The live copy of one agent, and its mailbox."""

    __slots__ = ()

    def put_to_sleep(self, reason: HibernationReason, *, now: bool = False) -> None:
        """Have this agent hibernate unless something is going on.

        At once if nothing is unsaved and no hook wants to run, else by a worker; not at all
        with ``now``.
        """
        with self.lock:
            if self.closed or self.claimed or self.mailbox or self.batch or self.busy_saving:
                return
            hooked = "on_hibernate" in self.registration.spec.hooks
            at_once = self.settled and self.agent is not None and not hooked
            if now and not at_once:
                return
            self.claimed = True
            if at_once:
                self.lifecycle = Lifecycle.THAWING
                self.drop_copy()
            else:
                self.batch = [hibernation(self.address, reason)]
        if at_once:
            self.manager.note_hibernated(self.address, reason)
            if self._rest():
                return
        self.pool.schedule(self.run)

    # -- running ------------------------------------------------------------------------------

    def run(self) -> None:
        """Run as a worker."""
        try:
            self._step(inline=False)
        except BaseException as error:  # noqa: BLE001 - told to the caller, and logged
            self._crashed(error)

    def run_inline(self, call: Call, *, storage: bool) -> None:
        """Run ``call`` on its caller's thread; with ``storage``, its load and commit too."""
        try:
            if self.agent is None or self.refreshing or self.recovering is not None:
                self.batch = [call]
                self._step(inline=storage, once=True)
                return
            if call.fresh or isinstance(call.message, str) or self.system is not None:
                goes_on = self._handle(call, inline=storage)
            else:  # what else ``_handle`` looks for comes of waiting, and this has not waited
                call.start_unseen()
                goes_on = self._take_turn(call, inline=storage)
            if goes_on:
                if self.dirty:
                    self.manager.flush_after_turns(self, inline=storage)
                self._yield()
        except Exception as error:  # noqa: BLE001 - told to the caller, and logged
            self._crashed(error)

    def interrupted(self, interrupt: BaseException) -> None:
        """Let what waits go on without this thread, if that has claimed this actor.

        Between two turns with the same copy. What it wanted of the storage may not have got into
        a lane: twice does no harm.
        """
        self.pool.look_after_jobs()
        if self.inflight is not None:
            self.manager.commits.submit(self)
        if self.loading:
            self.manager.loads.submit(self)
        if self.runner != threading.get_ident():
            return
        if self.turn is None:
            self.run_again()
        elif self._answered_early():
            self._cut_off(self.turn, interrupt)
        else:
            self._crashed(interrupt)

    def _cut_off(self, turn: Turn, interrupt: BaseException) -> None:
        """Undo a turn, and keep the copy: it is all there is of turns that were answered."""
        self.turn = None
        turn.open = False
        turn.refuse(interrupt)
        turn.call.refuse(interrupt)
        if self._undo(turn) and self.registration.options.durability != "none":
            with self.lock:
                self.dirty = True  # it may have been finished, and this not noted
        self.run_again()

    def _crashed(self, error: BaseException) -> None:
        """Tell the caller, and go on with a new copy of the agent: this one may be anything."""
        logger.error("%s: torpor failed between two turns", self.address, exc_info=error)
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.refuse(error)
            turn.call.refuse(error)
        if self.runner == threading.get_ident():
            self.abandon_copy()
            self.run_again()

    def _step(self, *, inline: bool, once: bool = False) -> None:
        self.runner = threading.get_ident()
        turns = 1 if once else _TURNS_AT_A_TIME
        while self.recovering is None or self._recover():
            call = self._next()
            if call is None:
                if self.dirty:
                    self.manager.flush_after_turns(self, inline=inline)
                if self._rest():
                    return
            elif self.agent is None or self.refreshing:
                self._push_back(call)
                if not self.load(inline=inline):
                    return
            elif not self._handle(call, inline=inline):
                return
            elif turns > 1:
                turns -= 1
            else:
                self.manager.flush_after_turns(self, inline=inline)
                if once or self.pool.wanted:
                    self._yield()
                    return
                turns = _TURNS_AT_A_TIME

    def _next(self) -> Call | None:
        batch = self.batch  # which ``take_all`` of a runtime that stops may take away
        if not batch:
            with self.lock:
                came = len(self.mailbox)
                batch = self.batch = self.mailbox[came - 1 :: -1] if came else None
                del self.mailbox[:came]  # what comes now, without the lock, stays in there
        return batch.pop() if batch else None

    def _yield(self) -> None:
        """Let others run; go on behind them if something is left to do."""
        if not self._rest():
            self.run_again()

    def _rest(self) -> bool:
        with self.lock:
            if self.mailbox or self.batch or self.recovering is not None:
                return False
            if self.agent is None:
                return self.leave()
            self.claimed = False
            if self.mailbox:  # put there by a sender that saw the claim still
                self.claimed = True
                return False
            self.batch = None
            self.runner = None
        self.manager.rested(self)
        return True

    def rested(self) -> None:
        """Take note that nothing is left to do."""
        self.manager.rested(self)

    def _handle(self, call: Call, *, inline: bool) -> bool:
        if call.alone or call.fresh:
            if not self._park_until_settled(call, inline=inline):
                return False
            if call.fresh or self.recovering is not None:
                # Compare with the stored revision first, then take the call up again.
                self.refreshing = call.fresh
                call.fresh = False
                self._push_back(call)
                return True
        if isinstance(call.message, str):
            return self._control(call, inline=inline)
        if not call.start():
            return True
        deadline = call.deadline
        if (
            (deadline is not None and deadline <= self.manager.clock.monotonic())
            or self.stalled is not None
            or self.manager.refusing is not None
            or self.system is not None
        ) and self._refused(call):
            return True
        return self._take_turn(call, inline=inline)

    def _take_turn(self, call: Call, *, inline: bool) -> bool:
        call.trouble = None
        if call.origin is None or not call.origin.quiet:
            self.idle_since = None
        turn = self.turn = Turn(self, call, self.copy_epoch)
        command = call.message
        assert not isinstance(command, str)
        if command.is_async:
            if self.dirty:
                self.manager.flush_after_turns(self, inline=False)
            self.runner = None
            self.manager.loops.start(self, turn)
            return False
        (call.context or copy_context()).run(self.run_sync, turn, command)
        if call.alone:
            self.flush(inline=inline)
        if self.manager.always_thaw:
            self._push_back(hibernation(self.address, HibernationReason.ALWAYS_THAW))
        return True

    def _refused(self, call: Call) -> bool:
        error: BaseException
        expired = call.deadline is not None and call.deadline <= self.manager.clock.monotonic()
        if call.attempts and (expired or self.manager.refusing is not None):
            error = self._not_applied()
        elif expired:
            error = CallTimeoutError(self.address, "not started in time", "not_run")
        elif self.stalled is not None:
            detail = f"{self.address}: saving fails, no new calls until it works"
            error = StorageUnavailableError(detail)
            error.__cause__ = self.stalled
        elif self.manager.refusing is not None:
            error = RuntimeStoppedError(self.manager.refusing)
        elif (pause := self.pause) is not None and not isinstance(call.origin, Bookkeeping):
            error = AgentPausedError(self.address, str(pause), pause.until)
        else:
            return False
        self.refuse(call, error)
        return True

    @property
    def pause(self) -> Pause | None:
        """Why nothing runs now but the runtime's own turns, None if all may."""
        pause = self.system.finished.pause if self.system is not None else None
        return pause if pause is not None and pause.holds(self.manager.clock.time()) else None

    def resume_after_async(self) -> None:
        """Go on after an async turn, on the loop's thread: by a worker if there is work."""
        if self.manager.always_thaw:
            self._push_back(hibernation(self.address, HibernationReason.ALWAYS_THAW))
        with self.lock:
            busy = self.dirty or self.recovering is not None or bool(self.batch)
            self.claimed = busy
            if self.mailbox:
                busy = self.claimed = True
        if busy:
            self.pool.schedule(self.run)
        else:
            self.rested()

    def leave(self) -> bool:
        """See ``ThawingActor``."""
        self.closed = True
        if self.mailbox:
            self.closed = False
            return False
        self.close()
        return True

    def close(self) -> None:
        """See ``ThawingActor``."""
        self.closed = True
        self.runner = None
        self.lifecycle = Lifecycle.GONE
        self.manager.remove(self)

    def give_up(self) -> bool:
        """Tell whoever waits, at the end of stop, that no more is saved.

        Return whether a turn still runs. It was answered too, and its end is worthless.
        """
        self.give_up_saving()
        turn = self.turn
        if turn is None:
            return False
        turn.refuse(self._not_applied())
        turn.call.refuse(self._not_applied())  # which a hook's turn leaves to its hibernation
        return True
