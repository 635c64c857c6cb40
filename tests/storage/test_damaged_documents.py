"""What fuzzing found in the decoders of storages: each of it a defect once."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.kit import seal
from torpor.storage import (
    Change,
    Checkpoint,
    Entry,
    Put,
    Record,
    Rejected,
    Space,
    ThreadHead,
    codec,
)
from torpor.storage.check import check
from torpor.storage.compression import Zstd
from torpor.storage.encoded import EncodedStorage
from torpor.storage.encoding import Codec
from torpor.storage.errors import (
    ConfigurationError,
    CorruptExportError,
    CorruptRecordError,
    UnserializableError,
)
from torpor.storage.file import FileStorage
from torpor.storage.file.layout import hash_of
from torpor.storage.memory import MemoryStorage
from torpor.storage.redis.layout import Layout
from torpor.storage.testing.kit import append, owned, put
from torpor.storage.transfer import import_lines
from torpor.storage.transfer.lines import encode_header
from torpor.storage.transfer.lines import seal as seal_line

if TYPE_CHECKING:
    from pathlib import Path

HEAD = ThreadHead(id="a#1", rev=3, last="e", created_at=1.0, updated_at=2.0)
FAR = "1" + "0" * 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rev", '"3"'),
        ("rev", "true"),
        ("rev", "-1"),
        ("rev", str(2**63)),
        ("start", "null"),
        ("last", "7"),
        ("created_at", "NaN"),
        ("created_at", "1e999"),
        ("updated_at", FAR),
        ("metadata", "[]"),
        ("metadata", '{"half":"\\ud800"}'),
    ],
)
def test_head_of_other_types(name: str, value: str) -> None:
    """Nobody could calculate with it, or would compare it for ever (rule 10)."""
    text = codec.encode_head(HEAD)
    assert text is not None
    fields = {**{key: json.dumps(each) for key, each in json.loads(text).items()}, name: value}
    changed = "{" + ",".join(f'"{key}":{each}' for key, each in fields.items()) + "}"

    with pytest.raises(CorruptRecordError):
        codec.decode_head(changed, "a")


@pytest.mark.parametrize(
    "change", [{"at": "soon"}, {"at": None}, {"kind": 7}, {"id": 7}, {"refs": []}]
)
def test_entry_of_other_types(change: dict[str, Any]) -> None:
    """It is corrupt where it is stored, and refused where it is to be (rule 10, CP-6)."""
    entry = Entry(kind="note", at=1.0, id="e")
    text = json.dumps({**json.loads(codec.encode_entry(entry)), **change})

    with pytest.raises(CorruptRecordError):
        codec.decode_entry(text, 0, "log")
    with MemoryStorage() as storage:
        refused = append("log", "x")
        assert refused.thread is not None
        entries = (replace(entry, **change),)
        refused = replace(refused, thread=replace(refused.thread, entries=entries))
        [outcome] = storage.commit([refused])
        assert isinstance(outcome, Rejected)
        with pytest.raises(UnserializableError):
            storage.append_thread("log", {"payload": 1, **change})


@pytest.mark.parametrize("wake_at", [10**400, True, "7.5"])
def test_time_beyond_all_bounds(wake_at: Any) -> None:
    """An integer that is no float any more is corrupt, and no ``OverflowError`` (rule 10)."""
    with MemoryStorage() as storage:
        storage.put_checkpoint("a", 1, wake_at=7.5)
        [record] = storage.read(["a"])
    assert isinstance(record, Record)
    document = codec.encode_record(record)

    with pytest.raises(CorruptRecordError):
        codec.decode_record({**document, "wake_at": wake_at}, "a")


def test_data_that_is_no_json() -> None:
    """What a record holds may have been put as any text; its value is then no value (rule 10)."""
    record = Checkpoint(
        key="a", rev=1, kind="", version=1, data="{", thread=None, wake_at=None, updated_at=1.0
    )
    with pytest.raises(CorruptRecordError, match="'a'"):
        _ = record.value


class TestFiles:
    """Documents of a file store."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Return a folder with two agents."""
        with FileStorage(tmp_path / "store") as storage:
            storage.commit([owned(key, f"{key}#1", "entry", value=key) for key in "ab"])
        return tmp_path / "store"

    @pytest.mark.parametrize("owner", ["b", "", "\ud800", None, 7, "a#1"])
    def test_garbled_owner(self, root: Path, owner: Any) -> None:
        """A thread is not taken for abandoned: vacuum leaves its entries alone (rule 10)."""
        place = root / "threads" / hash_of("a#1") / "meta.json"
        place.write_text(json.dumps({**json.loads(place.read_bytes()), "owner": owner}), "utf-8")

        with FileStorage(root) as storage:
            storage.vacuum(-1e9)
            [entry] = storage.read_entries("a#1", 0, 1)
            assert entry.payload == "entry"
            assert ("record", "a#1") in [(each.problem, each.where) for each in check(storage)]

    def test_thread_in_the_place_of_a_record(self, root: Path) -> None:
        """What belongs to a thread is no missing record, in whose place one may be put (rule 8)."""
        place = root / "checkpoints" / f"{hash_of('a')}.json"
        document = {"format": 1, "key": "a", "owner": "a"}
        place.write_text(json.dumps(document), "utf-8")

        with FileStorage(root) as storage:
            with pytest.raises(CorruptRecordError):
                storage.get_checkpoint("a")
            [outcome] = storage.commit([put("a", "fresh", expected_rev=0)])
            assert isinstance(outcome, Rejected)
        assert json.loads(place.read_bytes()) == document

    def test_broken_newest_entry(self, root: Path) -> None:
        """It is told of its own agent; others that are read with it are not disturbed (rule 10)."""
        place = root / "threads" / hash_of("a#1") / "entries.jsonl"
        text = '{"id":7}'
        line = f'{{"seq":0,"checksum":{seal("a#1", "0", text)},"entry":{text}}}\n'
        place.write_text(line, "utf-8")

        with FileStorage(root) as storage:
            a, b = storage.read(["a", "b"])
        assert isinstance(a, Exception)
        assert not isinstance(b, Exception)

    def test_format_nested_without_end(self, root: Path) -> None:
        """A store file that exhausts the stack is no crash."""
        (root / "store.json").write_text("[" * 100_000)

        with pytest.raises(ConfigurationError):
            FileStorage(root)


def test_codec_steps_of_half_characters() -> None:
    """A document whose steps have no UTF-8 form is corrupt."""
    with pytest.raises(CorruptRecordError):
        Codec().decode('{"$codec":"zstd+\\ud800","data":""}', "place", "a")


@pytest.mark.parametrize("content", ["5", "[1]", '{"a":1,"b":2}', "[1,2]", "x"])
def test_forged_compressed_entry(content: str) -> None:
    """Compression proves nothing: what comes out may be no entry's payload and refs."""
    compressing = Codec(compression=Zstd(above=0))
    forged = compressing.encode(content.ljust(500), "anywhere")
    with MemoryStorage() as inner, EncodedStorage(inner, compressing) as storage:
        entry = Entry(kind="note", payload=json.loads(forged), at=1.0, id="e")
        change = append("log", 1)
        assert change.thread is not None
        inner._commit([replace(change, thread=replace(change.thread, entries=(entry,)))])

        with pytest.raises(CorruptRecordError):
            storage.load_thread("log")


@pytest.mark.parametrize(("name", "value"), [("wake_at", 10**400), ("rev", 2**64)])
def test_imported_numbers_beyond_all_bounds(name: str, value: int) -> None:
    """They are refused with the number of their line, before any storage meets them."""
    record = {
        "space": "checkpoints",
        "key": "a",
        "rev": 1,
        "updated_at": 1.0,
        "wake_at": None,
        "kind": "",
        "version": 1,
        "thread": None,
        "data": "1",
    }
    line, _ = seal_line({**record, name: value})

    with MemoryStorage() as storage, pytest.raises(CorruptExportError, match="line 2"):
        import_lines(storage, [encode_header(), line])


def test_memory_takes_no_half_characters() -> None:
    """Not in a kind nor in metadata either: an export of it could not be written (CP-6)."""
    with MemoryStorage() as storage:
        [outcome] = storage.commit([Change(key="a", put=Put(data="1", kind="\ud800"))])
        assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("member", [b"junk", b"checkpoint:", b"thread:\xff", b"", b"other:a"])
def test_strange_line_of_a_redis_index(member: bytes) -> None:
    """It names no record."""
    assert Layout.place(member) is None


def test_space_of_a_head_without_a_thread() -> None:
    """A head record that has no head is none (rule 6)."""
    with MemoryStorage() as storage:
        storage.append_thread("log", {"payload": 1})
        shelf = storage._shelves[Space.THREADS]
        shelf.records["log"] = replace(shelf.records["log"], thread=None)

        with pytest.raises(CorruptRecordError):
            storage.thread_head("log")
