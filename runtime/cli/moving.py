"""``torpor export``, ``import`` and ``copy``."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from typer import Argument, Exit, Option

from torpor.cli.outcome import FOUND, say
from torpor.cli.output import line, print_json, progress, totals
from torpor.cli.places import named, open_existing, open_new
from torpor.storage.records import new_id
from torpor.storage.transfer import Export, copy, import_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torpor.storage import Space
    from torpor.storage.errors import StorageError
    from torpor.storage.transfer import ImportResult, Totals

__all__ = ["copy_command", "export_command", "import_command"]

SkipDamaged = Annotated[
    bool, Option("--skip-damaged", help="Leave out records that cannot be read, and say which.")
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace records that differ.")]
AsJson = Annotated[bool, Option("--json", help="Print the result as one JSON document.")]


def export_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    file: Annotated[str | None, Argument(metavar="FILE")] = None,
    skip_damaged: SkipDamaged = False,
    as_json: AsJson = False,
) -> None:
    """Write all agents and threads to FILE, or with - to the standard output, as JSON Lines.

    May be done while the storage is in use: each agent is consistent in itself.
    """
    url, file = named(url, file, "FILE")
    damaged = _Damaged()
    with open_existing(url) as storage, progress("export") as show, _written(file) as stream:
        export = Export(
            storage, on_batch=_shown(show), on_damage=damaged.tell if skip_damaged else None
        )
        for each in export:
            stream.write(each)
    if file == "-":
        say(f"exported {_text(export.totals)}")
    elif as_json:
        print_json(totals(export.totals))
    else:
        line(f"exported {_text(export.totals)}, digest {export.totals.digest_text[:16]}")
    damaged.end()


def import_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    file: Annotated[str | None, Argument(metavar="FILE")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Read an export from FILE, or with - from the standard input.

    What is there and equal is left alone, so an import that was stopped can be repeated. A
    record that differs ends it, unless it may be replaced. No runtime may use the agents
    meanwhile.
    """
    url, file = named(url, file, "FILE")
    with (
        _read(file) as stream,
        open_new(url) as storage,
        progress("import") as show,
    ):
        result = import_lines(storage, stream, overwrite=overwrite, on_batch=_shown(show))
    _print_result("imported", result, as_json=as_json)


def copy_command(
    source: Annotated[str, Argument(metavar="FROM")],
    target: Annotated[str, Argument(metavar="TO")],
    overwrite: Overwrite = False,
    skip_damaged: SkipDamaged = False,
    as_json: AsJson = False,
) -> None:
    """Copy all agents and threads from one storage URL to another, as export and import do."""
    damaged = _Damaged()
    with (
        open_existing(source) as origin,
        open_new(target) as place,
        progress("copy") as show,
    ):
        result = copy(
            origin,
            place,
            overwrite=overwrite,
            on_batch=_shown(show),
            on_damage=damaged.tell if skip_damaged else None,
        )
    _print_result("copied", result, as_json=as_json)
    damaged.end()


class _Damaged:
    """Counts what was left out."""

    def __init__(self) -> None:
        self._count = 0

    def tell(self, space: Space, key: str, error: StorageError) -> None:
        self._count += 1
        say(f"left out of the {space.value}: {key!r}: {error}")

    def end(self) -> None:
        if self._count:
            raise Exit(FOUND)


def _shown(show: Callable[[str], None]) -> Callable[[Totals], None]:
    return lambda found: show(_text(found))


def _text(found: Totals) -> str:
    return f"{found.checkpoints} agents, {found.threads} threads, {found.entries} entries"


def _print_result(done: str, result: ImportResult, *, as_json: bool) -> None:
    counts: dict[str, Any] = {
        "imported": result.imported,
        "present": result.present,
        "replaced": result.replaced,
    }
    if as_json:
        print_json(counts | totals(result.totals))
        return
    line(
        f"{done} {_text(result.totals)}: {result.imported} new, {result.present} were there, "
        f"{result.replaced} replaced, digest {result.totals.digest_text[:16]}"
    )


@contextmanager
def _written(file: str) -> Generator[BinaryIO]:
    """Yield what to write to; a file has its name only when it is whole, and on the disk."""
    if file == "-":
        yield sys.stdout.buffer
        return
    target = Path(file)
    partial = target.with_name(f".{target.name}.{new_id()}.partial")
    try:
        with partial.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def _read(file: str) -> Generator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as stream:
        yield stream
