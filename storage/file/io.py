"""Reading and replacing whole files, durably, with the operating system's errors translated."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from torpor.storage.errors import StorageError, StorageFullError, StorageUnavailableError
from torpor.storage.records import new_id

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

__all__ = ["PARTIAL_SUFFIX", "DurableFiles", "names_in", "translated_errors", "write_fully"]

PARTIAL_SUFFIX = ".partial"
_ABANDONED_SECONDS = 3600.0  # no writer is at one file for so long

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# ENOENT: whatever may rightly be missing is handled where it is read, so the store itself went.
_TRANSIENT = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOLCK,
        errno.ENOMEM,
        errno.ENXIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


@contextmanager
def translated_errors() -> Generator[None]:
    """Turn an ``OSError`` of the block into the ``StorageError`` that says what to do about it.

    ``StorageFullError`` when there is no room, ``StorageUnavailableError`` for what may pass,
    plain ``StorageError`` for the rest: it needs somebody's hand.
    """
    try:
        yield
    except OSError as error:
        raise _translate(error) from error


def _translate(error: OSError) -> StorageError:
    where = f": {error.filename}" if error.filename is not None else ""
    reason = f"{error.strerror or error}{where}"
    if error.errno in _FULL:
        return StorageFullError(f"no room left to write: {reason}")
    if error.errno in _FORBIDDEN:
        return StorageError(f"this process may not do that here: {reason}")
    if error.errno in _TRANSIENT:
        return StorageUnavailableError(f"the file system failed: {reason}")
    return StorageError(f"the file system failed for good: {reason}")


def write_fully(descriptor: int, content: bytes) -> None:
    """Write all of ``content`` at the descriptor's place; one call may write only a part."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, in no order."""
    return os.listdir(folder)  # noqa: PTH208 - no Path for each of what may be a million names


class DurableFiles:
    """Replaces files so that a reader sees the old or the new one, whatever happens meanwhile.

    New contents are written under unique names in ``workshop``, a folder on the same file
    system, and renamed into place. With ``fsync=False`` nothing is forced to the disk: what was
    written then survives the process, and not the machine.
    """

    def __init__(self, workshop: Path, *, fsync: bool) -> None:
        self._workshop = workshop
        self._fsync = fsync

    def publish(self, contents: Mapping[Path, bytes]) -> None:
        """Replace or create each of the files. One is replaced whole; the group is not atomic.

        If this raises, no temporary file is left, and each file is its old or its new self.
        """
        with self._partials(contents) as partials:
            for partial, content in zip(partials, contents.values(), strict=True):
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                try:
                    write_fully(descriptor, content)
                finally:
                    os.close(descriptor)
            self.sync(partials)
            for partial, target in zip(partials, contents, strict=True):
                partial.replace(target)
        self.sync({target.parent for target in contents})

    def publish_end(self, target: Path, offset: int) -> None:
        """Replace the file by what it holds from ``offset`` on."""
        with self._partials([target]) as [partial]:
            with target.open("rb") as source, partial.open("xb") as copy:
                source.seek(offset)
                while block := source.read(1 << 20):
                    copy.write(block)
            self.sync([partial])
            partial.replace(target)
        self.sync([target.parent])

    def sync(self, paths: Iterable[Path]) -> None:
        """Force files, or the names in folders, to the disk; all written before they are forced.

        Files are opened anew for this, so that a large batch holds few descriptors at a time.
        """
        if not self._fsync:
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove_abandoned(self) -> None:
        """Remove temporary files of writers that were killed long ago.

        A writer that was only asleep finds its file gone, fails, and is sent again.
        """
        for name in names_in(self._workshop):
            path = self._workshop / name
            with suppress(FileNotFoundError):  # another process tidies too
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()

    @contextmanager
    def _partials(self, targets: Iterable[Path]) -> Generator[list[Path]]:
        partials = [self._workshop / f"{new_id()}{PARTIAL_SUFFIX}" for _ in targets]
        try:
            yield partials
        except BaseException:
            for partial in partials:
                with suppress(OSError):  # the first error counts; some were renamed already
                    partial.unlink()
            raise
