"""The keyed table of live agents: routes messages, thaws on demand, hibernates the idle."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from torpor import persist
from torpor.activation import Activation
from torpor.address import split_address
from torpor.agent import spec_of
from torpor.courier import Courier
from torpor.errands import Errands
from torpor.events import (
    HibernationReason,
)
from torpor.idle import IdleTable
from torpor.lanes import Lane
from torpor.loops import AsyncTurns
from torpor.mail import Mail
from torpor.reports import Reporter
from torpor.storage import Conflict, Record, Rejected, Saved
from torpor.storage.errors import (
    DuplicateKindError,
    RuntimeStoppedError,
    StorageError,
    UnknownKindError,
)
from torpor.storage.retry import MAX_RETRY_SECONDS
from torpor.supervision import Supervisor
from torpor.timer import Timer
from torpor.waits import WaitGraph
from torpor.waker import Waker
from torpor.wakes import Wakes
from torpor.workers import WorkerPool

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping

    from torpor.agent import Agent, AgentSpec
    from torpor.calls import Call
    from torpor.clock import Clock
    from torpor.durable import DurableActor
    from torpor.gate import GatedActor, Inflight
    from torpor.options import AgentOptions
    from torpor.ref import AgentRef
    from torpor.runtime import Runtime
    from torpor.sending import Sender
    from torpor.storage import Storage
    from torpor.thawing import ThawingActor

__all__ = ["InstanceManager", "Registration"]

logger = logging.getLogger("torpor")

_COMMIT_BATCH = 512
_FIRST_THAW_BACKOFF = 0.05
_LONGEST_THAW_BACKOFF = 5.0
_LANE_WATCH_SECONDS = 1.0
_LAST_JOBS = 1.0


class Registration:
    """One agent class in one runtime: its spec, and its options with the runtime's defaults."""

    __slots__ = ("options", "spec")

    def __init__(self, spec: AgentSpec, options: AgentOptions) -> None:
        self.spec = spec
        self.options = options


class InstanceManager(Reporter):
    """Routes calls to live agents, and makes agents live. Thread-safe.

    ``table`` holds every live agent by address. An activation that is about to leave takes
    itself out and then refuses messages, so a sender that is refused looks again and finds, or
    makes, its successor: no message is lost at that boundary.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        runtime: Runtime,
        storage: Storage,
        *,
        defaults: AgentOptions,
        clock: Clock,
        max_live: int,
        max_thaws: int,
        max_workers: int,
        always_thaw: bool,
        wake_interval: float | None,
    ) -> None:
        super().__init__(clock)
        self.runtime = runtime
        self.storage = storage
        self.always_thaw = always_thaw
        self.max_live = max_live
        self.refusing: str | None = None
        self.stopping = False
        self.table: dict[str, Activation] = {}
        self.attached: dict[str, int] = {}
        self.timer = Timer(clock)
        self.pool = WorkerPool(max_workers)
        self.waits = WaitGraph()
        self.loops = AsyncTurns()
        self.idle = IdleTable()
        self.waker = Waker(self, wake_interval)
        self.courier = Courier(self)
        self.supervisor = Supervisor(clock)
        self.mail = Mail(self)
        self._wakes: dict[asyncio.AbstractEventLoop, Wakes] = {}
        self._defaults = defaults
        self._registrations: dict[str, Registration] = {}
        self._lock = threading.Lock()
        self._dirty: dict[float, dict[GatedActor, None]] = {}
        patience = 2 * storage.timeout
        deadline = patience if 0 < patience < MAX_RETRY_SECONDS else MAX_RETRY_SECONDS
        self.commits: Lane[DurableActor, tuple[Inflight, Saved | Conflict | Rejected] | None] = (
            Lane(
                self._commit,
                lambda actor, result, error: actor.committed(result, error),
                pool=self.pool,
                clock=clock,
                max_batch=_COMMIT_BATCH,
                deadline=deadline,
            )
        )
        self.loads: Lane[ThawingActor, Record | StorageError | None] = Lane(
            self._read,
            self._loaded,
            pool=self.pool,
            clock=clock,
            max_batch=max_thaws,
            deadline=deadline,
        )
        self.errands = Errands(self.pool, clock, deadline)
        self._watch_lanes()

    # -- classes ------------------------------------------------------------------------------

    def register_all(self, classes: Iterable[type[Agent]]) -> None:
        """Make classes known before anybody is woken, who may be of any of them."""
        for cls in classes:
            self.register(cls, wake=False)
        if self._registrations:
            self.waker.start()

    def register(self, cls: type[Agent], *, wake: bool = True) -> Registration:
        """Return the registration of ``cls``, made at its first use; then agents are woken."""
        spec = spec_of(cls)
        registration = self._registrations.get(spec.kind)
        if registration is None:
            with self._lock:
                registration = self._registrations.setdefault(
                    spec.kind, Registration(spec, self._defaults.override(spec.options))
                )
            if wake:
                self.waker.start()
        if registration.spec is not spec:
            msg = (
                f"{spec.cls.__qualname__} and {registration.spec.cls.__qualname__} are both of "
                f"kind {spec.kind!r}: give one of them kind=…"
            )
            raise DuplicateKindError(msg)
        return registration

    def ref(self, registration: Registration, key: str, partition: str | None) -> AgentRef[Any]:
        """Return the reference to an agent."""
        return self.runtime.get(registration.spec.cls, key, partition=partition)

    def ref_of(self, address: str, initial: Mapping[str, Any] | None = None) -> AgentRef[Any]:
        """Return the reference to the agent at an address; ``UnknownKindError``."""
        kind, partition, key = split_address(address)
        registration = self._registrations.get(kind)
        if registration is None:
            raise UnknownKindError(address, f"no class of kind {kind!r} is known here")
        return self.runtime.get(registration.spec.cls, key, partition=partition, initial=initial)

    # -- messages -----------------------------------------------------------------------------

    def wakes_on(self, loop: asyncio.AbstractEventLoop) -> Wakes:
        """Return what wakes tasks on ``loop``."""
        wakes = self._wakes.get(loop)
        if wakes is None:
            for other in [other for other in self._wakes if other.is_closed()]:
                self._wakes.pop(other, None)
            wakes = self._wakes.setdefault(loop, Wakes(loop, self.clock))
        return wakes

    def deliver(self, ref: Sender, call: Call, *, inline: bool = False) -> Activation | None:
        """Put ``call`` into the agent's mailbox, making the agent live if need be.

        With ``inline``, an activation is returned if the caller has claimed it: it has nothing
        else to do and the caller is to run the call itself.
        """
        if self.stopping and (self.refusing is not None or not call.urgent):
            raise RuntimeStoppedError(self.refusing or "the runtime is stopping")
        while True:
            activation = self.table.get(ref.address)
            if activation is None:
                activation = self._activate(ref)
            admitted = activation.admit(call, inline=inline)
            if admitted is None:
                return activation
            if admitted:
                if self.refusing is not None and activation.take_back(call):
                    raise RuntimeStoppedError(self.refusing)
                return None
            self.forget(activation)

    def _activate(self, ref: Sender) -> Activation:
        failure = self._failures.get(ref.address)
        if failure is not None and self.clock.monotonic() < failure.until:
            raise persist.thaw_error(ref.address, failure.cause)
        fresh = Activation(self, ref.registration, ref.address, ref.key, ref.partition, ref.initial)
        activation = self.table.setdefault(ref.address, fresh)
        if activation is fresh and len(self.table) > self.max_live:
            self._evict()
        return activation

    def remove(self, activation: Activation) -> None:
        """Take an activation out of the tables. Called with its lock held."""
        if self.table.get(activation.address) is activation:
            del self.table[activation.address]
        self.idle.discard(activation)

    def forget(self, activation: Activation) -> None:
        """See to it that an activation that refuses messages is out of the tables.

        An interrupt may have come before that: then whoever looks for a successor would find it
        for ever.
        """
        with activation.lock:
            if activation.closed:
                self.remove(activation)

    # -- at rest ------------------------------------------------------------------------------

    def rested(self, activation: Activation) -> None:
        """Take note that an agent has nothing left to do."""
        if not self._evictable(activation):
            return
        if self.attached and activation.address in self.attached:
            return
        since = activation.idle_since
        if since is None:
            since = activation.idle_since = self.clock.monotonic()
        elif not activation.listed and self._is_due(activation, since):
            # The runtime's own turn was under way when its time had come.
            self._put_to_sleep(activation, HibernationReason.IDLE)
            return
        if not activation.listed and self.idle.add(activation, since):
            timeout = activation.registration.options.idle_timeout
            assert timeout is not None
            self.timer.at(since + timeout, lambda: self._hibernate_idle(timeout))
        if len(self.table) > self.max_live:
            self._evict()

    def _is_due(self, activation: Activation, since: float) -> bool:
        timeout = activation.registration.options.idle_timeout
        return timeout is not None and since + timeout <= self.clock.monotonic()

    @staticmethod
    def _evictable(activation: Activation) -> bool:
        if activation.claimed or activation.closed or activation.unsavable is not None:
            return False
        if activation.inflight is None and not (activation.dirty or activation.ready):
            return not (activation.unsaved or activation.releasing)
        return not activation.busy_saving

    def _hibernate_idle(self, timeout: float) -> None:
        due, following = self.idle.take_due(timeout, self.clock.monotonic())
        for activation in due:
            if self._evictable(activation):
                self._put_to_sleep(activation, HibernationReason.IDLE)
        if following is not None:
            self.timer.at(following, lambda: self._hibernate_idle(timeout))

    def _evict(self) -> None:
        """Hibernate the least recently used while there are too many; soft if all are busy."""
        surplus = len(self.table) - self.max_live
        while surplus > 0:
            activation = self.idle.take_oldest(self._evictable)
            if activation is None:
                return
            self._put_to_sleep(activation, HibernationReason.EVICTED)
            surplus -= 1

    def _put_to_sleep(self, activation: Activation, reason: HibernationReason) -> None:
        if activation.address in self.attached:
            return
        activation.put_to_sleep(reason)

    def attach(self, address: str) -> None:
        """Keep the agent of ``address`` awake, once it is, until as many ``detach``."""
        with self._lock:
            self.attached[address] = self.attached.get(address, 0) + 1

    def detach(self, address: str) -> None:
        """Undo one ``attach``; after the last one the idle clock starts anew."""
        with self._lock:
            self.attached[address] -= 1
            if self.attached[address]:
                return
            del self.attached[address]
        self.touch(address)

    def touch(self, address: str) -> None:
        """Start the idle clock anew, if the agent is live."""
        activation = self.table.get(address)
        if activation is not None:
            activation.idle_since = None
            self.rested(activation)

    # -- saving -------------------------------------------------------------------------------

    def flush_after_turns(self, actor: GatedActor, *, inline: bool) -> None:
        """Send what turns changed, if their durability says after each turn."""
        if actor.registration.options.durability == "turn":
            actor.flush(inline=inline)

    def note_dirty(self, actor: GatedActor) -> None:
        """See to it that ``actor`` is saved within its flush interval."""
        options = actor.registration.options
        if options.durability != "interval":
            return
        interval = options.flush_interval
        with self._lock:
            waiting = self._dirty.setdefault(interval, {})
            first = not waiting
            waiting[actor] = None
        if first:
            self.timer.after(interval, lambda: self._flush_interval(interval))

    def _flush_interval(self, interval: float) -> None:
        with self._lock:
            waiting = self._dirty.pop(interval, {})
        for actor in waiting:
            actor.flush()

    def _commit(
        self, actors: list[DurableActor]
    ) -> list[tuple[Inflight, Saved | Conflict | Rejected] | None]:
        if len(actors) == 1 and (alone := actors[0].inflight) is not None:
            return [(alone, self.storage.commit([alone.change])[0])]
        # After an interrupt an actor may be in the lane twice, or have nothing to be saved.
        sent = {actor: actor.inflight for actor in actors if actor.inflight is not None}
        outcomes = self.storage.commit([inflight.change for inflight in sent.values()])
        found = dict(zip(sent, zip(sent.values(), outcomes, strict=True), strict=True))
        return [found.get(actor) for actor in actors]

    def _read(self, activations: list[ThawingActor]) -> list[Record | StorageError | None]:
        return self.storage.read([activation.address for activation in activations])

    def _loaded(
        self,
        activation: ThawingActor,
        result: Record | StorageError | None,
        error: BaseException | None,
    ) -> None:
        if isinstance(result, Record):
            activation.loaded(result, None)
        else:
            activation.loaded(None, error or result)

    def _watch_lanes(self) -> None:
        self.commits.abandon_overdue()
        self.loads.abandon_overdue()
        self.errands.abandon_overdue()
        self.timer.after(_LANE_WATCH_SECONDS, self._watch_lanes)

    def close(self) -> None:
        """End the threads. What is unsaved by now stays unsaved."""
        self.timer.close()
        self.loops.close()
        self.pool.close(wait=_LAST_JOBS)  # what they still do needs the storage open
