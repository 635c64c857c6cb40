"""What is peculiar to file storage: its documents, its hints, its leftovers."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.file_scenario import names
from torpor.storage.errors import (
    CorruptRecordError,
    OwnedThreadError,
    ThreadMismatchError,
)
from torpor.storage.file import FileStorage
from torpor.storage.file.layout import hash_of
from torpor.storage.records import Change, Put, Rejected, Saved, Space
from torpor.storage.testing.kit import (
    all_pages,
    append,
    checkpoint,
    head_of,
    owned,
    payloads,
    put,
)

STATE = {"count": 3, "text": "é\n", "nested": {"list": [1, 2.5, None, True]}}


# -- documents ----------------------------------------------------------------------------------


def test_layout(file: FileStorage) -> None:
    """Checkpoints and threads are where the documentation says, in JSON (CP-30, CP-31, W-39)."""
    file.commit([owned("agent", "agent#1", "hello", value=STATE), append("log", 1, 2)])

    assert _json(file.path / "store.json") == {"format": "torpor file store", "version": 1}
    record = _json(file.path / "checkpoints" / f"{hash_of('agent')}.json")
    assert (record["key"], record["rev"], record["value"]) == ("agent", 1, STATE)
    assert (record["thread"]["id"], record["thread"]["rev"]) == ("agent#1", 1)
    head = _json(file.path / "threads" / hash_of("log") / "meta.json")
    assert (head["key"], head["rev"], head["thread"]["rev"]) == ("log", 2, 2)
    owner = _json(file.path / "threads" / hash_of("agent#1") / "meta.json")
    assert (owner["key"], owner["owner"]) == ("agent#1", "agent")
    log = file.path / "threads" / hash_of("log") / "entries.jsonl"
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["seq"], line["entry"]["payload"]) for line in lines] == [(0, 1), (1, 2)]


def test_documents_are_laid_out_to_be_read(file: FileStorage) -> None:
    """A document has a line for each field, its state's fields among them, and no escapes."""
    file.put_checkpoint("ключ", STATE)

    [path] = (file.path / "checkpoints").iterdir()
    lines = path.read_text("utf-8").splitlines()
    assert '  "key": "ключ",' in lines
    assert '    "text": "é\\n",' in lines


@pytest.mark.parametrize("key", ["/", "..", "../../etc/passwd", "\N{GRINNING FACE}", "a" * 512])
def test_keys_never_become_paths(file: FileStorage, key: str) -> None:
    """Whatever the key, its files are inside the store under plain names (rule 9, TH-33)."""
    file.commit([put(key), append(key, 1)])

    assert names(file.path / "checkpoints") == [f"{hash_of(key)}.json"]
    assert names(file.path / "threads") == [hash_of(key)]
    assert names(file.path.parent) == [file.path.name]


def test_names_do_not_differ_by_case_alone(file: FileStorage) -> None:
    """On a file system that ignores letter case no two keys meet (rule 9)."""
    keys = ["key", "KEY", "Key", "kEY", *map(str, range(100))]
    file.commit([put(key, key, wake_at=1.0) for key in keys])

    for folder in ("checkpoints", "due", "locks"):
        found = names(file.path / folder)
        assert found == [name.lower() for name in found]
    assert [checkpoint(file, key).value for key in keys] == keys


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(
    value=json_values,
    compact=st.booleans(),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_data_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory,
    value: Any,
    compact: bool,  # noqa: FBT001 - drawn by hypothesis
    ascii_only: bool,  # noqa: FBT001 - drawn by hypothesis
    indent: int | None,
) -> None:
    """However the text of a state is spaced and escaped, it comes back as it was put (rule 10)."""
    separators = (",", ":") if compact else None
    data = json.dumps(value, ensure_ascii=ascii_only, separators=separators, indent=indent)
    with FileStorage(tmp_path_factory.getbasetemp() / "texts", fsync=False) as file:
        file.commit([Change(key="agent", put=Put(data=data))])

        assert checkpoint(file, "agent").data == data


@pytest.mark.parametrize(
    "data", ["1e400", "NaN", '{"a":1,"a":2}', '"\\ud800"', "[" * 5000 + "]" * 5000, "no json"]
)
def test_odd_data_comes_back_too(file: FileStorage, data: str) -> None:
    """What has no value of its own in Python is kept as text (rule 10)."""
    file.commit([Change(key="agent", put=Put(data=data))])

    assert checkpoint(file, "agent").data == data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"key": 7}',
        b'{"key": "agent"}',
        b'{"key": "\\ud800"}',
        b"[" * 100_000,
        b'{"key": "agent", "value": "\\ud800"}',
        b'{"key": "agent", "format": 99, "checksum": 0}',
    ],
    ids=lambda content: content[:40],
)
def test_undecodable_document_is_left_as_it_is(file: FileStorage, content: bytes) -> None:
    """It is an error to read and to write, and hinders nothing else (rule 10, CP-12, TH-32)."""
    file.commit([put("agent", wake_at=1.0), put("other", wake_at=2.0), append("agent", 1)])
    path = file.path / "checkpoints" / f"{hash_of('agent')}.json"
    path.write_bytes(content)

    with pytest.raises(CorruptRecordError) as caught:
        file.get_checkpoint("agent")
    outcomes = file.commit([put("agent"), put("other", wake_at=2.0), append("agent", 2)])

    assert caught.value.key == "agent"
    assert [type(outcome) for outcome in outcomes] == [Rejected, Saved, Saved]
    assert [record.key for record in all_pages(file, Space.CHECKPOINTS)] == ["other"]
    assert [item.key for item in file.list_due(9.0)] == ["other"]
    assert file.vacuum(-60) == 0
    assert path.read_bytes() == content


def test_document_in_a_wrong_place_is_noticed(file: FileStorage) -> None:
    """A file that was copied to the name of another key is not taken for that key's (rule 10)."""
    file.commit([put("agent"), put("other")])
    place = file.path / "checkpoints"
    shutil.copy(place / f"{hash_of('agent')}.json", place / f"{hash_of('other')}.json")

    with pytest.raises(CorruptRecordError, match="'agent'"):
        file.get_checkpoint("other")


def test_strange_files_are_overlooked(file: FileStorage) -> None:
    """What backups and file managers leave in the folders is nobody's record."""
    file.commit([put("agent", wake_at=1.0), append("log", 1)])
    for folder in ("checkpoints", "threads", "due", "tmp"):
        (file.path / folder / ".DS_Store").write_bytes(b"")
    (file.path / "checkpoints" / "copy of agent.json").write_bytes(b"{}")

    assert [record.key for record in all_pages(file, Space.CHECKPOINTS)] == ["agent"]
    assert [record.key for record in all_pages(file, Space.THREADS)] == ["log"]
    assert [item.key for item in file.list_due(2.0)] == ["agent"]
    file.vacuum(-60)
    assert checkpoint(file, "agent").rev == 1


def test_listing_remembers_keys(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages after the first do not look into each file for its key again."""
    file.commit([put(f"agent {number:03}") for number in range(100)])
    first = file.list_checkpoints(limit=10)
    opened: list[Path] = []
    really_open: Any = Path.open

    def watched(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)

    second = file.list_checkpoints(cursor=first.cursor, limit=10)

    assert [record.key for record in second] == [f"agent {number:03}" for number in range(10, 20)]
    assert len(opened) == 11, "the records of the page, and the next"


# -- threads and their owners -------------------------------------------------------------------


def test_owned_thread_is_not_written_past_its_owner(file: FileStorage) -> None:
    """A bare change to a thread that an agent owns is rejected where it is decided (rule 6)."""
    file.commit([owned("agent", "agent#1", "a")])

    for change in (append("agent#1", "b"), Change(key="agent#1", space=Space.THREADS, delete=True)):
        [outcome] = file.commit([change])
        assert isinstance(outcome, Rejected)
        assert isinstance(outcome.error, OwnedThreadError)

    assert payloads(file.load_thread("agent#1")) == ["a"]


def test_standalone_thread_is_not_taken_over(file: FileStorage) -> None:
    """An agent cannot claim the id of a thread that stands alone (rule 6)."""
    file.append_thread("agent#1", {"payload": "mine"})

    [outcome] = file.commit([owned("agent", "agent#1", "theirs")])

    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, ThreadMismatchError)
    assert payloads(file.load_thread("agent#1")) == ["mine"]
    assert file.get_checkpoint("agent") is None


# -- the index of wake-up times -----------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, -5.0, 1.5e9 + 1e-7, 2**53 + 0.0, 1e300])
def test_any_moment_is_found(file: FileStorage, moment: float) -> None:
    """A record is due at its very moment and not before (rule 12)."""
    file.put_checkpoint("agent", 1, wake_at=moment)

    assert [item.wake_at for item in file.list_due(moment)] == [moment]
    assert list(file.list_due(math.nextafter(moment, -math.inf))) == []


def test_hint_that_outlived_its_record_is_harmless(file: FileStorage) -> None:
    """A crash may leave a hint too many: it tells nothing wrong and is vacuumed (rule 12)."""
    file.put_checkpoint("agent", 1, wake_at=10.0)
    [hint] = (file.path / "due").iterdir()
    late = hint.with_name(hint.name.replace("10.000000", "90.000000"))
    gone = hint.with_name(hint.name.replace(hash_of("agent"), hash_of("nobody")))
    early = hint.with_name(hint.name.replace("10.000000", "05.000000"))
    for path in (late, gone, early):
        path.touch()

    assert [(item.key, item.wake_at) for item in file.list_due(100.0)] == [("agent", 10.0)]
    assert list(file.list_due(9.0)) == []
    file.vacuum(3600)
    assert names(file.path / "due") == [hint.name]


# -- leftovers ----------------------------------------------------------------------------------


def test_abandoned_files_are_removed(file: FileStorage) -> None:
    """Temporary files of long-dead writers go when the store is opened, fresh ones stay."""
    old, fresh = (file.path / "tmp" / f"{name}.partial" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_text("{")
    os.utime(old, (1.0, 1.0))

    FileStorage(file.path).close()

    assert names(file.path / "tmp") == ["fresh.partial"]


@pytest.mark.parametrize("remove", [True, False], ids=["deleted", "replaced"])
def test_vacuum_removes_threads_without_owner(file: FileStorage, *, remove: bool) -> None:
    """Entries that a crash left behind when their owner let go of them go (W-36)."""
    file.commit([owned("agent", "agent#1", "a"), owned("other", "other#1", "b")])
    folder = file.path / "threads" / hash_of("agent#1")
    shutil.copytree(folder, file.path.with_name("copy"))
    file.commit([Change(key="agent", delete=True) if remove else owned("agent", "agent#2", "c")])
    assert not folder.exists()
    shutil.copytree(file.path.with_name("copy"), folder)

    file.vacuum(3600)

    assert not folder.exists()
    assert payloads(file.load_thread("other#1")) == ["b"]
    assert head_of(file, "other#1").rev == 1


def test_vacuum_leaves_no_folder(file: FileStorage) -> None:
    """Nothing is left of deleted agents and threads once their tombstones are old (rule 4)."""
    file.commit([owned("agent", "agent#1", "a", wake_at=1.0), append("log", "b", wake_at=1.0)])
    file.delete_checkpoint("agent")
    file.delete_thread("log")
    assert names(file.path / "threads" / hash_of("log")) == ["meta.json"]

    assert file.vacuum(-60) == 2

    for folder in ("checkpoints", "threads", "due", "tmp"):
        assert names(file.path / folder) == []


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
