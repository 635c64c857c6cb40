"""Commands whose errors are one line, without a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from typer import Abort
from typer.core import TyperGroup

from torpor.cli.outcome import FOUND, OK, PIPE, USAGE, describe, redact, say

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["QuietGroup"]


class QuietGroup(TyperGroup):
    """Ends the process as ``torpor.cli.outcome`` says, whatever a command raises."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command of the arguments, those of the process if there are none."""
        given: Sequence[str] | None = args[0] if args else options.pop("args", None)
        words = sys.argv[1:] if given is None else list(given)
        options["standalone_mode"] = False
        try:
            code = super().main(words, **options)
        except Abort:
            say("nothing was done")
            sys.exit(FOUND)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told in one line
            if (usage := getattr(error, "format_message", None)) is not None:
                message, code = f"{usage()} (torpor --help tells more)", USAGE
            else:
                message, code = describe(error)
            say(redact(message, [*words, os.environ.get("TORPOR_STORAGE", "")]))
            sys.exit(code)
        sys.exit(code if isinstance(code, int) else OK)

    def invoke(self, ctx: Any) -> Any:
        """Run it, and end quietly if nobody reads on."""
        result = None
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is left in the buffer would fail again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE)
        return result
