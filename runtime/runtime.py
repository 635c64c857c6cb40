"""The runtime: one storage, one instance manager, the workers."""

from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from torpor import detached
from torpor.clock import Clock, SystemClock
from torpor.deadletters import list_dead_letters
from torpor.eventloop import on_event_loop
from torpor.events import AgentEvent
from torpor.home import default_url
from torpor.manager import InstanceManager
from torpor.options import AgentOptions
from torpor.queue.outgoing import TOPIC_SCHEME, TopicDeliverer
from torpor.ref import AgentRef
from torpor.stop import drain_and_hibernate
from torpor.storage import Storage, open_storage
from torpor.storage.errors import BlockingCallError, ConfigurationError, RuntimeStoppedError
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType, TracebackType

    from torpor.agent import Agent
    from torpor.options import Durability, Strategy
    from torpor.outbox import Deliverer
    from torpor.system import DeadMessage

__all__ = ["Runtime", "RuntimeStats"]

A = TypeVar("A", bound="Agent")
E = TypeVar("E", bound=AgentEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStats:
    """Gauges, read from the tables at the moment of asking, and counts since the start."""

    live: int
    running: int
    waiting: int
    unsaved: int
    attached: int
    workers: int
    workers_blocked: int
    turns: int
    thaws: int
    hibernations: int
    conflicts: int
    save_failures: int
    dead_letters: int


class Runtime:
    """Runs agents on one storage. A context manager, sync and async; else ``start``, ``stop``.

    ``storage`` is a URL (closed by the runtime), a ``Storage`` (left open, it is yours), or
    None: SQLite in the user's data folder (``TORPOR_HOME`` moves it). The agent options are
    defaults; an agent class's own win. Times are seconds.

    Args:
        storage: where agents hibernate to.
        agents: classes to know from the start; others are known when first used. Only agents
            of known classes are woken by their schedules and durable messages.
        idle_timeout: hibernate an agent that nobody spoke to for so long; None = never.
        durability: when turns are saved: "turn", "interval", "hibernate" or "none".
        flush_interval: how often "interval" saves.
        mailbox: most messages that may wait for one agent.
        validate_on_save: decode each changed state before it is saved.
        track_commands: journal the start and end of each command.
        supervision: what a failing turn does to its agent: "resume", "restart" or "stop";
            see ``torpor.options.AgentOptions``, also for the next two.
        max_restarts: failures in a row that end in a restart; one more in a pause.
        restart_window: how long after a failure the next one counts, and a pause lasts.
        timeout: default of a call's timeout; None = none.
        max_live: beyond it the least recently used idle agents hibernate. Soft: running,
            unsaved and attached agents stay.
        max_thaws: most agents that are read from the storage at once.
        max_workers: most worker threads, those that wait for a reply included.
        wake_interval: how often the storage is asked for agents that have something to do; None
            = never, then only what this process itself has scheduled or sent is on time.
        drain_timeout: how long ``stop`` lets queued turns finish.
        always_thaw: for tests: hibernate after every message, copy arguments and results, so
            that whatever depends on memory fails.
        clock: both clocks; for tests.
    """

    def __init__(  # noqa: PLR0913 - all keywords with defaults
        self,
        storage: str | Storage | None = None,
        *,
        agents: Iterable[type[Agent]] = (),
        idle_timeout: float | None = 300.0,
        durability: Durability = "turn",
        flush_interval: float = 1.0,
        mailbox: int = 10_000,
        validate_on_save: bool = True,
        track_commands: bool = False,
        supervision: Strategy = "resume",
        max_restarts: int = 5,
        restart_window: float = 60.0,
        timeout: float | None = 30.0,
        max_live: int = 10_000,
        max_thaws: int = 64,
        max_workers: int = 256,
        drain_timeout: float = 30.0,
        wake_interval: float | None = 2.0,
        always_thaw: bool = False,
        clock: Clock | None = None,
    ) -> None:
        defaults = AgentOptions(
            idle_timeout=idle_timeout,
            durability=durability,
            flush_interval=flush_interval,
            mailbox=mailbox,
            validate_on_save=validate_on_save,
            track_commands=track_commands,
            supervision=supervision,
            max_restarts=max_restarts,
            restart_window=restart_window,
        )
        limits = {"max_live": max_live, "max_thaws": max_thaws, "max_workers": max_workers}
        for name, value in limits.items():
            if value < 1:
                msg = f"{name} is at least 1, not {value}"
                raise ConfigurationError(msg)
        self._owns_storage = not isinstance(storage, Storage)
        self.storage = _open(storage)
        self._timeout = timeout
        self._drain_timeout = drain_timeout
        self._stop_lock = threading.Lock()
        self._stopped = False
        self.manager = InstanceManager(
            self,
            self.storage,
            defaults=defaults,
            clock=clock or SystemClock(),
            max_live=max_live,
            max_thaws=max_thaws,
            max_workers=max_workers,
            always_thaw=always_thaw,
            wake_interval=wake_interval,
        )
        self.manager.courier.register(TOPIC_SCHEME, TopicDeliverer(self.manager))
        self.manager.register_all(agents)

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else f"{len(self.manager.table)} live"
        return f"<Runtime on {self.storage.name}, {state}>"

    # -- agents -------------------------------------------------------------------------------

    def get(
        self,
        cls: type[A],
        key: str,
        *,
        partition: str | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> AgentRef[A]:
        """Return the reference to an agent. Loads nothing.

        ``key`` is any text that fits into 512 bytes of UTF-8 with kind and partition.
        ``partition`` separates tenants: the same key in two partitions is two agents.
        ``initial`` are field values for an agent that is not stored yet; a stored one ignores
        them. Raises ``InvalidKeyError``, ``DuplicateKindError``.
        """
        registration = self.manager.register(cls)
        return AgentRef(
            self.manager,
            registration,
            key,
            partition=partition,
            initial=initial,
            timeout=self._timeout,
        )

    def live(
        self, cls: type[A] | None = None, *, partition: str | None = None
    ) -> list[AgentRef[Any]]:
        """Return references to the agents in memory now, of ``cls`` (and ``partition``) if given.

        Wakes nobody and resets no idle clock.
        """
        return [
            self.get(activation.registration.spec.cls, activation.agent_id, partition=place)
            for activation in list(self.manager.table.values())
            for place in [activation.partition]
            if (cls is None or activation.registration.spec.cls is cls)
            and (partition is None or place == partition)
        ]

    def lookup(self, cls: type[A], key: str, *, partition: str | None = None) -> AgentRef[A] | None:
        """Return the reference to an agent if it is in memory now, else None."""
        ref = self.get(cls, key, partition=partition)
        return ref if ref.address in self.manager.table else None

    def thaw(self, cls: type[A], key: str, *, partition: str | None = None) -> A | None:
        """Return a detached copy of a stored agent, None if there is none; see ``hibernate``."""
        return detached.thaw(self.storage, cls, key, partition=partition)

    def hibernate(
        self, agent: Agent, key: str | None = None, *, partition: str | None = None
    ) -> int:
        """Save a detached copy and return its new revision; ``ConflictError`` if it is stale."""
        return detached.hibernate(self.storage, agent, key, partition=partition)

    def dead_letters(self) -> Iterator[tuple[str, DeadMessage]]:
        """Yield every dead letter of the store, with the address of the agent that keeps it.

        See ``AgentRef.dead_letters``. Wakes nobody. Reads the storage as it goes.
        """
        return list_dead_letters(self.storage)

    def deliver_by(self, scheme: str, deliverer: Deliverer) -> None:
        """Have messages to targets ``"scheme:…"`` (see ``torpor.outbox``) brought there."""
        self.manager.courier.register(scheme, deliverer)

    # -- watching -----------------------------------------------------------------------------

    def stats(self) -> RuntimeStats:
        """Return gauges and counts."""
        manager = self.manager
        activations = list(manager.table.values())
        return RuntimeStats(
            live=len(activations),
            running=sum(a.turn is not None for a in activations),
            waiting=sum(a.waiting for a in activations),
            unsaved=sum(not a.settled for a in activations),
            attached=len(manager.attached),
            workers=manager.pool.threads,
            workers_blocked=manager.pool.blocked,
            turns=manager.turns.value(),
            thaws=manager.thaws.value(),
            hibernations=manager.hibernations.value(),
            conflicts=manager.conflicts.value(),
            save_failures=manager.save_failures.value(),
            dead_letters=manager.dead_letters.value(),
        )

    def listen(
        self,
        listener: Callable[[E], None],
        kind: type[E] = AgentEvent,  # type: ignore[assignment]  # the base of every E
    ) -> Callable[[], None]:
        """Call ``listener`` with every event of ``kind``; call what is returned to end that.

        Called on the thread where it happens: be quick, and don't ``ask`` agents there.
        """
        return self.manager.events.listen(listener, kind)

    # -- start and stop -----------------------------------------------------------------------

    def stop(self, drain_timeout: float | None = None) -> None:
        """Let queued turns finish, hibernate every live agent, close the storage if it is ours.

        New calls, except those of turns that still run, get ``RuntimeStoppedError``. Raises
        ``StopError`` for what could not be saved or would not end. Twice is no error. Inside one
        of its own turns a runtime refuses to stop: ``BlockingCallError``. On an event loop's
        thread use ``async with`` or ``await astop()``.
        """
        if on_event_loop():
            name = "runtime"
            raise BlockingCallError(name, "this thread runs an event loop; use await astop()")
        turn = current_turn()
        if turn is not None and turn.activation.manager is self.manager:
            name = "stop()"
            raise BlockingCallError(name, "a runtime is not stopped inside one of its own turns")
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
            timeout = self._drain_timeout if drain_timeout is None else drain_timeout
            try:
                drain_and_hibernate(self.manager, timeout)
            finally:
                self.manager.close()
                if self._owns_storage:
                    self.storage.close()

    async def astop(self, drain_timeout: float | None = None) -> None:
        """``stop`` for async code."""
        await asyncio.to_thread(self.stop, drain_timeout)

    def stop_on_signals(self, *signals: signal.Signals) -> None:
        """Leave the program by ``SystemExit`` on a signal (default: SIGTERM).

        So the ``with`` block of this runtime is left and everything hibernates. To be called on
        the main thread.
        """

        def leave(number: int, frame: FrameType | None) -> None:
            del frame
            raise SystemExit(128 + number)

        for number in signals or (signal.SIGTERM,):
            signal.signal(number, leave)

    def __enter__(self) -> Self:
        self._require_running()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._require_running()
        self.manager.loops.attach(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.astop()

    def _require_running(self) -> None:
        if self._stopped:
            msg = "this runtime has stopped; make a new one"
            raise RuntimeStoppedError(msg)


def _open(storage: str | Storage | None) -> Storage:
    if isinstance(storage, Storage):
        return storage
    if isinstance(storage, str):
        return open_storage(storage)
    if storage is not None:
        msg = f"a storage is a URL or a Storage, not {type(storage).__name__}"
        raise ConfigurationError(msg)
    return open_storage(default_url())
