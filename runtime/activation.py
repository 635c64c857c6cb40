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
from typing import TYPE_CHECKING, Any

from pykka.messages import (
    ProxyCall,
    ProxyGetAttr,
    _ActorStop,  # pyright: ignore[reportPrivateUsage] # what ActorRef.stop sends
)

from torpor.calls import Call, Control, Reply
from torpor.events import HibernationReason
from torpor.origin import Bookkeeping
from torpor.passivation import PassivatingActor, hibernation
from torpor.proxy import AgentProxy
from torpor.storage.errors import (
    AgentPausedError,
    CallTimeoutError,
    MailboxFullError,
    RuntimeStoppedError,
    StorageUnavailableError,
)
from torpor.thawing import Lifecycle
from torpor.turn import Turn

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from torpor.commands import Command
    from torpor.pauses import Pause

__all__ = ["Activation"]

logger = logging.getLogger("torpor")

_TURNS_AT_A_TIME = 64


class Activation(PassivatingActor):
    """The live copy of one agent, and its mailbox."""

    __slots__ = ()

    # -- messages in --------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self.mailbox) + len(self.batch or ())

    def admit(self, call: Call, *, inline: bool) -> bool | None:
        """Take a message. True: it is in; False: this activation is gone.

        With ``inline`` and nothing else to do, None: the caller has claimed the activation and
        is to call ``run_inline``.
        """
        stalled = self.stalled
        if stalled is not None and not isinstance(call.message, str):
            detail = f"{self.address}: saving fails, no new calls until it works"
            raise StorageUnavailableError(detail) from stalled
        call.activation = self
        if self.claimed:
            # Without the lock, lest sender and worker sleep and wake at each message (a lock
            # convoy): who gives up the claim looks into the mailbox once more afterwards.
            self._require_room()
            self.mailbox.append(call)
            if self.claimed and not self.closed:
                return True
            return self._admit_after_all(call)
        self.lock.acquire()  # see ``PooledActor``
        try:
            if self.closed:
                return False
            if inline and not (self.claimed or self.mailbox or self.batch):
                self.claimed = True
                return None
            self._require_room()
            self.mailbox.append(call)
            if self.claimed:
                return True
            self.claimed = True
        finally:
            self.lock.release()
        self.pool.schedule(self.run)
        return True

    def _require_room(self) -> None:
        waiting = len(self.mailbox) + len(self.batch or ())
        if waiting >= self.registration.options.mailbox:
            raise MailboxFullError(self.address, f"{waiting} messages wait already")

    def _admit_after_all(self, call: Call) -> bool:
        """See to a message that came while the claim was given up, or the activation ended."""
        with self.lock:
            if self.closed:
                try:
                    self.mailbox.remove(call)
                except ValueError:  # somebody has taken it out to refuse it
                    return True
                return False
            if self.claimed or not self.mailbox:
                return True
            self.claimed = True
        self.pool.schedule(self.run)
        return True

    def take_back(self, call: Call) -> bool:
        """Take a message out again; False if it is being handled, or refused by somebody else."""
        if call.reply_to is not None:
            return call.withdraw()
        with self.lock:
            try:
                self.mailbox.remove(call)
            except ValueError:
                return False
        return True

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

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # see ``PooledActor``
        """The agent's address."""
        return self.address

    def proxy(self) -> AgentProxy:
        """Return pykka's style of calls, on the agent."""
        return AgentProxy(self.agent_ref)

    def receive(self, envelope: Envelope[Any]) -> None:
        """Take a message of pykka's own ``ActorRef``: a method call or a field by name."""
        message = envelope.message
        spec = self.registration.spec
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(message, ProxyCall):
            command = spec.find_name(".".join(message.attr_path))
            args, kwargs = command.bind(self.address, message.args, message.kwargs)
            what: Command | str = command
        elif isinstance(message, ProxyGetAttr):
            what = spec.find_field(".".join(message.attr_path))
        elif isinstance(message, _ActorStop):
            what, args = Control.HIBERNATE, (HibernationReason.REQUESTED,)
        else:
            what = spec.find(message)
        reply = envelope.reply_to
        assert reply is None or isinstance(reply, Reply)
        if reply is not None:
            reply.manager = self.manager
        call = Call(self.address, what, args, kwargs, reply_to=reply)
        self.manager.deliver(self.agent_ref, call)

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
            self.runner = threading.get_ident()
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
        except BaseException as interrupt:
            # What waits behind this call must go on; between two turns, with the same copy.
            if self.runner == threading.get_ident():
                if self.turn is not None:
                    self._crashed(interrupt)
                else:
                    self.run_again()
            raise

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
        self.lock.acquire()  # see ``PooledActor``
        try:
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
        finally:
            self.lock.release()
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
        self.lock.acquire()  # see ``PooledActor``
        try:
            busy = self.dirty or self.recovering is not None or bool(self.batch)
            self.claimed = busy
            if self.mailbox:
                busy = self.claimed = True
        finally:
            self.lock.release()
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
