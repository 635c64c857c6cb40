"""Reading the entries of a thread page by page, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torpor.storage.records import Entry

__all__ = ["ReadPage", "read_in_pages"]

_AT_ONCE = 1000


class ReadPage(Protocol):
    """How one backend reads a page."""

    def __call__(self, start: int, stop: int, count: int, /) -> Sequence[Entry]:
        """Return ``count`` entries with ``start <= seq < stop``, or all if there are fewer.

        They are the first ones; with ``newest`` the last ones, and the last one first.
        """
        ...


def read_in_pages(  # noqa: PLR0913 - see Backend
    read_page: ReadPage,
    start: int,
    stop: int,
    *,
    kinds: Collection[str] | None,
    limit: int | None,
    newest: bool,
    sift: bool = False,
    at_once: int = _AT_ONCE,
) -> list[Entry]:
    """Return entries as ``Backend._read_entries`` does, ``at_once`` of them at a time.

    ``sift``: ``read_page`` does not look at ``kinds``, so what is not wanted is left out here.
    """
    missing = stop - start if limit is None else min(limit, stop - start)
    whole = kinds is None and missing == stop - start
    entries: list[Entry] = []
    while missing > 0 and start < stop:
        count = at_once if kinds is not None and sift else min(missing, at_once)
        first, end = start, stop
        if whole:  # a server that would sort has no more than the page to sort
            first, end = (stop - count, stop) if newest else (start, start + count)
        page = read_page(first, end, count)
        wanted = [entry for entry in page if kinds is None or entry.kind in kinds][:missing]
        entries += wanted
        missing -= len(wanted)
        if len(page) < count:
            break
        if newest:
            stop = page[-1].seq
        else:
            start = page[-1].seq + 1
    return entries[::-1] if newest else entries
