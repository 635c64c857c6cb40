"""Where the project's own files are, for the tests that look at them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FOLDERS", "ROOT", "pyproject", "run"]

ROOT = Path(__file__).parents[1]

FOLDERS = {"torpor": ROOT / "runtime", "torpor.storage": ROOT / "storage"}
"""The folder of each import package that has one at the top of the project."""


def pyproject() -> dict[str, Any]:
    """Return the contents of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def run(
    command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; ``env`` is laid over the environment, None removes a name.

    What it printed to both streams is in ``stdout``, in order.
    """
    merged = {**os.environ, **(env or {})}
    return subprocess.run(
        command,
        cwd=cwd,
        env={name: value for name, value in merged.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
