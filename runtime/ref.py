"""References: how an agent is talked to, whether it is awake, asleep or not yet born."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    overload,
)

from torpor import outbox
from torpor.bookkeeping import bookkeeping, drop_schedule, purge, replay
from torpor.calls import Control, Reply
from torpor.courier import AGENT_SCHEME
from torpor.deadletters import dead_letters_of
from torpor.eventloop import current_loop, on_event_loop
from torpor.events import HibernationReason
from torpor.proxy import AgentProxy
from torpor.scheduling import stored_schedules
from torpor.sending import Sender
from torpor.status import AgentStatus, status_of
from torpor.storage.errors import BlockingCallError, ConfigurationError
from torpor.supervision import lift
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from torpor.agent import Agent
    from torpor.schedules import Schedule
    from torpor.system import DeadMessage
    from torpor.transaction import TransactionalActor

__all__ = ["AgentRef", "AgentStatus"]

A = TypeVar("A", bound="Agent")
P = ParamSpec("P")
R = TypeVar("R")


class _Unchanged:
    """The default of an option that None is a value of."""


_UNCHANGED = _Unchanged()


class AgentRef(Sender, Generic[A]):
    """The address of one agent. Cheap, immutable, valid for ever; usable from any thread.

    Two references are equal if they mean the same agent of the same runtime.
    """

    __slots__ = ()

    def options(
        self,
        *,
        timeout: float | _Unchanged | None = _UNCHANGED,
        fresh: bool | None = None,
        message_id: str | None = None,
    ) -> AgentRef[A]:
        """Return a copy of this reference whose calls have other options.

        ``timeout``: seconds to wait for a reply; None = for ever. ``fresh``: before the turn
        runs, the revision is compared with the stored one, and a copy that another process has
        made stale is thawed anew. ``message_id``: what ``send`` sends from outside of any agent
        is applied once, however often it is sent with this id (an agent remembers the newest
        1,000); for a sender that can't know whether it has sent it already.
        """
        return AgentRef(
            self._manager,
            self.registration,
            self.key,
            partition=self.partition,
            initial=self._initial,
            timeout=self._timeout if isinstance(timeout, _Unchanged) else timeout,
            fresh=self._fresh if fresh is None else fresh,
            message_id=self._message_id if message_id is None else message_id,
        )

    # -- calls --------------------------------------------------------------------------------

    @overload
    def ask(
        self,
        method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    def ask(
        self, method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    def ask(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``method`` and wait for its result.

        What it returns was made durable first, as far as the agent's durability promises. The
        timeout (30 s by default) bounds the waiting for the agent, never the handler itself:
        if the agent has nothing else to do, the handler runs on this very thread.

        Raises what the method raises (its turn is rolled back), ``CallTimeoutError``,
        ``SaveError``, ``ConflictError``, ``ThawError``, ``MailboxFullError``,
        ``StorageUnavailableError`` (saving this agent fails for now), ``BlockingCallError`` on
        an event loop's thread, ``CallCycleError``, ``InvalidArgumentsError``,
        ``UnknownMethodError`` and ``RuntimeStoppedError``.
        """
        command = self.registration.spec.find(method)
        if current_loop() is not None:
            detail = "this thread runs an event loop; use await ref.submit(…)"
            raise BlockingCallError(self.address, detail)
        return self.dispatch(command, args, kwargs, blocking=True).get()

    @overload
    def submit(
        self,
        method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reply[R]: ...
    @overload
    def submit(
        self, method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Reply[R]: ...
    def submit(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Reply[Any]:
        """Call ``method`` and return the future of its result at once.

        ``reply.get()`` or ``await reply``; the calls of one sender to one agent are handled in
        order. On the loop where async handlers run, the handler of an agent with nothing else to
        do runs to its first real wait before this returns, unless a turn calls it. Raises as
        ``ask`` does for what is known at once; the rest comes from the reply.
        """
        command = self.registration.spec.find(method)
        return self.dispatch(command, args, kwargs, blocking=False)

    def tell(
        self, method: Callable[Concatenate[A, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send a call whose result nobody waits for. Returning acknowledges nothing.

        Inside a turn it is held until the turn is durable, and dropped if the turn fails. If
        its handler fails, or it can't be delivered later, it is a ``DeadLetter`` event.
        Raises ``MailboxFullError`` and the errors of a wrong call at once.
        """
        command = self.registration.spec.find(method)
        self.dispatch_tell(command, args, kwargs)

    def send(
        self, method: Callable[Concatenate[A, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """Send a durable message: applied exactly once, whoever crashes. Return its id.

        Inside a turn it leaves if, and only if, the turn commits. Elsewhere it is durable
        before this returns. Messages of one sender to one agent are applied in order. A handler
        that raises is rolled back and tried again with back-off, those behind it wait; after
        ten failures the message becomes a dead letter (see ``dead_letters``).

        Arguments travel as JSON, by the method's annotations. Raises ``UnserializableError``,
        the errors of a wrong call, ``ConfigurationError`` if the receiver, or the agent that
        sends, is not saved after each turn (``durability``), and outside of turns
        ``StorageError`` (if it is a ``StorageUnavailableError``, the message may be stored) and
        ``BlockingCallError`` on an event loop's thread: use ``await ref.asend(…)`` there.
        """
        payload = self._letter(method, args, kwargs)
        if current_turn() is not None:
            return self._put(payload)
        if on_event_loop():
            detail = "this thread runs an event loop; use await ref.asend(…)"
            raise BlockingCallError(self.address, detail)
        return self._manager.mail.post(self.address, payload, self._message_id)

    async def asend(
        self, method: Callable[Concatenate[A, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> str:
        """``send`` for async code."""
        payload = self._letter(method, args, kwargs)
        if current_turn() is not None:
            return self._put(payload)
        post = self._manager.mail.post
        return await asyncio.to_thread(post, self.address, payload, self._message_id)

    def _put(self, payload: dict[str, Any]) -> str:
        turn = current_turn()
        if turn is not None and turn.activation.manager is not self._manager:
            msg = f"{self.address} lives in another runtime than the agent that sends"
            raise ConfigurationError(msg)
        return outbox.put(f"{AGENT_SCHEME}:{self.address}", payload)

    def _letter(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        command = self.registration.spec.find(method)
        if self.registration.options.durability != "turn":
            durability = self.registration.options.durability
            msg = f"{self.address} has durability={durability!r}: it cannot mark what it applied"
            raise ConfigurationError(msg)
        args, kwargs = command.bind(self.address, args, kwargs)
        letter = {"method": command.name, **command.json.dump(self.address, args, kwargs)}
        return letter if self._initial is None else {**letter, "initial": dict(self._initial)}

    # -- what waits, and what was given up ----------------------------------------------------

    def dead_letters(self) -> list[DeadMessage]:
        """Return the durable messages, and the one-shot schedules, that this agent gave up.

        They are kept by the agent that sent them; by the receiver if they came from outside of
        any agent. Oldest first, as they are stored; wakes nobody. Reads the storage.
        """
        return dead_letters_of(self._manager.storage, self.address)

    def replay_dead_letters(self, *ids: str) -> int:
        """Send dead letters again, all or those of ``ids``, as new messages; return how many.

        Like ``purge_dead_letters`` and ``cancel_schedule`` a turn of the agent, which waits and
        raises like ``ask``.
        """
        return int(self._keep_books(partial(replay, ids=ids)) or 0)

    def purge_dead_letters(self, *ids: str) -> int:
        """Forget dead letters, all or those of ``ids``; return how many."""
        return int(self._keep_books(partial(purge, ids=ids)) or 0)

    def schedules(self) -> list[Schedule]:
        """Return what the agent has planned, the next one first, as it is stored.

        Wakes nobody. Reads the storage.
        """
        return stored_schedules(self._manager.storage, self.address)

    def cancel_schedule(self, id: str) -> bool:  # noqa: A002 - the schedule's own
        """Cancel a schedule of the agent; False if there is none of this id."""
        return bool(self._keep_books(partial(drop_schedule, schedule_id=id)))

    def resume(self) -> bool:
        """End the pause of an agent that failed too often; False if it is not paused."""
        return bool(self._keep_books(lift))

    def _keep_books(self, work: Callable[[TransactionalActor], Any]) -> Any:
        if on_event_loop():
            detail = "this thread runs an event loop; use await asyncio.to_thread(…)"
            raise BlockingCallError(self.address, detail)
        call = bookkeeping(self._manager, self.address, work)
        call.deadline = self.deadline()
        reply = call.reply_to
        assert reply is not None
        self._launch(call, reply, current_turn(), blocking=True, inline=False)
        return reply.get()

    def proxy(self) -> AgentProxy:
        """Return a pykka-like proxy: methods return a ``Reply``, ``.defer(…)`` tells."""
        return AgentProxy(self)

    # -- life cycle ---------------------------------------------------------------------------

    def hibernate(self) -> None:
        """Save the agent and drop it from memory, after the messages that wait now.

        Nothing happens if it is asleep. Waits like ``ask``, and raises if it can't be saved:
        then it stays in memory.
        """
        if self.address in self._manager.table:
            self._control(Control.HIBERNATE, HibernationReason.REQUESTED, blocking=True).get()

    async def ahibernate(self) -> None:
        """``hibernate`` for async code."""
        if self.address in self._manager.table:
            await self._control(Control.HIBERNATE, HibernationReason.REQUESTED)

    def delete(self) -> None:
        """Remove the agent's checkpoint and thread at once, after the messages that wait now.

        Messages behind it meet a fresh agent. No error if there is nothing to remove.
        """
        self._control(Control.DELETE, blocking=True).get()

    async def adelete(self) -> None:
        """``delete`` for async code."""
        await self._control(Control.DELETE)

    def touch(self) -> None:
        """Start the agent's idle clock anew. Nothing happens if it is asleep."""
        self._manager.touch(self.address)

    @contextmanager
    def attached(self) -> Generator[AgentRef[A]]:
        """Keep the agent awake, once it is, while the block runs. Counted: blocks may nest."""
        self._manager.attach(self.address)
        try:
            yield self
        finally:
            self._manager.detach(self.address)

    def status(self) -> AgentStatus:
        """Return what is known of the agent. Wakes nobody and resets no clock."""
        return status_of(self._manager, self.address)
