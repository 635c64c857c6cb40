"""Thaw: bring a stored agent into memory, or fail closed and say why."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any

from torpor import persist
from torpor.events import DeadLetter, ThawFailed
from torpor.storage.errors import CallOutcome, CallTimeoutError, StorageUnavailableError
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff
from torpor.system import SystemState
from torpor.transaction import TransactionalActor

if TYPE_CHECKING:
    from torpor.calls import Call
    from torpor.manager import InstanceManager, Registration
    from torpor.storage import Record

__all__ = ["Lifecycle", "ThawingActor"]


class Lifecycle(Enum):
    """Where an activation stands."""

    THAWING = "thawing"
    LIVE = "live"
    HIBERNATING = "hibernating"
    GONE = "gone"


class ThawingActor(TransactionalActor):
    """Loads its agent when the first message needs it; messages wait meanwhile."""

    __slots__ = (
        "arrived",
        "batch",
        "idle_since",
        "initial",
        "lifecycle",
        "listed",
        "load_attempts",
        "load_since",
        "loading",
        "refreshing",
    )

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        manager: InstanceManager,
        registration: Registration,
        address: str,
        agent_id: str,
        partition: str | None,
        initial: dict[str, Any] | None,
    ) -> None:
        super().__init__(manager, registration, address, agent_id, partition)
        self.initial = initial
        self.lifecycle = Lifecycle.THAWING
        self.refreshing = False
        # When it came to rest; None if a message came that starts the idle clock anew.
        self.idle_since: float | None = None
        self.listed = False  # in the idle table
        # Messages taken out of the mailbox, the next one last.
        self.batch: list[Call] | None = None
        self.arrived: tuple[Record | None, BaseException | None] | None = None
        self.load_attempts = 0
        self.load_since: float | None = None
        self.loading = False

    def __lt__(self, other: ThawingActor) -> bool:
        return False  # of those that came to rest at the same time any may be the first

    @abstractmethod
    def leave(self) -> bool:
        """End this activation unless a message waits; return whether. With the lock held."""

    @abstractmethod
    def close(self) -> None:
        """End this activation. What waits is to be refused. With the lock held."""

    @abstractmethod
    def run_later(self, delay: float) -> None:
        """Go on after ``delay`` seconds, with the claim kept."""

    def load(self, *, inline: bool) -> bool:
        """Bring the agent into memory; False if that has to be waited for, or failed."""
        delay = self.manager.supervisor.delay(self.address)
        if delay > 0:
            self.run_later(delay)
            return False
        if self.registration.options.durability == "none":
            self.arrived = (None, None)
        with self.lock:
            # A commit that is told late may have woken this actor while it waits for a load.
            wanted = self.arrived is None and not self.loading
            self.loading = self.loading or wanted
        if wanted:
            if self.load_since is None:
                self.load_since = self.manager.clock.monotonic()
            self.manager.loads.submit(self, inline=inline, urgent=self._wanted_by_a_turn())
        with self.lock:
            if self.arrived is None:
                self.park()
                return False
        assert self.arrived is not None
        (record, error), self.arrived = self.arrived, None
        if isinstance(error, StorageUnavailableError):
            return self._load_again(error)
        self.load_attempts, self.load_since = 0, None
        try:
            if error is not None:
                raise error
            self._install(record)
        except BaseException as cause:
            if not isinstance(cause, Exception) and not self.pool.on_worker():
                self.agent = None  # a worker loads it anew: this thread is interrupted
                raise
            return self._thaw_failed(cause)
        return True

    def loaded(self, record: Record | None, error: BaseException | None) -> None:
        """Take what the storage answered."""
        with self.lock:
            if not self.loading:
                return  # taken already: it was asked for again after an interrupt
            self.arrived = (record, error)
            self.loading = False
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
            found = record.rev if record else 0
            if self.agent is not None and self.rev == found:
                return
            self.drop_changes(found)
        system: SystemState | None = None
        if record is None:
            agent = persist.fresh(spec, self.initial, self.address)
        else:
            system, record = SystemState.detach(record)
            agent = persist.thaw(spec, record)
        object.__setattr__(agent, "_host", self)
        self.base = persist.encode(agent, spec, self.address)
        self.seen = None
        self.copy_epoch = self.epoch
        self.agent = agent
        self.journal = None
        self.system = system
        self.rev = record.rev if record else 0
        self.head = record.thread if record else None
        hook = "on_start" if record is None else "on_thaw"
        self.due_hook = hook if hook in spec.hooks else None
        self.unstored = record is None and bool(self.initial)
        self.lifecycle = Lifecycle.LIVE
        self.manager.note_thawed(self.address, fresh=record is None, rev=self.rev)

    def _load_again(self, error: BaseException) -> bool:
        """Try the load again after a while, for those calls that can wait so long."""
        now = self.manager.clock.monotonic()
        assert self.load_since is not None
        self.load_attempts += 1
        patient: list[Call] = []
        for call in self.take_all():
            if call.deadline is None or call.deadline > now:
                call.trouble = error
                patient.append(call)
            elif call.start():
                self.refuse(call, self._timed_out(call, error))
        self.batch = patient[::-1]
        with self.lock:
            if not patient and self.agent is None and self.leave():
                return False
        if not patient and self.agent is not None:
            self.refreshing = False
            return True
        if now >= self.load_since + MAX_RETRY_SECONDS:
            return self._thaw_failed(error)
        self.run_later(backoff(self.load_attempts))
        return False

    def _timed_out(self, call: Call, cause: BaseException) -> CallTimeoutError:
        outcome: CallOutcome = "not_applied" if call.attempts else "not_run"
        error = CallTimeoutError(self.address, f"not started in time: {cause}", outcome)
        error.__cause__ = cause
        return error

    def take_all(self) -> list[Call]:
        """Take every message that waits, in order."""
        with self.lock:
            came = len(self.mailbox)  # more may come meanwhile: see ``AdmittingActor.admit``
            calls = [*reversed(self.batch or ()), *self.mailbox[:came]]
            del self.mailbox[:came]
            self.batch = None
        return calls

    def _thaw_failed(self, cause: BaseException) -> bool:
        """Fail closed: tell everybody why, and leave; nothing was changed.

        True: it stays. That was a fresh look, and what is in memory was answered already.
        """
        self.manager.note_thaw_failure(ThawFailed(self.address, cause))
        with self.lock:
            stays = self.agent is not None and self.dirty
            self.refreshing = False
            if not stays:
                self.close()
        for call in self.take_all():
            self._refuse_thaw(call, cause)
        return stays

    def _refuse_thaw(self, call: Call, cause: BaseException) -> None:
        if call.start():
            self.refuse(call, persist.thaw_error(self.address, cause))

    def refuse(self, call: Call, error: BaseException) -> None:
        """Tell a call's sender that it is not run."""
        if call.reply_to is not None:
            call.reply_to.settle(None, error)
        elif not isinstance(call.message, str):
            self.manager.dead_letter(DeadLetter(self.address, call.message.name, error))
