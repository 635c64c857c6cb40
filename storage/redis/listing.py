"""One order of what many sorted sets hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.redis.layout import PARTITIONS, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torpor.storage.redis.server import Server

__all__ = ["due_members", "listed_keys"]

_LEAST = 6  # keys asked of one set, which evens out how unequally they share them


def listed_keys(
    server: Server, listings: Sequence[bytes], *, prefix: str, after: str | None, hint: int
) -> Iterator[str]:
    """Yield the keys in ``listings`` that begin with ``prefix`` and come after ``after``, sorted.

    ``hint`` is about how many will be wanted; they are fetched in so many round trips as need be.
    """
    # Of UTF-8 the order of bytes is that of code points, and no byte is 0xff.
    start = prefix.encode("utf-8", "surrogatepass")
    begin, end = b"[" + start, b"(" + start + b"\xff"
    if after is not None and after >= prefix:
        begin = b"(" + after.encode()
    count = _LEAST + 2 * hint // PARTITIONS
    while True:
        pages: list[list[bytes]] = server.run_all(
            [("ZRANGEBYLEX", listing, begin, end, "LIMIT", 0, count) for listing in listings]
        )
        # Beyond the end of a full page that listing may have keys that have not been fetched.
        ends = [page[-1] for page in pages if len(page) == count]
        last = min(ends, default=None)
        for key in sorted(key for page in pages for key in page if last is None or key <= last):
            if (text := key_of(key)) is not None:
                yield text
        if last is None:
            return
        begin = b"(" + last


def due_members(
    server: Server, wakes: Sequence[bytes], *, before: float, limit: int
) -> list[tuple[float, bytes]]:
    """Return up to ``limit`` members of ``wakes`` with a score of at most ``before``, in order."""
    count = min(limit, _LEAST + 2 * limit // PARTITIONS)
    while True:
        pages: list[list[tuple[bytes, float]]] = server.run_all(
            [
                ("ZRANGEBYSCORE", wake, "-inf", before, "WITHSCORES", "LIMIT", 0, count)
                for wake in wakes
            ],
            withscores=True,
        )
        found = sorted((float(score), member) for page in pages for member, score in page)
        # Later than the end of a full page there may be some that have not been fetched.
        last = min((page[-1][1] for page in pages if len(page) == count), default=None)
        sure = [item for item in found if last is None or item[0] <= last][:limit]
        if last is None or len(sure) == limit or count == limit:
            return sure if count < limit else found[:limit]
        count = min(limit, count * 4)
