"""One live agent in memory: thawed, run turn by turn, hibernated.

THAWING -> LIVE -> HIBERNATING -> gone; HIBERNATING -> LIVE when a message arrives in time.
Whoever has claimed an activation runs ``_step``. A step that has to wait (for a load, a commit,
an async handler, a delay) *parks*: it returns with the claim kept, and whatever it waits for
schedules ``run`` again.
"""

from __future__ import annotations

import contextvars
import logging
from enum import Enum
from typing import TYPE_CHECKING, Any

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr

from torpor import persist
from torpor.calls import Call, Control
from torpor.durable import DurableActor
from torpor.events import DeadLetter, Hibernated, HibernationReason, HookFailed, Thawed, ThawFailed
from torpor.storage import Record
from torpor.storage.errors import (
    CallTimeoutError,
    ConflictError,
    MailboxFullError,
    RuntimeStoppedError,
    StorageUnavailableError,
    TurnCancelledError,
)
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff
from torpor.thread import AgentThread
from torpor.turn import Turn, enter_turn

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from torpor.agent import Agent
    from torpor.commands import Command
    from torpor.manager import InstanceManager, Registration
    from torpor.ref import AgentRef
    from torpor.runtime import Runtime

__all__ = ["Activation", "Lifecycle"]

logger = logging.getLogger("torpor")

_TURNS_AT_A_TIME = 64


class Lifecycle(Enum):
    """Where an activation stands."""

    THAWING = "thawing"
    LIVE = "live"
    HIBERNATING = "hibernating"
    GONE = "gone"


class Activation(DurableActor):
    """The live copy of one agent, and its mailbox."""

    __slots__ = (
        "agent",
        "agent_id",
        "arrived",
        "batch",
        "due_hook",
        "initial",
        "lifecycle",
        "load_attempts",
        "load_since",
        "partition",
        "refreshing",
        "turn",
    )

    def __init__(
        self,
        manager: InstanceManager,
        registration: Registration,
        address: str,
        agent_id: str,
        partition: str | None,
        initial: dict[str, Any] | None,
    ) -> None:
        super().__init__(manager, registration, address)
        self.agent_id = agent_id
        self.partition = partition
        self.initial = initial
        self.agent: Agent | None = None
        self.lifecycle = Lifecycle.THAWING
        self.turn: Turn | None = None
        self.due_hook: str | None = None
        self.refreshing = False
        # Messages taken out of the mailbox, the next one last.
        self.batch: list[Call] | None = None
        self.arrived: tuple[Record | None, BaseException | None] | None = None
        self.load_attempts = 0
        self.load_since = 0.0

    # -- what an agent asks of its host -------------------------------------------------------

    @property
    def agent_thread(self) -> AgentThread:
        """The agent's journal."""
        if self.journal is None:
            manager = self.manager
            self.journal = AgentThread(manager.storage, manager.clock, self.address, self.head)
        return self.journal

    @property
    def agent_ref(self) -> AgentRef[Any]:
        """The agent's address."""
        return self.manager.ref(self.registration, self.agent_id, self.partition)

    @property
    def agent_runtime(self) -> Runtime:
        """The runtime that the agent lives in."""
        return self.manager.runtime

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
        with self.lock:
            if self.closed:
                return False
            if self.stalled is not None:
                detail = f"{self.address}: saving fails, no new calls until it works"
                raise StorageUnavailableError(detail) from self.stalled
            idle = not self.claimed
            if idle:
                self.claimed = True
            if idle and inline and not self.mailbox and not self.batch:
                call.activation = self
                return None
            if self.waiting >= self.registration.options.mailbox:
                if idle:
                    self.claimed = False
                detail = f"{self.waiting} messages wait already"
                raise MailboxFullError(self.address, detail)
            call.activation = self
            self.mailbox.append(call)
        if idle:
            self.pool.schedule(self.run)
        return True

    def leave_if_clean(self) -> bool:
        """Leave at once if nothing is going on, nothing is unsaved and no hook wants to run."""
        with self.lock:
            if self._engaged() or not self.settled:
                return False
            if "on_hibernate" in self.registration.spec.hooks:
                return False
            self._leave()
        return True

    def request_hibernation(self, reason: HibernationReason) -> None:
        """Have this agent hibernate unless something is going on."""
        with self.lock:
            if self._engaged():
                return
            self.claimed = True
            self.batch = [_hibernation(self.address, reason)]
        self.pool.schedule(self.run)

    def _engaged(self) -> bool:
        return self.closed or self.claimed or bool(self.mailbox or self.batch)

    def receive(self, envelope: Envelope[Any]) -> None:
        """Take a message of pykka's own ``ActorRef``: a method call or a field by name."""
        message = envelope.message
        spec = self.registration.spec
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(message, ProxyCall):
            what: Command | str = spec.find_name(".".join(message.attr_path))
            args, kwargs = what.bind(self.address, message.args, message.kwargs)
        elif isinstance(message, ProxyGetAttr):
            what = spec.find_field(".".join(message.attr_path))
        elif isinstance(message, pykka.messages._ActorStop):  # noqa: SLF001 - its stop message
            what, args = Control.HIBERNATE, (HibernationReason.REQUESTED,)
        else:
            what = spec.find(message)
        call = Call(self.address, what, args, kwargs, None, None, None)
        call.reply_to = envelope.reply_to  # type: ignore[assignment]  # made by _create_future
        self.manager.deliver(self.agent_ref, call)

    # -- running ------------------------------------------------------------------------------

    def run(self) -> None:
        """Run as a worker."""
        self._step(_TURNS_AT_A_TIME, inline=False)

    def run_inline(self, call: Call, *, storage: bool) -> None:
        """Run ``call`` on its caller's thread; with ``storage``, its load and commit too."""
        self.batch = [call]
        try:
            self._step(1, inline=storage)
        except BaseException:
            # An interrupt between two steps: what waits behind this call must go on.
            if self.claimed and not self.parked:
                self.pool.schedule(self.run)
            raise

    def _step(self, turns: int, *, inline: bool) -> None:
        while True:
            if self.recovering is not None and not self._recover():
                return
            call = self._next()
            if call is None:
                self.manager.flush_after_turns(self, inline=inline)
                if self._rest():
                    return
                continue
            if self.agent is None or self.refreshing:
                self._push_back(call)
                if not self._load(inline=inline):
                    return
                continue
            if not self._handle(call, inline=inline):
                return
            turns -= 1
            if turns <= 0 and self.waiting:
                self.manager.flush_after_turns(self, inline=inline)
                self.pool.schedule(self.run)
                return

    def _next(self) -> Call | None:
        if not self.batch:
            with self.lock:
                if not self.mailbox:
                    self.batch = None
                    return None
                self.batch = self.mailbox
                self.mailbox = []
            self.batch.reverse()
        return self.batch.pop()

    def _push_back(self, call: Call) -> None:
        if self.batch is None:
            self.batch = []
        self.batch.append(call)

    def _rest(self) -> bool:
        with self.lock:
            if self.mailbox or self.batch or self.recovering is not None:
                return False
            if self.agent is None:
                self._leave()
                return True
            self.claimed = False
        self.rested()
        return True

    def rested(self) -> None:
        """Take note that nothing is left to do."""
        self.manager.rested(self)

    def _park_until_settled(self, call: Call, *, inline: bool) -> bool:
        """True if nothing is unsaved; else False, and ``call`` comes again once that is so."""
        self.flush(inline=inline)
        with self.lock:
            if self.settled:
                return True
            if self.unsavable is not None or self.recovering is not None:
                return True
            self._push_back(call)
            self.parked = True
        return False

    def _handle(self, call: Call, *, inline: bool) -> bool:
        if isinstance(call.message, str):
            return self._control(call, inline=inline)
        if call.alone or call.fresh:
            if not self._park_until_settled(call, inline=inline):
                return False
            if self.recovering is not None:
                self._push_back(call)
                return True
        if call.fresh and not self.refreshing:
            call.fresh = False
            self.refreshing = True
            self._push_back(call)
            return True
        if not call.start() or self._refused(call):
            return True
        turn = self.turn = Turn(self, call, self.epoch)
        command: Command = call.message
        if command.is_async:
            self.manager.flush_after_turns(self, inline=False)
            self.manager.loops.start(self, turn)
            return False
        self._run_sync(turn, command)
        if call.alone:
            self.flush(inline=inline)
        if self.manager.always_thaw:
            self._push_back(_hibernation(self.address, HibernationReason.ALWAYS_THAW))
        return True

    def _refused(self, call: Call) -> bool:
        error: BaseException
        if call.deadline is not None and call.deadline <= self.manager.clock.monotonic():
            error = CallTimeoutError(self.address, "not started in time", "not_run")
        elif self.stalled is not None:
            detail = f"{self.address}: saving fails, no new calls until it works"
            error = StorageUnavailableError(detail)
            error.__cause__ = self.stalled
        elif self.manager.refusing is not None:
            error = RuntimeStoppedError(self.manager.refusing)
        else:
            return False
        self.refuse(call, error)
        return True

    def refuse(self, call: Call, error: BaseException) -> None:
        """Tell a call's sender that it is not run."""
        if call.reply_to is not None:
            call.reply_to.settle(None, error)
        elif not isinstance(call.message, str):
            self.manager.dead_letter(DeadLetter(self.address, call.message.name, error))

    # -- one turn -----------------------------------------------------------------------------

    def _run_sync(self, turn: Turn, command: Command) -> None:
        call = turn.call
        context = call.context or contextvars.copy_context()
        try:
            result = context.run(self._invoke, turn, command)
        except BaseException as error:  # noqa: BLE001 - an interrupt too reaches the caller by it
            self.end(turn, None, error)
        else:
            self.end(turn, result, None)

    def _invoke(self, turn: Turn, command: Command) -> Any:
        self.begin(turn)
        call = turn.call
        return command.function(self.agent, *call.args, **call.kwargs)

    def begin(self, turn: Turn) -> None:
        """Start a turn on this thread and context; runs the hook that is due."""
        enter_turn(turn)
        if self.journal is not None:
            self.journal.begin_turn()
        if self.due_hook is not None:
            getattr(self.agent, self.due_hook)()
        if self.registration.options.track_commands:
            self._track("instruction_start", turn)

    def end(self, turn: Turn, result: Any, error: BaseException | None) -> None:
        """Finish a turn: keep what it did, or roll it back."""
        spec, agent = self.registration.spec, self.agent
        assert agent is not None
        tracked = self.registration.options.track_commands
        try:
            if error is None:
                if tracked:
                    self._track("instruction_end", turn, status="ok")
                encoded = persist.encode(agent, spec, self.address)
                if encoded != self.base and self.registration.options.validate_on_save:
                    persist.validate(spec, encoded, self.address)
                self.due_hook = None
        except Exception as invalid:  # noqa: BLE001 - whatever it is, the turn failed by it
            error = invalid
        if error is not None:
            encoded = self._roll_back(turn, error, tracked=tracked)
            manager = self.manager
            if turn.call.reply_to is None:
                name = getattr(turn.call.message, "name", "?")
                manager.dead_letter(DeadLetter(self.address, name, error))
        turn.result, turn.error = result, error
        self.turn = None
        self.manager.turns.add()
        self.finish(turn, encoded)

    def _roll_back(self, turn: Turn, error: BaseException, *, tracked: bool) -> bytes:
        agent = self._undo(turn)
        spec = self.registration.spec
        if tracked:
            self._track("instruction_start", turn)
            self._track("instruction_end", turn, status="error")
        if "on_failure" not in spec.hooks:
            return self.base
        try:
            agent.on_failure(error)
            encoded = persist.encode(agent, spec, self.address)
            persist.validate(spec, encoded, self.address)
        except Exception as failure:
            self._undo(turn)
            logger.exception("%s: on_failure raised", self.address)
            self.manager.events.emit(HookFailed(self.address, "on_failure", failure))
            return self.base
        return encoded

    def _undo(self, turn: Turn) -> Agent:
        agent = self.agent
        assert agent is not None
        persist.reset(agent, self.registration.spec, self.base)
        if self.journal is not None:
            self.journal.roll_back_turn()
        turn.held = None
        return agent

    def _track(self, kind: str, turn: Turn, **more: str) -> None:
        command = turn.call.message
        if isinstance(command, str):
            return
        payload: dict[str, Any] = {"action": command.name}
        if names := command.given(turn.call.args, turn.call.kwargs):
            payload["param_keys"] = names
        self.agent_thread.append(kind, payload | more)

    def resume_after_async(self) -> None:
        """Go on after an async turn, on the loop's thread: by a worker if there is work."""
        if self.manager.always_thaw:
            self._push_back(_hibernation(self.address, HibernationReason.ALWAYS_THAW))
        with self.lock:
            busy = self.dirty or self.recovering is not None or self.mailbox or self.batch
            if not busy:
                self.claimed = False
        if busy:
            self.pool.schedule(self.run)
        else:
            self.rested()

    def cancelled(self, cause: BaseException) -> TurnCancelledError:
        """Return the error of a cancelled async turn."""
        error = TurnCancelledError(self.address, "the handler was cancelled")
        error.__cause__ = cause
        return error

    # -- thaw ---------------------------------------------------------------------------------

    def _load(self, *, inline: bool) -> bool:
        """Bring the agent into memory; False if that has to be waited for, or failed."""
        if self.registration.options.durability == "none":
            self.arrived = (None, None)
        if self.arrived is None:
            if not self.load_since:
                self.load_since = self.manager.clock.monotonic()
            self.manager.loads.submit(self, inline=inline, urgent=self._wanted_by_a_turn())
            with self.lock:
                if self.arrived is None:
                    self.parked = True
                    return False
        assert self.arrived is not None
        (record, error), self.arrived = self.arrived, None
        if isinstance(error, StorageUnavailableError):
            return self._load_again(error)
        self.load_attempts, self.load_since = 0, 0.0
        try:
            if error is not None:
                raise error
            self._install(record)
        except Exception as cause:  # noqa: BLE001 - hooks raise what they like
            self._thaw_failed(cause)
            return False
        return True

    def loaded(self, record: Record | None, error: BaseException | None) -> None:
        """Take what the storage answered."""
        with self.lock:
            self.arrived = (record, error)
            resume = self.parked
            self.parked = False
        if resume:
            self.pool.schedule(self.run)

    def _wanted_by_a_turn(self) -> bool:
        return any(call.urgent for call in (*(self.batch or ()), *self.mailbox))

    def _install(self, record: Record | None) -> None:
        spec = self.registration.spec
        if self.refreshing:
            self.refreshing = False
            if self.agent is not None and self.rev == (record.rev if record else 0):
                return
        if record is None:
            agent = persist.fresh(spec, self.initial, self.address)
        else:
            agent = persist.thaw(spec, record)
        object.__setattr__(agent, "_host", self)
        self.base = persist.encode(agent, spec, self.address)
        self.agent = agent
        self.journal = None
        self.rev = record.rev if record else 0
        self.head = record.thread if record else None
        hook = "on_start" if record is None else "on_thaw"
        self.due_hook = hook if hook in spec.hooks else None
        if record is None and self.initial and self.registration.options.durability != "none":
            self.dirty = True
            self.changes = 1
        self.lifecycle = Lifecycle.LIVE
        self.manager.note_thawed(Thawed(self.address, fresh=record is None, rev=self.rev))

    def _load_again(self, error: BaseException) -> bool:
        """Try the load again after a while, for those calls that can wait so long."""
        now = self.manager.clock.monotonic()
        limit = self.load_since + MAX_RETRY_SECONDS
        self.load_attempts += 1
        patient: list[Call] = []
        for call in self._take_all():
            if min(call.deadline or limit, limit) > now:
                call.trouble = error
                patient.append(call)
            else:
                self._refuse_thaw(call, error)
        if not patient:
            self._thaw_failed(error)
            return False
        self.batch = patient[::-1]
        delay = backoff(self.load_attempts)
        self.manager.timer.after(delay, lambda: self.pool.schedule(self.run))
        return False

    def _take_all(self) -> list[Call]:
        with self.lock:
            calls = [*reversed(self.batch or ()), *self.mailbox]
            self.mailbox, self.batch = [], None
        return calls

    def _thaw_failed(self, cause: BaseException) -> None:
        """Fail closed: tell everybody why, and leave; nothing was changed."""
        self.manager.note_thaw_failure(self, ThawFailed(self.address, cause))
        with self.lock:
            self._leave()
        for call in self._take_all():
            self._refuse_thaw(call, cause)

    def _refuse_thaw(self, call: Call, cause: BaseException) -> None:
        if call.start():
            self.refuse(call, persist.thaw_error(self.address, cause))

    def _leave(self) -> None:
        self.closed = True
        self.lifecycle = Lifecycle.GONE
        self.manager.remove(self)

    def refuse_commits(self) -> bool:
        """Make the running turn's end worthless, at stop; return whether one runs."""
        with self.lock:
            self.epoch += 1
            return self.turn is not None

    # -- recovery from a conflict -------------------------------------------------------------

    def _recover(self) -> bool:
        """Drop the stale copy; queue its turns to be run again on the newest. False: not yet."""
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
            if turn.let_out or expired or not (isinstance(command, str) or command.marks.rerun):
                error = ConflictError(self.address, expected=self.rev, found=None)
                turn.refuse(error)
                if call.reply_to is None and not isinstance(command, str):
                    self.manager.dead_letter(DeadLetter(self.address, command.name, error))
            else:
                call.attempts += 1
                again.append(call)
        self.batch = [*(self.batch or ()), *reversed(again)]
        self.agent = None
        self.journal = None
        self.lifecycle = Lifecycle.THAWING
        delay = backoff(max((call.attempts for call in again), default=1))
        self.manager.timer.after(delay, lambda: self.pool.schedule(self.run))
        return False

    # -- hibernate and delete -----------------------------------------------------------------

    def _control(self, call: Call, *, inline: bool) -> bool:
        if not call.start():
            return True
        call.attempts = call.attempts or 1
        if call.message == Control.HIBERNATE:
            return self._hibernate(call, inline=inline)
        return self._delete(call, inline=inline)

    def _hibernate(self, call: Call, *, inline: bool) -> bool:
        reason: HibernationReason = call.args[0]
        if self.lifecycle is Lifecycle.LIVE:
            self.lifecycle = Lifecycle.HIBERNATING
            if "on_hibernate" in self.registration.spec.hooks:
                self._run_hibernate_hook(call)
        if not self._park_until_settled(call, inline=inline):
            return False
        with self.lock:
            if self.recovering is not None:
                self._push_back(call)
                return True
            unsavable = self.unsavable
            self.unsavable = None
            waiting = bool(self.mailbox or self.batch)
            polite = reason in {HibernationReason.IDLE, HibernationReason.EVICTED}
            stays = unsavable is not None or (polite and waiting)
            if stays or waiting:
                self.lifecycle = Lifecycle.LIVE if stays else Lifecycle.THAWING
            else:
                self._leave()
            if not stays:
                self.agent = None
                self.journal = None
        if stays:
            if unsavable is not None:
                call.refuse(unsavable)
            return True
        self.manager.note_hibernated(Hibernated(self.address, reason))
        if call.reply_to is not None:
            call.reply_to.settle(None, None)
        return not self.closed

    def _run_hibernate_hook(self, call: Call) -> None:
        agent, spec = self.agent, self.registration.spec
        assert agent is not None
        turn = Turn(self, Call(self.address, call.message, (), {}, None, None, None), self.epoch)
        try:
            contextvars.copy_context().run(self._invoke_hibernate, turn)
            encoded = persist.encode(agent, spec, self.address)
            persist.validate(spec, encoded, self.address)
        except Exception as error:
            logger.exception("%s: on_hibernate raised", self.address)
            self._undo(turn)
            encoded = self.base
            self.manager.events.emit(HookFailed(self.address, "on_hibernate", error))
        self.finish(turn, encoded)

    def _invoke_hibernate(self, turn: Turn) -> None:
        enter_turn(turn)
        if self.journal is not None:
            self.journal.begin_turn()
        assert self.agent is not None
        self.agent.on_hibernate()

    def _delete(self, call: Call, *, inline: bool) -> bool:
        if not self._park_until_settled(call, inline=inline):
            return False
        if self.recovering is not None:
            self._push_back(call)
            return True
        self.agent = None
        self.journal = None
        self.lifecycle = Lifecycle.THAWING
        turn = Turn(self, call, self.epoch)
        turn.open = False
        if self.registration.options.durability == "none":
            turn.release()
            return True
        self.flush_delete(turn, inline=inline)
        with self.lock:
            if self.settled:
                return True
            self.parked = True
        return False


def _hibernation(address: str, reason: HibernationReason) -> Call:
    return Call(address, Control.HIBERNATE, (reason,), {}, None, None, None)
