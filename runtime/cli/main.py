"""The entry point of the command ``torpor``."""

from __future__ import annotations

import sys

from torpor.cli.outcome import USAGE, say

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    try:
        from torpor.cli.app import app  # noqa: PLC0415 - it needs what may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"rich", "typer"}:
            raise
        say("the command line needs an extra: pip install 'torpor[cli]'")
        sys.exit(USAGE)
    app()
