"""What the tests of the tools store, how they look at it, and how they run a command."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from torpor.cli.app import app
from torpor.storage import Change, Entry, Put, Space, Storage, ThreadWrite
from torpor.storage.transfer import Export, ImportResult, import_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from typer.testing import Result

__all__ = [
    "LONG",
    "RECORDS",
    "documents",
    "entry",
    "exported",
    "fill",
    "grow",
    "imported",
    "lines_of",
    "no_surroundings",
    "stored_keys",
    "torpor",
]

LONG = 1_200
"""Entries of the longest thread: several lines of an export."""

RECORDS = 12
"""How many ``fill`` leaves."""


def entry(seq: int, payload: Any = None, **fields: Any) -> Entry:
    """Return an entry whose id tells its place."""
    given: dict[str, Any] = {"kind": "note", "at": 100.5 + seq, "id": f"entry {seq}"}
    return Entry(payload=payload, **given | fields)


def grow(  # noqa: PLR0913 - keywords with defaults
    storage: Storage,
    key: str,
    *entries: Entry,
    data: str = "{}",
    kind: str = "cart",
    version: int = 1,
    wake_at: float | None = None,
    metadata: dict[str, Any] | None = None,
    trim_before: int | None = None,
) -> None:
    """Put an agent and append to its thread."""
    thread = ThreadWrite(id=f"{key}#1", entries=entries, metadata=metadata, trim_before=trim_before)
    change = Change(
        key=key,
        put=Put(data=data, kind=kind, version=version),
        thread=thread,
        wake_at=wake_at,
        at=1000.25,
    )
    storage.commit([change])


def fill(storage: Storage) -> None:
    """Store some of everything that there can be."""
    storage.put_checkpoint("plain", {"a": [1, 2.5, None]})
    for _ in range(3):
        storage.put_checkpoint(
            "cart@eu%2F1/\N{GRINNING FACE} '\"\\ ", ["é"], kind="cart", version=7
        )
    grow(
        storage,
        "cart/bytes",
        data='{"b" : 1,\n "a": 1e400, "n":"\\u0000", "big": 12345678901234567890}',
    )
    grow(storage, "cart/empty thread", metadata={"made": "here"})
    grow(storage, "cart/short", *(entry(seq, {"n": seq}) for seq in range(3)), wake_at=3e9)
    grow(storage, "cart/short", entry(3, refs={"to": "entry 1"}, at=5), wake_at=3e9 + 0.5)
    grow(storage, "cart/trimmed", *(entry(seq, "é\n\u2028") for seq in range(5)))
    grow(storage, "cart/trimmed", entry(5), trim_before=3)
    grow(storage, "cart/wholly trimmed", *(entry(seq) for seq in range(4)))
    grow(storage, "cart/wholly trimmed", trim_before=4)
    for begin in range(0, LONG, 400):
        grow(storage, "cart/long", *(entry(seq, "x" * 40) for seq in range(begin, begin + 400)))
    storage.put_checkpoint("gone", 1)
    storage.delete_checkpoint("gone")
    storage.append_thread("log", [entry(seq) for seq in range(3)], metadata={"m": {"é": 1}})
    storage.trim_thread("log", 1)
    storage.append_thread("log again", [entry(seq) for seq in range(3)])
    storage.delete_thread("log again")
    storage.append_thread("log again", [entry(3)], wake_at=2e9)
    storage.append_thread("log empty", [])
    storage.append_thread("log long", [entry(seq) for seq in range(LONG)])


def lines_of(storage: Storage) -> list[bytes]:
    """Return the lines of an export."""
    return list(Export(storage))


def exported(storage: Storage) -> bytes:
    """Return an export."""
    return b"".join(Export(storage))


def imported(storage: Storage, export: bytes | Iterable[bytes], **options: Any) -> ImportResult:
    """Import an export."""
    lines = io.BytesIO(export) if isinstance(export, bytes) else export
    return import_lines(storage, lines, **options)


def stored_keys(storage: Storage, space: Space = Space.CHECKPOINTS) -> list[str]:
    """Return the keys of a storage."""
    return list(storage.all_keys(space))


def torpor(*arguments: str, **options: Any) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def documents(result: Result) -> list[Any]:
    """Return the JSON documents that a command printed, one to a line."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout_bytes.splitlines()]


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no test see the user's own storage."""
    monkeypatch.delenv("TORPOR_STORAGE", raising=False)
    monkeypatch.setenv("TORPOR_HOME", str(tmp_path / "home of ü%20"))
