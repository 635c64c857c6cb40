"""The commands of ``torpor``, put together."""

from __future__ import annotations

from typing import Annotated

from typer import Exit, Option, Typer

from torpor.cli.group import QuietGroup
from torpor.cli.looking import (
    ls_command,
    rm_command,
    show_command,
    stats_command,
    thread_command,
)
from torpor.cli.moving import copy_command, export_command, import_command
from torpor.cli.output import line
from torpor.cli.saving import backup_command, check_command

__all__ = ["app"]

_HELP = """Look at, move, save and check what Torpor has stored.

URL names the storage, as sqlite:///path or postgresql://user@host/database. Without it the
variable TORPOR_STORAGE counts, else the storage of a Runtime() without arguments.

Ends with 0; 1 if something was found that should not be, or not found; 2 if it was called
wrongly; 3 if the storage failed.
"""

app = Typer(
    name="torpor",
    cls=QuietGroup,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("ls")(ls_command)
app.command("show")(show_command)
app.command("thread")(thread_command)
app.command("stats")(stats_command)
app.command("rm")(rm_command)
app.command("export")(export_command)
app.command("import")(import_command)
app.command("copy")(copy_command)
app.command("backup")(backup_command)
app.command("check")(check_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - slow, seldom

        line(f"torpor {version('torpor')}")
        raise Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    del version  # it has been printed
