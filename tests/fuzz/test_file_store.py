"""Damaged file stores: documents, logs, and what stands beside them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import changed, junk, mutated, object_of, text_of
from tests.fuzz.kit import (
    AGENT,
    FEWER,
    LOG,
    NEIGHBOUR,
    THREAD,
    fill,
    look_at,
    seal,
    stored,
)
from torpor.storage import codec
from torpor.storage.errors import TorporError
from torpor.storage.file import FileStorage

if TYPE_CHECKING:
    from collections.abc import Generator


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


RECORD = f"checkpoints/{_hash(AGENT)}.json"
OWNED = f"threads/{_hash(THREAD)}/meta.json"
HEAD = f"threads/{_hash(LOG)}/meta.json"
LOGS = [f"threads/{_hash(thread)}/entries.jsonl" for thread in (THREAD, LOG)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the product has made."""
    path = tmp_path_factory.mktemp("files") / "sound"
    with FileStorage(path, fsync=False) as storage:
        fill(storage)
    return path


@contextmanager
def copied(sound: Path) -> Generator[Path]:
    """Yield a copy of the folder, for one example."""
    with tempfile.TemporaryDirectory(dir=sound.parent) as folder:
        yield Path(shutil.copytree(sound, Path(folder) / "copy"))


def contents(path: Path) -> dict[str, bytes]:
    """Return all files but locks and hints, byte for byte."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.parent.name not in {"locks", "due"}
    }


@FEWER
@given(data=st.data())
def test_changed_bytes(sound: Path, data: st.DataObject) -> None:
    """Any fault of a file's bytes: the record as it was, or typed errors; nothing is written."""
    name = data.draw(st.sampled_from([RECORD, OWNED, HEAD, *LOGS]), "file")
    content = data.draw(mutated((sound / name).read_bytes()), "content")
    with copied(sound) as path:
        with FileStorage(path, fsync=False) as storage:
            whole, neighbour = stored(storage, AGENT), stored(storage, NEIGHBOUR)
            (path / name).write_bytes(content)
            before = contents(path)
            look_at(storage)
            assert stored(storage, AGENT) in (whole, "damaged")
            assert stored(storage, NEIGHBOUR) == neighbour
            storage.vacuum(-1e9)
        assert contents(path) == before


@FEWER
@given(data=st.data())
def test_changed_document(sound: Path, data: st.DataObject) -> None:
    """Other JSON with a checksum that fits: a sound record or typed errors; nothing is written."""
    name = data.draw(st.sampled_from([RECORD, OWNED, HEAD]), "file")
    document = data.draw(changed(json.loads((sound / name).read_bytes())), "document")
    with copied(sound) as path:
        (path / name).write_text(text_of(_sealed(document)), "utf-8")
        before = contents(path)
        with FileStorage(path, fsync=False) as storage:
            neighbour = stored(storage, NEIGHBOUR)
            assert neighbour not in ("damaged", "missing")
            look_at(storage)
            storage.vacuum(-1e9)
        assert contents(path) == before


@FEWER
@given(data=st.data())
def test_changed_line(sound: Path, data: st.DataObject) -> None:
    """Other entries whose checksums fit: entries, or typed errors; nothing is written."""
    name, thread = data.draw(st.sampled_from([*zip(LOGS, (THREAD, LOG), strict=True)]), "file")
    lines = [json.loads(line) for line in (sound / name).read_bytes().splitlines()]
    number = data.draw(st.integers(0, len(lines) - 1), "line")
    document = text_of(data.draw(changed(lines[number]["entry"]), "entry"))
    seq = data.draw(st.sampled_from([number, 0, 1, 2, 3, 10**18, 10**19 - 1]), "seq")
    checksum = seal(thread, str(seq), document)
    with copied(sound) as path:
        whole = (sound / name).read_bytes().splitlines(keepends=True)
        whole[number] = f'{{"seq":{seq},"checksum":{checksum},"entry":{document}}}\n'.encode()
        (path / name).write_bytes(b"".join(whole))
        before = contents(path)
        with FileStorage(path, fsync=False) as storage:
            look_at(storage)
            storage.vacuum(-1e9)
        assert contents(path) == before


@FEWER
@given(content=junk)
def test_format_of_the_store(sound: Path, content: bytes) -> None:
    """Whatever says what the folder is: it is opened or refused, and left as it is."""
    with copied(sound) as path:
        (path / "store.json").write_bytes(content)
        before = contents(path)
        with suppress(TorporError), FileStorage(path, fsync=False) as storage:
            look_at(storage)
        assert contents(path) == before


def _sealed(document: Any) -> Any:
    """Return a record's document with the checksum that it should have, if it can have one."""
    found = object_of(document)
    if found is None or "checksum" not in found:
        return document
    with suppress(*codec.UNDECODABLE):
        head = found["thread"]
        data = text_of(found["value"]) if "value" in found else found["data"]
        wake_at = found["wake_at"]
        parts = [
            *(found["key"], str(found["rev"]), found["change_id"]),
            *("1" if found["deleted"] else "0", found["kind"], str(found["version"])),
            repr(float(wake_at) if isinstance(wake_at, int | float) else wake_at),
            "" if head is None else json.dumps(head, ensure_ascii=False, separators=(",", ":")),
            data or "",
        ]
        return {**found, "checksum": seal(*parts)}
    return found
