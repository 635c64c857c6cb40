"""Entries that are read page by page are those that one reading would find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from torpor.storage.paging import read_in_pages
from torpor.storage.records import Entry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

KINDS = "abc"


class Stored:
    """Entries in their places, some of which may be empty, and the pages that were read."""

    def __init__(self, places: Sequence[str | None], kinds: Collection[str] | None) -> None:
        self._entries = [
            Entry(kind=kind, payload=None, at=0.0, id=str(seq), seq=seq)
            for seq, kind in enumerate(places)
            if kind is not None and (kinds is None or kind in kinds)
        ]
        self.pages: list[int] = []
        self.ranges: list[int] = []

    def page(self, start: int, stop: int, count: int) -> list[Entry]:
        """Return the first entries of a range."""
        found = [entry for entry in self._entries if start <= entry.seq < stop][:count]
        self.pages.append(len(found))
        self.ranges.append(stop - start)
        return found

    def last(self, start: int, stop: int, count: int) -> list[Entry]:
        """Return the last entries of a range, the last one first."""
        found = [entry for entry in self._entries if start <= entry.seq < stop][::-1][:count]
        self.pages.append(len(found))
        self.ranges.append(stop - start)
        return found


def seqs(entries: Sequence[Entry]) -> list[int]:
    """Return where the entries stand."""
    return [entry.seq for entry in entries]


def expected(  # noqa: PLR0913 - as many as what is tested
    places: Sequence[str | None],
    start: int,
    stop: int,
    kinds: Collection[str] | None,
    limit: int | None,
    *,
    newest: bool,
) -> list[int]:
    """Return which entries there are to be found."""
    found = [
        seq
        for seq, kind in enumerate(places)
        if start <= seq < stop and kind is not None and (kinds is None or kind in kinds)
    ]
    if limit is None:
        return found
    return found[max(len(found) - limit, 0) :] if newest else found[:limit]


@given(
    places=st.lists(st.sampled_from(KINDS), max_size=12),
    kinds=st.none() | st.sets(st.sampled_from(KINDS)),
    limit=st.none() | st.integers(0, 14),
    newest=st.booleans(),
    sift=st.booleans(),
    at_once=st.integers(1, 5),
    data=st.data(),
)
def test_as_if_read_at_once(  # noqa: PLR0913 - what there is to vary
    *,
    places: list[str],
    kinds: set[str] | None,
    limit: int | None,
    newest: bool,
    sift: bool,
    at_once: int,
    data: st.DataObject,
) -> None:
    """Whatever part of a thread is asked for, in pages of whatever size."""
    start = data.draw(st.integers(0, len(places)), "start")
    stop = data.draw(st.integers(start, len(places)), "stop")
    stored = Stored(places, None if sift else kinds)

    found = read_in_pages(
        stored.last if newest else stored.page,
        start,
        stop,
        kinds=kinds,
        limit=limit,
        newest=newest,
        sift=sift,
        at_once=at_once,
    )

    assert seqs(found) == expected(places, start, stop, kinds, limit, newest=newest)
    assert max(stored.pages, default=0) <= at_once


@given(
    places=st.lists(st.none() | st.sampled_from(KINDS), max_size=12),
    limit=st.integers(1, 3),
    newest=st.booleans(),
    at_once=st.integers(1, 5),
)
def test_in_a_range_without_an_end(
    *, places: list[str | None], limit: int, newest: bool, at_once: int
) -> None:
    """Who does not know where a thread ends, or whether it is whole, finds what there is."""
    stored = Stored(places, None)

    found = read_in_pages(
        stored.last if newest else stored.page,
        0,
        2**62,
        kinds=None,
        limit=limit,
        newest=newest,
        at_once=at_once,
    )

    assert seqs(found) == expected(places, 0, 2**62, None, limit, newest=newest)


def test_a_server_sorts_no_more_than_a_page() -> None:
    """Where every place is wanted, a page's range is as long as the page."""
    stored = Stored("a" * 10, None)

    read_in_pages(stored.last, 0, 10, kinds=None, limit=None, newest=True, at_once=4)
    read_in_pages(stored.page, 0, 10, kinds=None, limit=99, newest=False, at_once=4)

    assert stored.ranges == [4, 4, 2, 4, 4, 2]
