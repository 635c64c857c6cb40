"""A turn is a transaction: it is kept whole, or the agent is as it was before it.

The rollback base is the encoded state after the last finished turn; fields are decoded back
into the same agent object. Private attributes are not rolled back.
"""

from __future__ import annotations

import contextvars
import logging
from abc import abstractmethod
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from torpor import persist
from torpor.calls import Call, Control
from torpor.durable import DurableActor
from torpor.events import HookFailed
from torpor.storage.errors import RuntimeStoppedError, TurnCancelledError
from torpor.thread import AgentThread
from torpor.turn import Turn, enter_turn

if TYPE_CHECKING:
    from torpor.agent import Agent
    from torpor.calls import Reply
    from torpor.commands import Command
    from torpor.manager import InstanceManager, Registration
    from torpor.ref import AgentRef
    from torpor.runtime import Runtime

__all__ = ["TransactionalActor"]

logger = logging.getLogger("torpor")


class TransactionalActor(DurableActor):
    """Holds one agent object, runs its handlers and hooks, and keeps or undoes what they did."""

    __slots__ = ("agent", "agent_id", "copy_epoch", "due_hook", "partition", "turn")

    def __init__(
        self,
        manager: InstanceManager,
        registration: Registration,
        address: str,
        agent_id: str,
        partition: str | None,
    ) -> None:
        super().__init__(manager, registration, address)
        self.agent_id = agent_id
        self.partition = partition
        self.agent: Agent | None = None
        self.copy_epoch: int = 0
        self.turn: Turn | None = None
        self.due_hook: str | None = None

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

    # -- one turn -----------------------------------------------------------------------------

    def run_sync(self, turn: Turn, command: Command) -> None:
        """Run a sync turn, from begin to end, on this thread, in the context of its own."""
        call = turn.call
        try:
            # Seen is only what a turn of this copy left behind: no hook is due, nobody tracks.
            if self.seen is not None and self.journal is None and call.origin is None:
                enter_turn(turn)
            elif not self.begin(turn):
                return
            if call.args or call.kwargs:
                result = command.function(self.agent, *call.args, **call.kwargs)
            else:
                result = command.function(self.agent)
        except BaseException as error:  # noqa: BLE001 - an interrupt too reaches the caller by it
            self.end(turn, None, error)
            return
        self.end_well(turn, result)

    def end_well(self, turn: Turn, result: Any) -> None:
        """Finish a turn whose handler has returned ``result``."""
        seen = self.seen
        if seen is not None and self.journal is None and self.system is None:
            assert self.agent is not None
            fields = self.agent.__dict__
            # Plain values that are the same objects: nothing has changed, and nothing needs to be
            # encoded to know it, a third of a turn that only reads. Identity, since 1 == True.
            same = len(fields) == len(seen) and all(map(is_, fields.values(), seen))
            if same and self.finish_unchanged(turn):
                turn.result = result
                self.turn = None
                self.manager.turns.add()
                turn.release()
                return
        self.end(turn, result, None)

    def begin(self, turn: Turn) -> bool:
        """Start a turn on this thread and context; runs the hook that is due.

        False if it turns out not to be wanted: then it is over.
        """
        enter_turn(turn)
        if self.journal is not None:
            self.journal.begin_turn()
        origin = turn.call.origin
        if origin is not None and not origin.begin(self):
            self.turn = None
            self.finish(turn, self.base)
            return False
        if self.due_hook is not None:
            getattr(self.agent, self.due_hook)()
        if self.registration.options.track_commands:
            self._track("instruction_start", turn)
        return True

    def end(self, turn: Turn, result: Any, error: BaseException | None) -> None:
        """Finish a turn: keep what it did, or roll it back."""
        encoded = self.base
        if self.journal is not None and self.journal.outdated:
            self.note_outdated()
        try:
            if error is None:
                encoded = self._keep(turn)
        except BaseException as invalid:  # noqa: BLE001 - whatever it is, the turn failed by it
            error = invalid
        if error is not None:
            turn.error = error
            encoded = self._roll_back(turn, error)
            if turn.call.origin is not None and self.agent is not None:
                turn.call.origin.failed(self, error)
            if self.registration.options.supervision != "resume" and self._is_a_failure(error):
                self.manager.supervisor.failed(self, error)
        turn.result = result
        self.turn = None
        self.manager.turns.add()
        self.finish(turn, encoded)

    def _is_a_failure(self, error: BaseException) -> bool:
        """Whether the handler is to blame: nobody cancelled or interrupted it, or stopped."""
        if not isinstance(error, Exception) or isinstance(error, TurnCancelledError):
            return False
        return not (self.manager.stopping and _came_of_a_stop(error))

    def _keep(self, turn: Turn) -> bytes:
        """Return the state that a turn has ended with; raise if it can't be kept."""
        agent, spec, options = self.agent, self.registration.spec, self.registration.options
        assert agent is not None
        if options.track_commands:
            self._track("instruction_end", turn, status="ok")
        encoded = persist.encode(agent, spec, self.address)
        if encoded == self.base:
            if spec.scalar and self.seen is None and not options.track_commands:
                self.seen = persist.scalars(agent)
        elif options.validate_on_save:
            persist.validate(spec, encoded, self.address)
        self.due_hook = None
        return encoded

    def _roll_back(self, turn: Turn, error: BaseException) -> bytes:
        agent, spec = self.agent, self.registration.spec
        tracked = self.registration.options.track_commands
        assert agent is not None
        usable = self._undo(turn)
        if tracked:
            self._track_failure(turn)
        if not usable or "on_failure" not in spec.hooks:
            return self.base
        try:
            agent.on_failure(error)
            encoded = persist.encode(agent, spec, self.address)
            persist.validate(spec, encoded, self.address)
        except BaseException as failure:
            logger.exception("%s: on_failure raised", self.address)
            _leave(turn, failure)
            self._undo(turn)
            if tracked:
                self._track_failure(turn)
            self.manager.events.emit(HookFailed(self.address, "on_failure", failure))
            return self.base
        return encoded

    def _undo(self, turn: Turn) -> bool:
        """Bring back what was before ``turn``; if even that fails, drop the copy: False."""
        agent = self.agent
        assert agent is not None
        turn.held = None
        if self.journal is not None:
            self.journal.roll_back_turn()
        if self.system is not None:
            self.system.roll_back_turn()
        try:
            persist.reset(agent, self.registration.spec, self.base)
        except BaseException as failure:
            logger.exception("%s: cannot be rolled back, is dropped from memory", self.address)
            _leave(turn, failure)
            self.discard_copy()
            return False
        return True

    @abstractmethod
    def discard_copy(self) -> None:
        """Have the agent thawed anew before the next message, once all before is saved."""

    def _track_failure(self, turn: Turn) -> None:
        self._track("instruction_start", turn)
        self._track("instruction_end", turn, status="error")

    def _track(self, kind: str, turn: Turn, **more: str) -> None:
        command, origin = turn.call.message, turn.call.origin
        if isinstance(command, str) or (origin is not None and origin.quiet):
            return
        payload: dict[str, Any] = {"action": command.name}
        if names := command.given(turn.call.args, turn.call.kwargs):
            payload["param_keys"] = names
        self.agent_thread.append(kind, payload | more)

    def cancelled(self, cause: BaseException) -> TurnCancelledError:
        """Return the error of a cancelled async turn."""
        error = TurnCancelledError(self.address, "the handler was cancelled")
        error.__cause__ = cause
        return error

    def run_hibernate_hook(self, reply: Reply[Any] | None) -> BaseException | None:
        """Run ``on_hibernate`` as a turn that nobody sent; return what it was left by, if it was.

        That is no ``Exception``. The agent is as before the hook then. ``reply``: of the
        hibernation, for a stop that gives the hook up.
        """
        agent, spec = self.agent, self.registration.spec
        assert agent is not None
        turn = Turn(self, Call(self.address, Control.HIBERNATE), self.copy_epoch)
        turn.answered = True  # nobody asked for it: it is not run again either
        turn.call.reply_to = reply
        self.turn = turn
        if self.manager.refusing is not None:
            self.flush()  # the hook may not end in time
        try:
            contextvars.copy_context().run(self._invoke_hibernate, turn)
            encoded = persist.encode(agent, spec, self.address)
            persist.validate(spec, encoded, self.address)
        except BaseException as error:
            logger.exception("%s: on_hibernate raised", self.address)
            _leave(turn, error)
            self._undo(turn)
            encoded = self.base
            self.manager.events.emit(HookFailed(self.address, "on_hibernate", error))
        left_by = turn.error
        self.turn = None
        self.finish(turn, encoded)
        return left_by

    def _invoke_hibernate(self, turn: Turn) -> None:
        enter_turn(turn)
        if self.journal is not None:
            self.journal.begin_turn()
        assert self.agent is not None
        self.agent.on_hibernate()


def _leave(turn: Turn, error: BaseException) -> None:
    """Have ``turn`` fail by what is no hook's own failure: an interrupt, an exit."""
    if not isinstance(error, Exception):
        turn.error = error


def _came_of_a_stop(error: BaseException) -> bool:
    """Whether ``error``, or one that led to it, is the refusal of a runtime that stops."""
    seen: set[int] = set()
    found = [error]
    while found:
        error = found.pop()
        if isinstance(error, RuntimeStoppedError):
            return True
        if id(error) in seen:
            continue
        seen.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            found += cast("BaseExceptionGroup[BaseException]", error).exceptions
        found += [before for before in (error.__cause__, error.__context__) if before is not None]
    return False
