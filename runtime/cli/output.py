"""What the commands print: text for people, JSON for programs, progress for terminals."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from torpor.storage import Entry, Record, ThreadHead
    from torpor.storage.transfer import Totals

__all__ = [
    "as_entry",
    "as_head",
    "as_record",
    "line",
    "moment",
    "plain",
    "print_json",
    "progress",
    "totals",
]


def line(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def print_json(document: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Print one JSON document."""
    line(json.dumps(document, ensure_ascii=False, indent=indent))


def plain(text: str) -> str:
    """Return ``text`` as a terminal can show it: what controls it is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def moment(seconds: float | None) -> str:
    """Return a time as people read it, in UTC."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def as_record(record: Record) -> dict[str, Any]:
    """Return a record as the commands print it, without its data."""
    return {
        "key": record.key,
        "kind": record.kind,
        "version": record.version,
        "rev": record.rev,
        "updated_at": record.updated_at,
        "wake_at": record.wake_at,
        "thread": as_head(record.thread),
    }


def as_head(head: ThreadHead | None) -> dict[str, Any] | None:
    """Return a thread's head as the commands print it."""
    return None if head is None else asdict(head)


def as_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry as the commands print it."""
    return {
        "seq": entry.seq,
        "id": entry.id,
        "kind": entry.kind,
        "at": entry.at,
        "payload": entry.payload,
        "refs": entry.refs,
    }


def totals(found: Totals) -> dict[str, Any]:
    """Return totals as the commands print them."""
    return {
        "checkpoints": found.checkpoints,
        "threads": found.threads,
        "entries": found.entries,
        "digest": found.digest_text,
    }


@contextmanager
def progress(what: str) -> Generator[Callable[[str], None]]:
    """Show a bar on the standard error if that is a terminal; yield what changes its text."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only for people

    bar = Progress(
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None, done="")
        yield lambda done: bar.update(task, done=done)
