"""The decoders of servers' replies, called by themselves: what they take apart may be anything."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, SCALARS, changed, junk, mutated, object_of, text_of
from tests.fuzz.kit import AGENT, THREAD, entries, quiet, seal
from torpor.storage import Entry, Record, Space, ThreadHead, codec, rows
from torpor.storage.backend import readable
from torpor.storage.errors import CorruptRecordError, DecryptionError
from torpor.storage.mongodb import documents as mongodb
from torpor.storage.redis import documents as redis
from torpor.storage.redis.layout import Layout
from torpor.storage.sqlite.rows import entry_of_text, record_of_json, record_of_text

HEAD = ThreadHead(id=THREAD, rev=3, last="e2", created_at=1.5, updated_at=2.5, metadata={"m": [1]})
RECORD = Record(
    key=AGENT,
    rev=4,
    change_id="c",
    updated_at=9.25,
    kind="counter",
    version=2,
    data='{"count":5}',
    thread=HEAD,
    wake_at=7.5,
)
ENTRY = entries()[1]
DOCUMENT = codec.encode_record(RECORD)
ROW = rows.row_of_record(RECORD)
BSON = {
    **dict(zip(("_id", "rev", "change_id", "deleted", "kind", "version"), ROW, strict=False)),
    "wake_at": 7.5,
    "updated_at": 9.25,
    "thread": ROW[8],
    "checksum": ROW[9],
    "data": ROW[10],
    "deleted": False,
    "etag": "e",
    "incarnation": "i",
}


def require_record(record: Record) -> None:
    """See that a record that was taken for sound can be worked with."""
    found = readable(record, Space.CHECKPOINTS)
    if not isinstance(found, Record):
        assert isinstance(found, CorruptRecordError | DecryptionError)
        return
    assert isinstance(found.key, str)
    assert isinstance(found.kind, str)
    assert type(found.rev) is int
    assert found.updated_at + (found.wake_at or 0.0) < 1e400
    assert isinstance(found.data, str) or found.deleted
    if found.thread is not None:
        require_head(found.thread)


def require_head(head: ThreadHead) -> None:
    """The same with a head."""
    assert head == codec.decode_head(codec.encode_head(head), "again")
    assert head.rev + head.start < 2**64
    assert head.created_at + head.updated_at < 1e400
    assert isinstance(head.metadata.get("m", 0), object)


def require_entry(entry: Entry) -> None:
    """The same with an entry."""
    assert isinstance(entry.id + entry.kind, str)
    assert entry.at < 1e400
    assert isinstance(entry.refs.get("to", 0), object)


def resealed(document: Any) -> Any:
    """Return a record's document with a checksum that fits, if it can have one."""
    with suppress(*codec.UNDECODABLE):
        head = document["thread"]
        wake_at = document["wake_at"]
        return {
            **document,
            "checksum": seal(
                *(document["key"], str(document["rev"]), document["change_id"]),
                *("1" if document["deleted"] else "0", document["kind"]),
                *(str(document["version"]), repr(None if wake_at is None else float(wake_at))),
                "" if head is None else json.dumps(head, ensure_ascii=False, separators=(",", ":")),
                document["data"] or "",
            ),
        }
    return document


@given(document=changed(DOCUMENT).map(resealed) | ANYTHING)
def test_record_document(document: Any) -> None:
    """A record's JSON, sealed by whoever changed it: a record or corrupt (rule 10)."""
    with suppress(CorruptRecordError):
        require_record(codec.decode_record(document, AGENT))
    quiet()


@given(text=(changed(json.loads(codec.encode_head(HEAD) or "")) | ANYTHING).map(text_of))
def test_head(text: str) -> None:
    """A head's JSON: a head or corrupt (rule 10)."""
    with suppress(CorruptRecordError):
        head = codec.decode_head(text, "log")
        assert head is not None
        require_head(head)


@given(text=(changed(json.loads(codec.encode_entry(ENTRY))) | ANYTHING).map(text_of))
def test_entry(text: str) -> None:
    """An entry's JSON: an entry or corrupt (rule 10)."""
    with suppress(CorruptRecordError):
        require_entry(codec.decode_entry(text, 3, "log"))


@st.composite
def changed_rows(draw: st.DrawFn) -> list[Any]:
    """Return a row of a record with one column changed, and half of the time a new checksum."""
    row: list[Any] = list(ROW)
    column = draw(st.integers(0, len(row) - 1))
    row[column] = draw(SCALARS | st.binary(max_size=5) | ANYTHING.map(text_of))
    with suppress(*codec.UNDECODABLE):
        if draw(st.booleans()):
            key, rev, change_id, deleted, kind, version, wake_at, _, head, _, data = row
            wake_at = None if wake_at is None else float(wake_at)
            parts = (key, str(rev), change_id, str(deleted), kind, str(version), repr(wake_at))
            row[9] = seal(*parts, head or "", data or "")
    return row


@given(row=changed_rows())
def test_row(row: list[Any]) -> None:
    """A row of any SQL database: a record or corrupt (rule 10)."""
    with suppress(CorruptRecordError):
        require_record(rows.record_of_row(row))
    columns = [part if isinstance(part, str | int | None) else "x" for part in row]
    with suppress(CorruptRecordError):
        require_record(record_of_json([*columns[:6], "7.5", "9.25", *columns[8:]]))


@given(data=st.data())
def test_joined_row(data: st.DataObject) -> None:
    """The text that SQLite makes of a row: a record or an entry, or corrupt (rule 10)."""
    joined = "\x1f".join(["0", *map(str, ROW[1:])]).encode()
    text = data.draw(mutated(joined) | junk).decode("utf-8", "surrogateescape")
    with suppress(CorruptRecordError):
        _, record = record_of_text(text, [AGENT])
        require_record(record)
    document = codec.encode_entry(ENTRY)
    checksum = codec.entry_checksum("log", 1, document)
    joined = "\x1f".join(["1", str(checksum), document]).encode()
    text = data.draw(mutated(joined) | junk).decode("utf-8", "surrogateescape")
    with suppress(CorruptRecordError):
        require_entry(entry_of_text("log", text))


@given(data=st.data())
def test_redis_values(data: st.DataObject) -> None:
    """What Redis answers for a record and for an item of a stream (rule 10)."""
    _, whole = redis.encode_record(RECORD)
    with suppress(CorruptRecordError):
        require_record(redis.decode_record(data.draw(mutated(whole) | junk), AGENT).record)
    header = object_of(data.draw(changed(DOCUMENT).map(resealed)))
    if header is not None:
        content = str(header.pop("data", None))
        value = f"{text_of(header)}\n{content}".encode("utf-8", "replace")
        with suppress(CorruptRecordError):
            require_record(redis.decode_record(value, AGENT).record)
    document = data.draw(mutated(codec.encode_entry(ENTRY).encode()) | junk)
    place = data.draw(st.just(b"1-1") | junk)
    checksum = data.draw(st.just(b"%d" % seal("log", "1", document)) | junk)
    names = data.draw(st.lists(st.sampled_from([b"checksum", b"document", b"x"]), min_size=2))
    whole_fields = {b"checksum": checksum, b"document": document, b"x": b""}
    fields = {name: whole_fields[name] for name in names}
    assert isinstance(redis.entry_id((place, fields)), str)
    with suppress(CorruptRecordError):
        require_entry(redis.decode_entry("log", (place, fields)))


@given(member=junk | mutated(b"checkpoint:counter/a") | mutated(b"thread:log"))
def test_redis_indexes(member: bytes) -> None:
    """A line of an index names a record, or nothing (W-39)."""
    place = Layout.place(member)
    assert place is None or place[1].encode() == member.partition(b":")[2]


@st.composite
def bson_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return a record's document of MongoDB with some fields changed, and sealed if that can be."""
    document: dict[str, Any] = dict(BSON)
    for name in draw(st.lists(st.sampled_from(sorted({*BSON} - {"_id"})), min_size=1, max_size=2)):
        if draw(st.booleans()):
            document[name] = draw(ANYTHING | ANYTHING.map(text_of) | st.binary(max_size=5))
        else:
            document.pop(name, None)
    with suppress(*codec.UNDECODABLE):
        wake_at = document.get("wake_at")
        document["checksum"] = seal(
            *(document["_id"], str(document["rev"]), document["change_id"]),
            *("1" if document["deleted"] else "0", document["kind"], str(document["version"])),
            repr(None if wake_at is None else float(wake_at)),
            *(document["thread"] or "", document["data"] or ""),
        )
    return document


@given(document=bson_documents(), data=st.data())
def test_mongodb_documents(document: dict[str, Any], data: st.DataObject) -> None:
    """What MongoDB finds for a record and for an entry (rule 10)."""
    found = mongodb.decode_record(document)
    if isinstance(found, mongodb.Stored):
        require_record(found.record)
        assert isinstance(found.etag, str)
    text = codec.encode_entry(ENTRY)
    whole = {"seq": Int64(1), "document": text, "checksum": Int64(seal("log", "1", text))}
    entry = object_of(data.draw(changed(whole)))
    if entry is not None:
        assert isinstance(mongodb.seq_of(entry), int)
        with suppress(CorruptRecordError):
            require_entry(mongodb.decode_entry(entry, "log", mongodb.seq_of(entry)))
