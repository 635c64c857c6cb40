"""``torpor backup`` and ``check``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from torpor.cli.moving import AsJson
from torpor.cli.outcome import FOUND
from torpor.cli.output import line, plain, print_json, progress
from torpor.cli.places import named, open_existing, url_and_rest
from torpor.storage.backup import Keep, back_up
from torpor.storage.check import check

__all__ = ["backup_command", "check_command"]


def backup_command(
    url: Annotated[str, Argument(metavar="[URL]")],
    folder: Annotated[str | None, Argument(metavar="FOLDER")] = None,
    keep: Annotated[
        str | None,
        Option(help="Then remove older backups: 10 keeps that many, 12h, 30d or 8w that long."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back up a SQLite or file storage into FOLDER, while it is in use, and check the copy."""
    url, folder = named(url, folder, "FOLDER")
    kept = None if keep is None else Keep.parse(keep)
    with open_existing(url) as storage, progress("backup"):
        made = back_up(storage, Path(folder), keep=kept)
    if as_json:
        print_json(
            {
                "path": str(made.path),
                "made_at": made.made_at,
                "size": made.size,
                "removed": [str(path) for path in made.removed],
            }
        )
        return
    line(f"{plain(str(made.path))} ({made.size} bytes)")
    for path in made.removed:
        line(f"removed {plain(str(path))}")


def check_command(
    url: Annotated[str | None, Argument(metavar="[URL]")] = None,
    as_json: AsJson = False,
) -> None:
    """Look for damage in a storage, and change nothing. Ends with 1 if there is some.

    Reads every record and every entry.
    """
    checked = 0

    def count(number: int) -> None:
        nonlocal checked
        checked = number
        show(f"{number} records")

    place, _ = url_and_rest(url, None)
    with open_existing(place) as storage, progress("check") as show:
        findings = list(check(storage, on_batch=count))
    if as_json:
        print_json({"checked": checked, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            line(f"{finding.problem}: {plain(finding.where)}: {plain(finding.detail)}")
        line(f"{checked} records checked, {len(findings)} faults found")
    if findings:
        raise Exit(FOUND)
