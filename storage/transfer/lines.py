"""The export format: JSON Lines in UTF-8, for people and other programs to read.

::

    {"format":"torpor export","version":1}
    {"space":"checkpoints","key":…,"rev":…,"updated_at":…,"wake_at":…,"kind":…,"version":…,
     "thread":{"id":…,"rev":…,"start":…,"last":…,"created_at":…,"updated_at":…,"metadata":{…}},
     "data":"…"}
    {"entries":[{"seq":…,"id":…,"kind":…,"at":…,"payload":…,"refs":{…}},…]}
    {"space":"threads","key":…,"rev":…,"updated_at":…,"wake_at":…,"thread":{…}}
    {"entries":[…]}
    {"end":{"checkpoints":…,"threads":…,"entries":…,"digest":"…"}}

Each document stands on one line and has one more member, its last: ``"sha256"``, in lower-case
hexadecimal, of the line as it would be without that member. ``data`` is the JSON text of an
agent's state, byte for byte. ``thread`` is null where there is none. The entries of a thread,
from its ``start`` to its ``rev``, follow its record at once, up to 500 to a line. Checkpoints
come first, then standalone threads, each in the order of the storage's listings.

``digest`` is the sum, modulo 2**256, of the hashes of all lines between the first and the last,
in hexadecimal: two stores with the same content have the same digest, whatever their order.
Tombstones are not exported, nor the ids of changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from torpor.storage import codec
from torpor.storage.errors import CorruptExportError, SchemaVersionError
from torpor.storage.records import Entry, Record, Space, ThreadHead

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Line",
    "Totals",
    "decode_line",
    "encode_end",
    "encode_entries",
    "encode_header",
    "encode_record",
    "require_header",
    "seal",
]

_FORMAT = "torpor export"
_VERSION = 1
_SEAL = b',"sha256":"'
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What an export holds, or has held so far."""

    checkpoints: int = 0
    threads: int = 0
    entries: int = 0
    digest: int = 0

    @property
    def digest_text(self) -> str:
        """The digest in hexadecimal, 64 digits."""
        return f"{self.digest:064x}"

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            checkpoints=self.checkpoints + other.checkpoints,
            threads=self.threads + other.threads,
            entries=self.entries + other.entries,
            digest=(self.digest + other.digest) % 2**256,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it holds, and what it adds to the totals."""

    content: Record | tuple[Entry, ...] | Totals
    adds: Totals


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


# What every storage can hold. Of a time an integer stays one.
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Time = Annotated[int, Field(ge=-(2**1000), le=2**1000)] | float


class _Head(_Strict):
    id: str
    rev: _Count
    start: _Count
    last: str | None
    created_at: _Time
    updated_at: _Time
    metadata: dict[str, Any]


class _Thread(_Strict):
    space: Literal["threads"]
    key: str
    rev: _Count
    updated_at: _Time
    wake_at: _Time | None
    thread: _Head


class _Checkpoint(_Strict):
    space: Literal["checkpoints"]
    key: str
    rev: Annotated[_Count, Field(ge=1)]
    updated_at: _Time
    wake_at: _Time | None
    kind: str
    version: _Whole
    thread: _Head | None
    data: str


class _Entry(_Strict):
    seq: _Count
    id: str
    kind: str
    at: _Time
    payload: Any
    refs: dict[str, Any]


class _Entries(_Strict):
    entries: list[_Entry] = Field(min_length=1)


class _Counts(_Strict):
    checkpoints: _Count
    threads: _Count
    entries: _Count
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class _End(_Strict):
    end: _Counts


def encode_header() -> bytes:
    """Return the first line."""
    return seal({"format": _FORMAT, "version": _VERSION})[0]


def encode_record(record: Record, space: Space) -> tuple[bytes, Totals]:
    """Return the line of a record, without the entries of its thread."""
    head = record.thread
    document: dict[str, Any] = {
        "space": space.value,
        "key": record.key,
        "rev": record.rev,
        # Some storages keep whole numbers as such: what is equal is to be written equal.
        "updated_at": float(record.updated_at),
        "wake_at": None if record.wake_at is None else float(record.wake_at) + 0.0,
    }
    if space is Space.CHECKPOINTS:
        document |= {"kind": record.kind, "version": record.version}
    document["thread"] = None
    if head is not None:
        document["thread"] = {
            "id": head.id,
            "rev": head.rev,
            "start": head.start,
            "last": head.last,
            "created_at": head.created_at,
            "updated_at": head.updated_at,
            "metadata": head.metadata,
        }
    if space is Space.CHECKPOINTS:
        document["data"] = record.data
    line, digest = seal(document)
    return line, _record_adds(space, digest)


def encode_entries(entries: Sequence[Entry]) -> tuple[bytes, Totals]:
    """Return the line of some entries of the thread whose record came last."""
    documents = [
        {
            "seq": entry.seq,
            "id": entry.id,
            "kind": entry.kind,
            "at": entry.at,
            "payload": entry.payload,
            "refs": entry.refs,
        }
        for entry in entries
    ]
    line, digest = seal({"entries": documents})
    return line, Totals(entries=len(entries), digest=digest)


def encode_end(totals: Totals) -> bytes:
    """Return the last line."""
    counts = {
        "checkpoints": totals.checkpoints,
        "threads": totals.threads,
        "entries": totals.entries,
        "digest": totals.digest_text,
    }
    return seal({"end": counts})[0]


def require_header(line: bytes) -> None:
    """Raise ``CorruptExportError`` unless an export begins like this.

    ``SchemaVersionError`` if a newer Torpor wrote it.
    """
    document, _ = _unseal(line, 1)
    if document.get("format") != _FORMAT or type(document.get("version")) is not int:
        _refuse(1, "this is no export of torpor's")
    found = document["version"]
    if found > _VERSION:
        raise SchemaVersionError(_FORMAT, found=found, supported=_VERSION)


def decode_line(line: bytes, number: int) -> Line:
    """Return what a line holds; ``CorruptExportError``, with its number, unless it is sound."""
    document, digest = _unseal(line, number)
    try:
        if "entries" in document:
            entries = tuple(Entry(**vars(each)) for each in _Entries(**document).entries)
            return Line(entries, Totals(entries=len(entries), digest=digest))
        if "end" in document:
            counts = vars(_End(**document).end)
            return Line(Totals(**counts | {"digest": int(counts["digest"], 16)}), Totals())
        return _decode_record(document, digest)
    except codec.UNDECODABLE as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        place = ".".join(map(str, first["loc"])) if first else ""
        detail = f"{place}: {first['msg']}" if first else str(error)
        raise CorruptExportError(number, detail) from error


def _decode_record(document: dict[str, Any], digest: int) -> Line:
    if document.get("space") == Space.THREADS.value:
        space = Space.THREADS
        found: _Thread | _Checkpoint = _Thread(**document)
    else:
        space = Space.CHECKPOINTS
        found = _Checkpoint(**document)
    fields: dict[str, Any] = {**vars(found)}
    del fields["space"], fields["thread"]
    thread = None if found.thread is None else ThreadHead(**vars(found.thread))
    return Line(Record(**fields, change_id="", thread=thread), _record_adds(space, digest))


def _record_adds(space: Space, digest: int) -> Totals:
    counts = {space.value: 1}
    return replace(Totals(**counts), digest=digest)


def seal(document: dict[str, Any]) -> tuple[bytes, int]:
    """Return ``document`` as a line with its checksum, and that as a number."""
    body = _encode(document).encode()
    digest = hashlib.sha256(body).digest()
    return body[:-1] + _SEAL + digest.hex().encode() + b'"}\n', int.from_bytes(digest, "big")


def _unseal(line: bytes, number: int) -> tuple[dict[str, Any], int]:
    body, seal, given = line.rstrip(b"\r\n").rpartition(_SEAL)
    digest = hashlib.sha256(body + b"}").digest()
    if not seal or given != digest.hex().encode() + b'"}':
        _refuse(number, "it was changed or cut off: its checksum does not fit")
    try:
        document: Any = codec.loads((body + b"}").decode())
    except codec.UNDECODABLE as error:
        raise CorruptExportError(number, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        _refuse(number, "not a JSON object")
    return document, int.from_bytes(digest, "big")  # pyright: ignore[reportUnknownVariableType] - of JSON


def _refuse(number: int, detail: str) -> NoReturn:
    raise CorruptExportError(number, detail)
