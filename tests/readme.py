"""Run a Markdown page as its reader would: every Python block, from top to bottom."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import re
import sys
from dataclasses import dataclass
from inspect import CO_COROUTINE
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Block", "blocks", "make_targets", "run_blocks"]

_FENCE = re.compile(
    r"(?:^<!--(?P<comment>[^\n]*)-->\n+)?"
    r"^(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_NOT_RUN = re.compile(r"\s*not run: \S")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. ``line`` is the first one of its text; ``runs``: not marked otherwise.

    ``output`` is the text block right behind it, which shows what it prints, if there is one.
    """

    language: str
    text: str
    line: int
    runs: bool
    output: str | None = None


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page.

    The comment ``<!-- not run: reason -->`` in front of one says that it is not to be run. A
    ``text`` block with nothing between it and a Python block is that block's output.
    """
    found = list(_FENCE.finditer(page))
    for i, match in enumerate(found):
        following = found[i + 1] if i + 1 < len(found) else None
        shown = (
            following is not None
            and following["language"] == "text"
            and not page[match.end() : following.start()].strip()
        )
        yield Block(
            language=match["language"],
            text=match["text"],
            line=page.count("\n", 0, match.start("text")) + 1,
            runs=not _NOT_RUN.match(match["comment"] or ""),
            output=following["text"] if following is not None and shown else None,
        )


def make_targets(page: str) -> set[str]:
    """Return the targets of every ``make`` in the page's shell blocks."""
    return {
        word
        for block in blocks(page)
        if block.language in {"sh", "bash", "shell", "console"}
        for command in re.findall(r"^(?:\$ )?make\b(.*)", block.text, re.MULTILINE)
        for word in re.findall(r"(?:^|\s)([a-z][\w-]*)(?=\s|$)", re.sub(r"#.*|\S+=.*", "", command))
    }


def run_blocks(path: Path) -> int:
    """Run the Python blocks of a page in order, each seeing the names of those before it.

    ``await`` may be used as in a notebook. Returns how many ran. Raises what a block raises,
    and AssertionError for one that prints other than the page shows.
    """
    module = ModuleType("__main__")
    runner = sys.modules["__main__"]
    sys.modules["__main__"] = module  # where pydantic looks up the names of annotations
    count = 0
    try:
        for block in blocks(path.read_text("utf-8")):
            if block.language == "python" and block.runs:
                printed = _run(block, path, module)
                assert block.output in {None, printed}, (
                    f"{path}:{block.line} printed\n{printed}but the page shows\n{block.output}"
                )
                count += 1
    finally:
        sys.modules["__main__"] = runner
    return count


def _run(block: Block, path: Path, module: ModuleType) -> str:
    code = compile(
        "\n" * (block.line - 1) + block.text,  # so that tracebacks name lines of the page
        str(path),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    body = FunctionType(code, module.__dict__)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        if code.co_flags & CO_COROUTINE:
            asyncio.run(body())
        else:
            body()
    return output.getvalue()
