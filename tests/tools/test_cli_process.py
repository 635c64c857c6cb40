"""The command in a process of its own: pipes, terminals, what it imports, what is missing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.tools.kit import grow
from torpor.storage import open_storage
from torpor.storage.testing.kit import put

if TYPE_CHECKING:
    from pathlib import Path

MAIN = "from torpor.cli import main; main()"
AGENTS = 3_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a storage whose listing is larger than a pipe."""
    url = f"sqlite:///{tmp_path}/store.db"
    with open_storage(url) as storage:
        storage.commit([put(f"cart/{number:06d}{'x' * 40}") for number in range(AGENTS)])
        grow(storage, "user/1")
    return url


def command(*arguments: str, program: str = MAIN) -> list[str]:
    """Return the command line of a process that runs ``torpor``."""
    return [sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments]


def test_head_ends_it_quietly(url: str) -> None:
    """A reader that has enough is no error: nothing is said, and the code is that of SIGPIPE."""
    with subprocess.Popen(
        command("ls", url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()

    assert first.endswith(b"x\n")
    assert (process.returncode, told) == (141, b"")


def test_no_traceback_and_no_colour(url: str) -> None:
    """An error is a line; nothing but text goes into a pipe."""
    done = subprocess.run(command("show", url, "nobody"), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"torpor: no agent 'nobody'\n"

    done = subprocess.run(command("ls", url, "user/"), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout

    done = subprocess.run(command("check", url), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_progress_is_for_terminals(url: str, tmp_path: Path) -> None:
    """On a terminal a bar is shown on the standard error, the result on the other."""
    terminal, end = pty.openpty()
    try:
        with subprocess.Popen(
            command("copy", url, f"sqlite:///{tmp_path}/copy.db"),
            stdout=subprocess.PIPE,
            stderr=end,
            env={**os.environ, "TERM": "xterm"},
        ) as process:
            os.close(end)
            assert process.stdout is not None
            shown = _everything(terminal)
            result = process.stdout.read()
    finally:
        os.close(terminal)

    assert b"agents" in shown
    assert result.startswith(f"copied {AGENTS + 1} agents".encode())
    assert b"\x1b" not in result


def _everything(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            some = os.read(terminal, 4096)
        except OSError:  # how Linux tells that the other end is closed
            return shown
        if not some:
            return shown
        shown += some


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_a_line(missing: str) -> None:
    """Without its packages the command names the extra that brings them."""
    program = f"import sys; sys.modules[{missing!r}] = None; {MAIN}"

    done = subprocess.run(command("ls", program=program), capture_output=True, check=False)

    assert done.returncode == 2
    assert done.stderr == b"torpor: the command line needs an extra: pip install 'torpor[cli]'\n"


def test_library_needs_neither() -> None:
    """Importing the library and its tools imports no package of the command line."""
    program = (
        "import sys, torpor, torpor.storage.transfer, torpor.storage.backup, torpor.storage.check;"
        "print([name for name in ('typer', 'rich', 'click') if name in sys.modules])"
    )

    done = subprocess.run(command(program=program), capture_output=True, check=False, text=True)

    assert done.stdout == "[]\n", done.stderr
