"""Durable messages from outside of any agent, in a journal beside the receiver.

``send`` appends to the standalone thread ``$mail/<address>``, whose head is due at once; that is
all that the sender waits for. The receiver keeps in its own record how far it has applied it,
in the commit of the turn that applied it, so each message is applied once, in order; applied
entries are trimmed afterwards.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from torpor.address import side_key
from torpor.bookkeeping import refused
from torpor.calls import Call, Reply
from torpor.errands import logged
from torpor.events import MessageDelivered
from torpor.origin import Mailed
from torpor.outbox import LEASE, LONGEST_RETRY, TRANSIENT, retry_in
from torpor.storage import Change, Entry, Rejected, Saved, Space, ThreadWrite
from torpor.storage.errors import InvalidArgumentsError, UnknownMethodError
from torpor.storage.records import new_id
from torpor.system import MailPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.manager import InstanceManager
    from torpor.storage import Storage, Thread, ThreadHead
    from torpor.thawing import ThawingActor

__all__ = ["Fetched", "Mail", "is_mail", "receiver_of"]

logger = logging.getLogger("torpor")

PLACE = "mail"
_PREFIX = side_key(PLACE, "")
_AT_ONCE = 64


def is_mail(key: str) -> bool:
    """Return whether a thread of this id holds an agent's mail."""
    return key.startswith(_PREFIX)


def receiver_of(storage: Storage, thread_id: str) -> str | None:
    """Return the address of the agent whose mail ``thread_id`` holds, None if that is gone."""
    address = thread_id.removeprefix(_PREFIX)
    if not address.startswith("#"):
        return address
    head = storage.thread_head(thread_id)
    agent = None if head is None else head.metadata.get("agent")
    return agent if isinstance(agent, str) else None


def _letter(entry: Entry) -> dict[str, Any]:
    """Return what an entry says; of one that is no letter, what no agent has a method for."""
    letter: Any = entry.payload
    if isinstance(letter, dict):
        written = cast("dict[str, Any]", letter)
        if isinstance(written.get("method"), str):
            return written
    return {"method": f"{letter!r:.80}"}


def _put_off(actor: ThawingActor) -> float | None:
    """Return when an agent's next message is to be tried, None if that is now."""
    if actor.system is None:
        return None
    now, found = actor.manager.clock.time(), actor.system.finished
    if found.pause is not None and found.pause.holds(now):
        return found.pause.until or now + LONGEST_RETRY
    retry_at = found.mail.retry_at
    return retry_at if retry_at is not None and retry_at > now else None


def _place(actor: ThawingActor) -> MailPlace:
    """Return where an agent's mail stands after its last turn."""
    return actor.system.finished.mail if actor.system is not None else MailPlace()


def _saved(actor: ThawingActor) -> MailPlace:
    """Return where an agent's mail stands in its record, as far as that is known here."""
    system = actor.system
    if system is None:
        return MailPlace()
    never = actor.registration.options.durability == "none"  # then memory is all there is
    return (system.finished if never else system.durable).mail


class Fetched:
    """An agent's next messages behind ``cursor``: ``done`` once they are read, or can't be.

    ``entries`` is None if nothing is to be done about them now.
    """

    __slots__ = ("cursor", "done", "entries")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.done = False
        self.entries: Sequence[Entry] | None = None


class Mail:
    """Takes messages from outside, and brings them to live agents. Thread-safe."""

    def __init__(self, manager: InstanceManager) -> None:
        self._manager = manager

    def post(self, address: str, letter: dict[str, Any], message_id: str | None) -> str:
        """Store a message for an agent, and have the agent woken; return the message's id."""
        manager, thread_id = self._manager, side_key(PLACE, address)
        now = manager.clock.time()
        entry = Entry(
            kind="message",
            payload=letter,
            refs={"given": True} if message_id else {},
            at=now,
            id=message_id or f"mail-{new_id()}",
        )
        manager.storage.append_thread(thread_id, entry, metadata={"agent": address}, wake_at=now)
        manager.waker.saved(thread_id, now)
        return entry.id

    def fetch(self, actor: ThawingActor, then: Callable[[], None]) -> Fetched:
        """Have an agent's next messages read; ``then`` is called when that is done."""
        storage, address = self._manager.storage, actor.address
        fetched = Fetched(_place(actor).cursor)
        put_off = _put_off(actor)
        if put_off is not None:
            self._tidy_later(address, _saved(actor).cursor, put_off)
            fetched.done = True
            return fetched

        def read(thread: Thread | None, error: BaseException | None) -> None:
            if error is not None:
                logger.warning("%s: its mail will be read later: %s", address, error)
            else:
                fetched.entries = thread.entries if thread is not None else ()
            fetched.done = True
            then()

        thread_id, after = side_key(PLACE, address), fetched.cursor - 1
        self._manager.errands.run(
            lambda: storage.load_thread(thread_id, after=after, limit=_AT_ONCE), read
        )
        return fetched

    def turns(self, actor: ThawingActor, fetched: Fetched) -> list[Call]:
        """Return the turns that apply an agent's next messages, in order."""
        if fetched.entries is None:
            return []
        if not fetched.entries:
            saved = _saved(actor).cursor  # it is behind while a lazily saved agent is dirty
            unsaved = saved < _place(actor).cursor
            now = self._manager.clock.time()
            self._tidy_later(actor.address, saved, now + LEASE if unsaved else None)
            return []
        origins: list[Mailed] = []
        # Another copy may be here than the one they were read for, which had applied more.
        after = fetched.cursor - 1
        for entry in fetched.entries:
            origins.append(Mailed(entry, after))
            after = entry.seq
        turns = [self._turn(actor, origin) for origin in origins]
        last = turns[-1].reply_to
        assert last is not None
        last.on_settled(lambda: self._tidy_after(actor, origins[-1].entry.seq, last))
        return turns

    def _turn(self, actor: ThawingActor, origin: Mailed) -> Call:
        manager, letter = self._manager, _letter(origin.entry)
        reply = Reply[object].of(manager)
        try:
            command = actor.registration.spec.find_name(letter["method"])
            args, kwargs = command.json.load(actor.address, letter)
        except (UnknownMethodError, InvalidArgumentsError) as error:
            command, args, kwargs = refused(letter["method"], error)
        call = Call(actor.address, command, args, kwargs, reply_to=reply, origin=origin)

        def settled() -> None:
            if reply.error is None and origin.applied:
                event = MessageDelivered(actor.address, None, origin.entry.id)
                manager.tell_event(event)

        reply.on_settled(settled)
        return call

    # -- afterwards ---------------------------------------------------------------------------

    def _tidy_after(self, actor: ThawingActor, newest: int, last: Reply[Any]) -> None:
        """Trim what was applied and saved, after the turn of the ``newest`` one of some."""
        place, now = _saved(actor), self._manager.clock.time()
        retry_at = place.retry_at
        if place.cursor <= newest and (retry_at is None or retry_at <= now):
            # Nothing that is durable puts the next one off, and at once it would go no better.
            transient = last.error is None or isinstance(last.error, TRANSIENT)
            retry_at = now + (retry_in(1) if transient else LEASE)
        self._tidy_later(actor.address, place.cursor, retry_at)

    def _tidy_later(self, address: str, cursor: int, retry_at: float | None) -> None:
        self._manager.errands.run(
            lambda: self._tidy(address, cursor, retry_at),
            logged("%s: its mail will be trimmed later: %s", address),
        )

    def _tidy(self, address: str, cursor: int, retry_at: float | None) -> None:
        """Remove applied messages, and say when the next one is due, unless one has come."""
        storage, thread_id = self._manager.storage, side_key(PLACE, address)
        head = storage.thread_head(thread_id)
        if head is not None and not self._trim(head, cursor, retry_at):
            # One has come meanwhile, and is due already.
            self._manager.waker.saved(thread_id, self._manager.clock.time())

    def _trim(self, head: ThreadHead, cursor: int, retry_at: float | None) -> bool:
        """Trim mail, and say when the next message is due; False if one more has come."""
        now = self._manager.clock.time()
        wake_at = None if cursor >= head.rev else retry_at or now
        change = Change(
            key=head.id,
            space=Space.THREADS,
            expected_rev=head.rev,
            thread=ThreadWrite(id=head.id, trim_before=cursor),
            wake_at=wake_at,
            at=now,
        )
        [outcome] = self._manager.storage.commit([change])
        if isinstance(outcome, Rejected):
            raise outcome.error
        if isinstance(outcome, Saved):
            self._manager.waker.saved(head.id, wake_at)
        return isinstance(outcome, Saved)

    def settle(self, actor: ThawingActor) -> None:
        """Trim what an agent has applied, before it is deleted: the record that says so goes.

        Raises ``StorageError`` if that can't be done now, or what ``WorkerPool.blocking`` raises.
        """
        place, storage = _saved(actor), self._manager.storage
        if not place.cursor:
            return
        with self._manager.pool.blocking(actor.address):
            while head := storage.thread_head(side_key(PLACE, actor.address)):
                if head.start >= place.cursor or self._trim(head, place.cursor, place.retry_at):
                    return
