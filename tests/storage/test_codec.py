"""The JSON forms of records, heads and entries: what goes in comes out, all else is corrupt."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor.storage import Entry, Record, ThreadHead, codec
from torpor.storage.errors import CorruptRecordError, UnserializableError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MOMENTS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | MOMENTS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
HEADS = st.builds(
    ThreadHead,
    id=TEXT,
    rev=st.integers(0, 2**60),
    start=st.integers(0, 2**60),
    last=st.none() | TEXT,
    created_at=MOMENTS,
    updated_at=MOMENTS,
    metadata=OBJECTS,
)
ENTRIES = st.builds(
    Entry, kind=TEXT, payload=JSON, refs=OBJECTS, at=MOMENTS, id=TEXT, seq=st.integers(0, 2**60)
)
RECORDS = st.builds(
    Record,
    key=TEXT,
    rev=st.integers(0, 2**60),
    change_id=TEXT,
    updated_at=MOMENTS,
    deleted=st.booleans(),
    kind=TEXT,
    version=st.integers(0, 2**31),
    data=st.none() | JSON.map(codec.dumps),
    thread=st.none() | HEADS,
    wake_at=st.none() | MOMENTS,
).filter(lambda record: not record.deleted or (record.data is None and record.thread is None))

ENTRY = Entry(kind="note", payload={"n": [1, None]}, refs={"r": "x"}, at=1.5, id="e1", seq=4)
HEAD = ThreadHead(id="a#1", rev=5, start=2, last="e1", created_at=1.0, metadata={"m": "é"})
RECORD = Record(
    key="a",
    rev=7,
    change_id="c1",
    updated_at=2.5,
    kind="counter",
    version=3,
    data='{"n": 1}',
    thread=HEAD,
    wake_at=9.0,
)

# what a damaged store may hold in place of a document
ANY_JSON_TEXT = (
    TEXT
    | JSON.map(json.dumps)
    | st.dictionaries(
        st.sampled_from(["id", "kind", "at", "payload", "refs", "rev", "last", "metadata", "seq"]),
        JSON,
    ).map(json.dumps)
)
ANY_DOCUMENT = JSON | st.dictionaries(
    st.sampled_from([*codec.encode_record(RECORD), "unknown"]), JSON | OBJECTS
)


class TestRoundTrip:
    """Encoding and decoding are inverse."""

    @given(entry=ENTRIES)
    def test_entry(self, entry: Entry) -> None:
        """An entry comes back as it was, and the same text for it again (rule 10)."""
        text = codec.encode_entry(entry)

        decoded = codec.decode_entry(text, entry.seq, "log")

        assert decoded == entry
        assert codec.encode_entry(decoded) == text

    @given(head=HEADS)
    def test_head(self, head: ThreadHead) -> None:
        """A head comes back as it was, and the same text for it again (rule 10)."""
        text = codec.encode_head(head)

        decoded = codec.decode_head(text, "log")

        assert decoded == head
        assert codec.encode_head(decoded) == text

    def test_no_head(self) -> None:
        """No head has no text."""
        assert codec.encode_head(None) is None
        assert codec.decode_head(None, "log") is None

    @given(record=RECORDS)
    def test_record(self, record: Record) -> None:
        """A record comes back as it was from a document that JSON can carry (rule 10, W-39)."""
        document = json.loads(json.dumps(codec.encode_record(record)))

        assert codec.decode_record(document, record.key) == record

    @given(value=JSON)
    def test_plain_data(self, value: Any) -> None:
        """Plain data has a compact JSON text, equal when it is read (rule 10)."""
        text = codec.dumps(value)

        assert json.loads(text) == value
        assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class TestStoredForm:
    """The forms are fixed: other programs and older stores rely on them."""

    def test_entry(self) -> None:
        """An entry is an object without its place (rule 10, W-39)."""
        assert codec.encode_entry(ENTRY) == (
            '{"id":"e1","kind":"note","at":1.5,"payload":{"n":[1,null]},"refs":{"r":"x"}}'
        )

    def test_head(self) -> None:
        """A head is an object (rule 10, W-39)."""
        assert codec.encode_head(HEAD) == (
            '{"id":"a#1","rev":5,"start":2,"last":"e1","created_at":1.0,"updated_at":0.0,'
            '"metadata":{"m":"é"}}'
        )

    def test_record(self) -> None:
        """A record is an object with the version of its format and a checksum (rule 10, W-39)."""
        document = codec.encode_record(RECORD)

        assert document == {
            "format": 1,
            "key": "a",
            "rev": 7,
            "change_id": "c1",
            "updated_at": 2.5,
            "deleted": False,
            "kind": "counter",
            "version": 3,
            "data": '{"n": 1}',
            "thread": json.loads(codec.encode_head(HEAD) or ""),
            "wake_at": 9.0,
            "checksum": document["checksum"],
        }

    def test_checksum_is_that_of_zlib(self) -> None:
        """Any program with a CRC-32 can verify what is stored (rule 10, W-39)."""
        text = codec.encode_entry(ENTRY)

        assert codec.entry_checksum("a#1", 4, text) == zlib.crc32(f"a#1\n4\n{text}\n".encode())
        assert codec.checksum("a", "é") == zlib.crc32("a\né\n".encode())


class TestDamage:
    """Decoders raise ``CorruptRecordError`` for what they can't trust, and never anything else."""

    @given(text=ANY_JSON_TEXT | st.binary(max_size=40))
    def test_entry_of_anything(self, text: Any) -> None:
        """Whatever lies in place of an entry, it is an entry or corrupt (rule 10, CP-12)."""
        with suppress(CorruptRecordError):
            assert codec.decode_entry(text, 3, "log").seq == 3

    @given(text=ANY_JSON_TEXT | st.binary(max_size=40))
    def test_head_of_anything(self, text: Any) -> None:
        """Whatever lies in place of a head, it is a head or corrupt (rule 10, CP-12)."""
        with suppress(CorruptRecordError):
            assert isinstance(codec.decode_head(text, "log"), ThreadHead)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"x":1}', "\ud800", b"\xff"])
    def test_error_names_the_key(self, text: Any) -> None:
        """What is corrupt is told by its key or thread id (rule 10, CP-12)."""
        for decode in (
            lambda: codec.decode_entry(text, 3, "log"),
            lambda: codec.decode_head(text, "log"),
            lambda: codec.decode_record(text, "log"),
        ):
            with pytest.raises(CorruptRecordError) as caught:
                decode()
            assert caught.value.key == "log"

    @given(document=ANY_DOCUMENT)
    def test_record_of_anything(self, document: Any) -> None:
        """Whatever lies in place of a record, it is corrupt (rule 10, CP-12)."""
        with pytest.raises(CorruptRecordError):
            codec.decode_record(document, "a")

    @given(
        field=st.sampled_from(sorted(codec.encode_record(RECORD))),
        value=JSON | st.sampled_from(["7", "3", "9.0", 7.0, 1, 0, ""]),
    )
    def test_one_field_of_anything(self, field: str, value: Any) -> None:
        """A sound record with one field of another value is corrupt, or is not changed."""
        document = codec.encode_record(RECORD)

        try:
            decoded = codec.decode_record(document | {field: value}, "a")
        except CorruptRecordError:
            return

        assert replace(decoded, updated_at=0) == replace(RECORD, updated_at=0)

    @pytest.mark.parametrize("field", sorted(codec.encode_record(RECORD)))
    def test_missing_field(self, field: str) -> None:
        """A record that lacks any field is corrupt (rule 10, CP-12)."""
        document = codec.encode_record(RECORD)
        del document[field]

        with pytest.raises(CorruptRecordError):
            codec.decode_record(document, "a")

    @pytest.mark.parametrize("depth", [100_000], ids=["deeper than the interpreter can follow"])
    def test_endless_nesting(self, depth: int) -> None:
        """JSON that exhausts the stack is corrupt, not a crash (rule 10, CP-12)."""
        text = '{"payload":' + "[" * depth

        with pytest.raises(CorruptRecordError):
            codec.decode_entry(text, 0, "log")
        with pytest.raises(CorruptRecordError):
            codec.decode_head(text, "log")

    def test_record_of_another_key(self) -> None:
        """A document that was moved to another key's place is corrupt (rule 9, rule 10)."""
        with pytest.raises(CorruptRecordError, match="checksum"):
            codec.decode_record(codec.encode_record(RECORD), "b")

    def test_document_of_another_format(self) -> None:
        """A format that this version does not know is not guessed at (rule 10)."""
        with pytest.raises(CorruptRecordError, match="format"):
            codec.decode_record(codec.encode_record(RECORD) | {"format": 2}, "a")

    @given(flipped=st.integers(0, 10**6), other=st.characters(codec="utf-8"))
    def test_any_changed_letter_is_noticed(self, flipped: int, other: str) -> None:
        """No single changed letter of a sound entry passes its checksum (rule 10)."""
        text = codec.encode_entry(ENTRY)
        place = flipped % len(text)
        damaged = text[:place] + other + text[place + 1 :]

        unchanged = damaged == text
        assert (codec.entry_checksum("log", 4, damaged) == _checksum("log")) is unchanged

    def test_moved_entry_is_noticed(self) -> None:
        """The checksum of an entry is that of its place too (rule 10)."""
        text = codec.encode_entry(ENTRY)

        assert codec.entry_checksum("log", 5, text) != _checksum("log")
        assert codec.entry_checksum("gol", 4, text) != _checksum("log")


class TestWhatIsNotJson:
    """Values without a JSON form are refused, and told by name."""

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            {1},
            object,
            float("nan"),
            float("-inf"),
            {1: 2},
            {"a": [{None: 1}]},
            "\ud800",
            {"\udc00": 1},
            1j,
        ],
        ids=repr,
    )
    def test_value_is_refused(self, value: Any) -> None:
        """At any depth, as a TypeError that says what is wrong (CP-6)."""
        for nested in (value, [value], {"a": (value,)}):
            with pytest.raises(UnserializableError, match="the value of 'k' has no JSON form"):
                codec.dumps(nested, "the value of 'k'")

    def test_circle_is_refused(self) -> None:
        """A value that contains itself is refused, not followed for ever (CP-6)."""
        circle: list[Any] = []
        circle.append({"again": circle})

        with pytest.raises(UnserializableError):
            codec.dumps(circle)

    def test_deep_nesting_is_refused(self) -> None:
        """A value deeper than JSON can be written is refused, not a crash (CP-6)."""
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]

        with pytest.raises(UnserializableError):
            codec.dumps(deep)


def _checksum(thread_id: str) -> int:
    return codec.entry_checksum(thread_id, 4, codec.encode_entry(ENTRY))
