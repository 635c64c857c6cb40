"""Damaged and forged exports, and notes beside backups."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, changed, junk, mutated, text_of
from tests.fuzz.kit import fill, look_at, quiet
from torpor.storage.backup import Keep, back_up
from torpor.storage.codec import UNDECODABLE
from torpor.storage.errors import CorruptExportError, TorporError
from torpor.storage.file import FileStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.storage.transfer import Export, import_lines

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage import Storage


def _exported() -> list[bytes]:
    with MemoryStorage() as storage:
        fill(storage)
        return list(Export(storage))


LINES = _exported()


def sealed(document: Any) -> bytes:
    """Return a line with the checksum that it should have, by the book."""
    body = text_of(document).encode()
    if not isinstance(document, dict) or not body.endswith(b"}"):
        return body + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"sha256":"{digest}"}}\n'.encode()


def ended(lines: list[bytes]) -> list[bytes]:
    """Return lines with an end that fits them."""
    counts = {"checkpoints": 0, "threads": 0, "entries": 0}
    total = 0
    for line in lines[1:]:
        with suppress(*UNDECODABLE):
            document = json.loads(line)
            total += int(document["sha256"], 16)
            space = document.get("space")
            counts["entries"] += len(document.get("entries", ()))
            if space in counts:
                counts[space] += 1
    return [*lines, sealed({"end": {**counts, "digest": f"{total % 2**256:064x}"}})]


def bare(line: bytes) -> dict[str, Any]:
    """Return what a line says, without its checksum."""
    document: dict[str, Any] = json.loads(line)
    del document["sha256"]
    return document


@given(data=st.data())
def test_damaged_export(data: st.DataObject) -> None:
    """A fault anywhere is told by the number of a line (or the export is whole all the same)."""
    lines = list(LINES)
    number = data.draw(st.integers(0, len(lines) - 1), "line")
    fault = data.draw(st.sampled_from(["bytes", "junk", "lost", "twice", "moved"]), "fault")
    if fault == "bytes":
        lines[number] = data.draw(mutated(lines[number]), "content")
    elif fault == "junk":
        lines.insert(number, data.draw(junk, "content"))
    elif fault == "lost":
        del lines[number]
    elif fault == "twice":
        lines.insert(number, lines[number])
    else:
        lines.append(lines.pop(number))
    with MemoryStorage() as storage:
        try:
            import_lines(storage, lines)
        except TorporError:
            look_at(storage)
        else:
            assert [line.rstrip() for line in Export(storage)] == [line.rstrip() for line in LINES]
    quiet()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the targets of imports are."""
    return tmp_path_factory.mktemp("imports")


@pytest.mark.parametrize("kind", ["memory", "sqlite", "file"])
@given(data=st.data())
def test_forged_export(folder: Path, kind: str, data: st.DataObject) -> None:
    """Lines with checksums and sums that fit: imported and exported the same, or a typed error."""
    number = data.draw(st.integers(1, len(LINES) - 2), "line")
    document = data.draw(changed(bare(LINES[number])), "document")
    lines = ended([*LINES[:number], sealed(document), *LINES[number + 1 : -1]])
    with target(folder, kind) as storage:
        try:
            import_lines(storage, lines)
        except TorporError:
            look_at(storage)
        else:
            assert len(list(Export(storage))) == len(lines)


def target(folder: Path, kind: str) -> Storage:
    """Return an empty storage of a kind, in place of the one before."""
    number = sum(1 for _ in folder.iterdir())
    if kind == "memory":
        return MemoryStorage()
    if kind == "file":
        return FileStorage(folder / str(number), fsync=False)
    return SQLiteStorage(folder / str(number), synchronous="off")


NOTE = {
    "format": "torpor backup",
    "version": 1,
    "source": "/store",
    "made_at": 1.5e9,
    "size": 123456,
}


@given(
    content=mutated(text_of(NOTE).encode())
    | (changed(NOTE) | ANYTHING).map(lambda note: text_of(note).encode())
    | junk
)
def test_notes_of_backups(folder: Path, content: bytes) -> None:
    """What stands beside backups may be anything: a new one is made, and nothing else removed."""
    place = folder / f"backups {sum(1 for _ in folder.iterdir())}"
    with SQLiteStorage(folder / "small", synchronous="off") as storage:
        first = back_up(storage, place).path
        content = content.replace(b"/store", str(storage.path).encode())
        content = content.replace(b"123456", str(first.stat().st_size).encode())
        (place / f"{first.stem}.backup.json").write_bytes(content)
        second = back_up(storage, place, keep=Keep(count=1))
    assert second.path.exists()
    assert set(second.removed) <= {first}
    assert first.exists() != bool(second.removed)


def test_export_that_says_nothing_is_refused() -> None:
    """The fuzzing above would not notice if everything were taken."""
    with MemoryStorage() as storage, pytest.raises(CorruptExportError):
        import_lines(storage, [])
