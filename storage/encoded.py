"""Any storage, with its documents compressed or encrypted by a codec."""

# ruff: noqa: SLF001 - the public operations of the wrapped storage would check a second time
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torpor.storage import codec as json_codec
from torpor.storage.base import Storage
from torpor.storage.encoding import is_encoded, is_encoded_value
from torpor.storage.errors import CorruptRecordError, StorageError, UnserializableError
from torpor.storage.records import Entry, Record, Rejected, Saved, Space

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torpor.storage.encoding import Codec
    from torpor.storage.inspection import Finding
    from torpor.storage.notifier import Notifier
    from torpor.storage.records import Change, Due, Outcome, Restoration, ThreadHead, ThreadWrite

__all__ = ["EncodedStorage"]

Written = TypeVar("Written", "ThreadWrite", "Restoration")


class EncodedStorage(Storage):
    """Encodes what is written to ``inner`` and decodes what is read from it.

    Encoded are a checkpoint's document, an entry's payload and refs, and a thread's metadata.
    Keys, kinds, versions, times and ids stay as they are: listings and filters use them.
    ``inner`` stays open when this one is closed, unless ``owned``. What an export writes is
    decoded; what an import reads is encoded anew.
    """

    name = "encoded"

    def __init__(self, inner: Storage, codec: Codec, *, owned: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.codec = codec
        self.durable = inner.durable
        self.timeout = inner.timeout
        self._owned = owned

    def notifier(self) -> Notifier | None:
        """As the wrapped storage's."""
        return self.inner.notifier()

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        encoded = [self._encode(change) for change in changes]
        refused = {
            change.id: error for change in encoded if (error := self.inner._too_large(change))
        }
        outcomes = iter(self.inner._commit([c for c in encoded if c.id not in refused]))
        return [
            Rejected(refused[change.id]) if change.id in refused else self._told(next(outcomes))
            for change in encoded
        ]

    def _encode(self, change: Change) -> Change:
        put, thread, restore = change.put, change.thread, change.restore
        if put is not None:
            put = replace(put, data=self.codec.encode(put.data, _record_place(change)))
        if thread is not None:
            thread = replace(
                self._encode_entries(thread, thread.id),
                metadata=self._encode_metadata(thread.metadata, thread.id),
            )
        if restore is not None:
            restore = self._encode_restoration(restore, change)
        return replace(change, put=put, thread=thread, restore=restore)

    def _encode_restoration(self, restoration: Restoration, change: Change) -> Restoration:
        record = restoration.record
        head = record.thread
        if record.data is not None:
            record = replace(record, data=self.codec.encode(record.data, _record_place(change)))
        if head is not None:
            restoration = self._encode_entries(restoration, head.id)
            metadata = self._encode_metadata(head.metadata, head.id)
            record = replace(record, thread=replace(head, metadata=metadata or {}))
        return replace(restoration, record=record)

    def _encode_entries(self, written: Written, thread_id: str) -> Written:
        entries = tuple(self._encode_entry(entry, thread_id) for entry in written.entries)
        return replace(written, entries=entries)

    def _encode_entry(self, entry: Entry, thread_id: str) -> Entry:
        if is_encoded_value(entry.payload):
            raise _reserved(thread_id)
        text = json_codec.dumps([entry.payload, entry.refs], f"entry {entry.id!r}")
        encoded = self.codec.encode(text, _entry_place(thread_id, entry))
        if encoded is text:
            return entry
        return replace(entry, payload=json.loads(encoded), refs={})

    def _encode_metadata(
        self, metadata: Mapping[str, Any] | None, thread_id: str
    ) -> Mapping[str, Any] | None:
        if not metadata:
            return metadata
        if is_encoded_value(metadata):
            raise _reserved(thread_id)
        text = json_codec.dumps(metadata, "metadata")
        encoded = self.codec.encode(text, _metadata_place(thread_id))
        return metadata if encoded is text else json.loads(encoded)

    def _told(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Saved) and outcome.thread is not None:
            return replace(outcome, thread=self._decode_head(outcome.thread, outcome.thread.id))
        return outcome

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        return [
            self._decoded(found, space) if isinstance(found, Record) else found
            for found in self.inner._read(space, keys)
        ]

    def _decoded(self, record: Record, space: Space) -> Record | StorageError:
        try:
            return self._decode(record, space)
        except StorageError as error:
            return error

    def _decode(self, record: Record, space: Space) -> Record:
        data, head = record.data, record.thread
        if data is not None:
            data = self.codec.decode(data, f"{space.value}\n{record.key}", record.key)
        if head is not None:
            head = self._decode_head(head, record.key)
        return replace(record, data=data, thread=head)

    def _decode_head(self, head: ThreadHead, key: str) -> ThreadHead:
        if not head.metadata:
            return head
        text = json_codec.dumps(head.metadata)
        decoded = _decoded(self.codec.decode(text, _metadata_place(head.id), key), key)
        if not isinstance(decoded, dict):
            raise CorruptRecordError(key, "its thread's metadata is no object")
        return replace(head, metadata=cast("dict[str, Any]", decoded))

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        return self.inner._read_entry_ids(places)

    def _read_entries(  # noqa: PLR0913 - see the base class
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        entries = self.inner._read_entries(
            thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
        )
        return [self._decode_entry(entry, thread_id) for entry in entries]

    def _decode_entry(self, entry: Entry, thread_id: str) -> Entry:
        encoded = is_encoded_value(entry.payload)
        if not encoded and self.codec.accept_plain:
            return entry
        text = json_codec.dumps(entry.payload) if encoded else "[]"
        if encoded and not is_encoded(text):  # the mark is not where a codec puts it
            raise CorruptRecordError(thread_id, f"entry {entry.seq} is not what a codec has made")
        match _decoded(
            self.codec.decode(text, _entry_place(thread_id, entry), thread_id), thread_id
        ):
            case [payload, refs] if isinstance(refs, dict):
                return replace(entry, payload=payload, refs=cast("dict[str, Any]", refs))
            case _:
                raise CorruptRecordError(thread_id, f"entry {entry.seq} holds something else")

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        # A listing promises no data, and one record that cannot be read must not end it.
        return [
            replace(
                record,
                data=None,
                thread=record.thread and self._listed_head(record.thread, record.key),
            )
            for record in self.inner._list(space, prefix, after, limit)
        ]

    def _listed_head(self, head: ThreadHead, key: str) -> ThreadHead:
        try:
            return self._decode_head(head, key)
        except StorageError:
            return head

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        return self.inner._list_due(before, limit)

    def _vacuum(self, before: float) -> int:
        return self.inner._vacuum(before)

    def _close(self) -> None:
        if self._owned:
            self.inner.close()

    # -- for the tools ------------------------------------------------------------------------

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        return self.inner._list_keys(space, after, limit, tombstones=tombstones)

    def _list_thread_ids(self, after: str | None, limit: int) -> Sequence[str] | None:
        return self.inner._list_thread_ids(after, limit)

    def _inspect(self) -> Iterator[Finding]:
        return self.inner._inspect()


def _decoded(text: str, key: str) -> Any:
    """Return the value of decoded JSON: that a codec could be undone does not prove it sound."""
    try:
        return json_codec.loads(text)
    except json_codec.UNDECODABLE as error:
        raise CorruptRecordError(key, f"undecodable document: {error}") from error


def _record_place(change: Change) -> str:
    return f"{change.space.value}\n{change.key}"


def _entry_place(thread_id: str, entry: Entry) -> str:
    return f"entry\n{thread_id}\n{entry.id}\n{entry.kind}"


def _metadata_place(thread_id: str) -> str:
    return f"metadata\n{thread_id}"


def _reserved(thread_id: str) -> UnserializableError:
    msg = f"{thread_id!r}: a document that begins with '$codec' is reserved for codecs"
    return UnserializableError(msg)
