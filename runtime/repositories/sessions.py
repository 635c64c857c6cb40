"""Sessions and their messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torpor.repositories.models import Message, Session
from torpor.repositories.repository import Repository
from torpor.storage import Change, Conflict, Entry, Put, Rejected, ThreadWrite, codec
from torpor.storage.errors import ConflictError, CorruptRecordError, NotFoundError
from torpor.storage.records import new_id
from torpor.storage.retry import MAX_RETRY_SECONDS, backoff, retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torpor.storage import Checkpoint

__all__ = ["Sessions"]


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """A session's messages from now on, in place of all that it has."""

    messages: Sequence[Message]


class Sessions(Repository[Session]):
    """Sessions by id, image and container, and the messages of each.

    Messages are entries of the session record's own thread: adding one costs the same however
    many there are, those of several writers are all kept, and they go with their session.
    """

    kind: ClassVar[str] = "session"
    id_field: ClassVar[str] = "session_id"
    indexed: ClassVar[tuple[str, ...]] = ("image_id", "container_id")
    model = Session

    def find_by_image(self, image_id: str) -> list[Session]:
        """Return the sessions of an image, newest first."""
        return self._find_by("image_id", image_id)

    def find_by_container(self, container_id: str) -> list[Session]:
        """Return the sessions of a container, newest first."""
        return self._find_by("container_id", container_id)

    # -- messages -----------------------------------------------------------------------------

    def add_message(
        self,
        session_id: str,
        role: str,
        content: Any = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> Message:
        """Append a message and return it. Raises ``NotFoundError``, ``UnserializableError``."""
        codec.dumps([role, content, metadata, message_id], "the message")
        message = Message(
            message_id=message_id or f"msg_{new_id()}",
            role=role,
            content=content,
            metadata=dict(metadata or {}),
            at=self._clock.time(),
        )
        self._change_messages(session_id, lambda _: message)
        return message

    def messages(self, session_id: str, *, tail: int | None = None) -> list[Message]:
        """Return the messages in order, with ``tail`` the last n; [] if there is no session."""
        while True:
            stored = self._stored(session_id)
            if stored is None:
                return []
            try:
                return self._messages(stored, tail)
            except CorruptRecordError:
                now = self._stored(session_id)
                if now is not None and now.rev == stored.rev:
                    raise  # else no damage: they were replaced between the two readings

    def truncate_after(self, session_id: str, message_id: str) -> None:
        """Remove all messages behind one, in one step: a crash leaves all or the kept ones.

        The kept messages are written anew. Raises ``NotFoundError`` for an unknown message.
        """

        def truncated(stored: Checkpoint) -> _Rewrite:
            messages = self._messages(stored, None)
            for i, message in enumerate(messages):
                if message.message_id == message_id:
                    return _Rewrite(messages[: i + 1])
            name = "Message"
            raise NotFoundError(name, message_id)

        self._change_messages(session_id, truncated)

    def clear_messages(self, session_id: str) -> None:
        """Remove all messages of a session. Raises ``NotFoundError`` if there is no session."""
        self._change_messages(session_id, lambda _: _Rewrite(()))

    def copy_messages(self, source: str, target: str, *, through: str | None = None) -> None:
        """Give a session the messages of another one, up to ``through``, in place of its own."""
        messages = self.messages(source)
        if through is not None:
            ids = [message.message_id for message in messages]
            if through not in ids:
                name = "Message"
                raise NotFoundError(name, through)
            messages = messages[: ids.index(through) + 1]
        self._change_messages(target, lambda _: _Rewrite(messages))

    def _messages(self, stored: Checkpoint, tail: int | None) -> list[Message]:
        head = stored.thread
        if head is None:
            return []
        limit = head.rev if tail is None else tail
        entries = retrying()(
            self._storage.read_entries, head.id, head.start, head.rev, limit=limit, newest=True
        )
        return [_message(head.id, entry) for entry in entries]

    def _change_messages(
        self, session_id: str, decide: Callable[[Checkpoint], Message | _Rewrite]
    ) -> None:
        """Append the message that ``decide`` returns, or replace all of them."""
        deadline = time.monotonic() + MAX_RETRY_SECONDS
        attempt = 0
        while True:
            stored = self._stored(session_id)
            if stored is None:
                raise self._missing(session_id)
            change = self._message_change(stored, decide(stored))
            commit = retrying()
            [outcome] = commit(self._storage.commit, [change])
            if isinstance(outcome, Rejected):
                raise outcome.error
            if not isinstance(outcome, Conflict):
                return
            attempt += 1
            resent = commit.statistics["attempt_number"] > 1
            if resent and self._was_applied(session_id, stored, change):
                return
            if time.monotonic() > deadline:
                raise ConflictError(change.key, expected=stored.rev, found=outcome.found)
            time.sleep(backoff(attempt))

    def _message_change(self, stored: Checkpoint, wanted: Message | _Rewrite) -> Change:
        now = self._clock.time()
        session = self._decode(stored).model_copy(update={"updated_at": now})
        head = stored.thread
        if isinstance(wanted, Message) and head is not None:
            thread_id = head.id
        else:
            thread_id = f"{stored.key}#{new_id()}"
        messages = [wanted] if isinstance(wanted, Message) else wanted.messages
        return Change(
            key=stored.key,
            expected_rev=stored.rev,
            put=Put(data=session.model_dump_json(), kind=stored.kind, version=stored.version),
            thread=ThreadWrite(id=thread_id, entries=tuple(map(_entry, messages))),
            at=now,
        )

    def _was_applied(self, session_id: str, stored: Checkpoint, change: Change) -> bool:
        """Whether a change that was sent twice, and conflicted, is what it conflicted with."""
        now = self._stored(session_id)
        assert change.thread is not None
        if now is None or now.thread is None or now.thread.id != change.thread.id:
            return False
        if stored.thread is None or stored.thread.id != change.thread.id:
            return True  # nobody else makes a thread of that id
        first = stored.thread.rev
        entries = self._storage.read_entries(now.thread.id, first, now.thread.rev, limit=1)
        return bool(entries) and entries[0].id == change.thread.entries[0].id


def _entry(message: Message) -> Entry:
    payload = {"content": message.content, "metadata": message.metadata}
    return Entry(kind=message.role, payload=payload, at=message.at, id=message.message_id)


def _message(thread_id: str, entry: Entry) -> Message:
    try:
        return Message(message_id=entry.id, role=entry.kind, at=entry.at, **entry.payload)
    except (TypeError, ValueError) as error:
        raise CorruptRecordError(thread_id, f"entry {entry.seq} is no message: {error}") from error
