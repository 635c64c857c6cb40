"""A disk of its own for a server, which can be full. Only root can have one, and not everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["SmallDisk", "small_disk"]

_SIZE = 1 << 30  # of which only what is used takes memory


def small_disk() -> SmallDisk | None:
    """Return a new one, None if it is not to be had here."""
    folder = Path(tempfile.mkdtemp(prefix="torpor-disk-"))
    folder.chmod(0o755)
    if _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)):
        return SmallDisk(folder)
    folder.rmdir()
    return None


class SmallDisk:
    """A file system in memory; call ``close`` when done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full(self, spare: int) -> Generator[None]:
        """Leave no more than ``spare`` bytes of room within the block."""
        while not self._resize(self._used() + spare):
            pass  # more was written meanwhile than would fit
        try:
            yield
        finally:
            self._resize(_SIZE)

    def _used(self) -> int:
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _resize(self, size: int) -> bool:
        return _run("mount", "-o", f"remount,size={size}", str(self.folder))

    def close(self) -> None:
        """Give it up, with all that is on it."""
        _run("umount", "--lazy", str(self.folder))
        self.folder.rmdir()


def _run(name: str, *arguments: str) -> bool:
    """Return whether a program of the system did what it was asked."""
    program = shutil.which(name)
    return (
        program is not None
        and not subprocess.run([program, *arguments], capture_output=True, check=False).returncode
    )
