"""Checkpoints and threads in Redis or Valkey."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, CorruptRecordError, StorageError
from torpor.storage.paging import read_in_pages
from torpor.storage.records import Due, Entry, Record, Space
from torpor.storage.redis.client import client_of_url, options_of_url, place_of, require_usable
from torpor.storage.redis.commit import Committer
from torpor.storage.redis.documents import Stored, decode_entry, entry_id
from torpor.storage.redis.errors import is_wrong_type
from torpor.storage.redis.known import KnownRecords
from torpor.storage.redis.layout import Layout
from torpor.storage.redis.listing import due_members, listed_keys
from torpor.storage.redis.notify import RedisNotifier
from torpor.storage.redis.opening import open_place
from torpor.storage.redis.records import Records
from torpor.storage.redis.server import Server

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redis import Redis
    from redis.cluster import RedisCluster

    from torpor.storage.records import Change, Outcome
    from torpor.storage.redis.durability import Durability

__all__ = ["RedisStorage"]

_KNOWN_RECORDS = 10_000
_SHORTEST_TTL = 0.001
_LONGEST_TTL = 100 * 365 * 24 * 3600


class RedisStorage(Storage):
    """Everything in Redis 6.2 or later, Valkey, or a Redis Cluster.

    ``server`` is a URL (``redis://user:password@host:6379/0``, ``rediss://…`` for TLS,
    ``unix:///path/of/socket?db=0``; ``valkey://…`` and ``valkeys://…`` are the same as the first
    two), whose query may hold options of redis-py's connection; or a ``redis.Redis`` or
    ``redis.RedisCluster`` of your own, which stays yours, its pool, its time limits and its
    retries too. A client must not decode (``decode_responses=False``) nor read from replicas.

    ``prefix``: what the keys begin with. ``timeout``: seconds that an operation may wait: a
    quarter for a free connection, a quarter to connect, a half for an answer; then
    ``StorageUnavailableError``. ``pool_size``: most connections at once. ``ttl``: seconds after
    its last change at which an agent, its thread with it, or a standalone thread, is gone;
    each change sets both anew, and without ``ttl`` lets them stay. An expired key starts again
    at revision 1.

    What is saved is as durable as the server is configured to make it; ``durability`` tells, and
    a warning is logged when the storage is opened on a server that keeps too little:

    - ``appendonly yes`` with ``appendfsync always``: each commit is on the disk when it returns.
      With ``everysec``, the default of ``appendonly yes``, a crash of the machine loses about the
      last second, with ``no`` about half a minute; a crash of the server alone loses nothing.
    - Without ``appendonly`` a crash loses all since the last snapshot, or everything if there
      are none.
    - ``maxmemory-policy noeviction``: any other may let agents vanish when the memory is full.
    - Replicas get changes after they were acknowledged: a failover may lose the last ones.

    A change is one Lua script, and a batch one round trip, two if another process wrote the same
    records. Listings are ordered by key. What is stored where: ``torpor.storage.redis.layout``.
    """

    name: ClassVar[str] = "redis"

    durability: Durability
    """What the server's configuration makes of "saved", as it was when this was opened."""

    def __init__(
        self,
        server: str | Redis | RedisCluster,
        *,
        prefix: str = "torpor",
        ttl: float | None = None,
        timeout: float = 5.0,
        pool_size: int = 10,
    ) -> None:
        """Connect, see that the place can be used, and warn if it keeps too little.

        Raises ``ConfigurationError`` for what can't work: wrong password, no such database,
        missing rights, a server that is too old; ``SchemaVersionError`` for a store that a newer
        Torpor wrote; ``StorageUnavailableError`` if nobody answers within ``timeout``.
        """
        super().__init__()
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            msg = f"timeout is a number of seconds above 0, not {timeout}"
            raise ConfigurationError(msg)
        if pool_size < 1:
            msg = f"pool_size is at least 1, not {pool_size}"
            raise ConfigurationError(msg)
        if ttl is not None and not _SHORTEST_TTL <= ttl <= _LONGEST_TTL:
            msg = f"ttl is a number of seconds above 0, not {ttl}"
            raise ConfigurationError(msg)
        if not prefix or not prefix.isprintable() or "{" in prefix or "}" in prefix:
            msg = f"prefix is text without braces, not {prefix!r}"
            raise ConfigurationError(msg)
        self.timeout = timeout
        client = (
            client_of_url(server, timeout=timeout, pool_size=pool_size)
            if isinstance(server, str)
            else server
        )
        require_usable(client)
        self._server = Server(client, place=place_of(client), owned=client is not server)
        self._prefix = prefix
        self._layout = Layout(prefix)
        self._records = Records(self._server, self._layout)
        self._known = KnownRecords(_KNOWN_RECORDS)
        self._committer = Committer(
            server=self._server,
            layout=self._layout,
            known=self._known,
            ttl=None if ttl is None else round(ttl * 1000),
            timeout=timeout,
        )
        try:
            self.durability, self.max_document_bytes = open_place(self._server, self._layout)
        except BaseException:
            self._close()
            raise
        self._server.opening = False

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``url``. Options may stand in its query, beside redis-py's; ``options`` win."""
        place, in_url = options_of_url(url)
        try:
            return cls(place, **{**in_url, **options})
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            msg = f"a Redis storage has no such option: {error}"
            raise ConfigurationError(msg) from error

    def __repr__(self) -> str:
        return f"<RedisStorage {self._server.place}>"

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        found = self._records.find([(space, key) for key in keys])
        for stored in found:
            if isinstance(stored, Stored):
                self._known.put(space, stored)
        return [stored.record if isinstance(stored, Stored) else stored for stored in found]

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        found = self._server.run(
            [("XRANGE", self._layout.entries(thread), seq, seq) for thread, seq in places]
        )
        return ["" if is_wrong_type(items) else _first_id(items) for items in found]

    def _read_entries(  # noqa: PLR0913 - see Storage
        self,
        thread_id: str,
        start: int,
        stop: int,
        *,
        kinds: Collection[str] | None,
        limit: int | None,
        newest: bool,
    ) -> Sequence[Entry]:
        stream = self._layout.entries(thread_id)

        def page(start: int, stop: int, count: int) -> list[Entry]:
            command = (
                ("XREVRANGE", stream, stop - 1, start)
                if newest
                else ("XRANGE", stream, start, stop - 1)
            )
            [items] = self._server.run([(*command, "COUNT", count)])
            if is_wrong_type(items):
                detail = "its key holds another type of value"
                raise CorruptRecordError(thread_id, detail) from items
            return [decode_entry(thread_id, item) for item in items]

        return read_in_pages(page, start, stop, kinds=kinds, limit=limit, newest=newest, sift=True)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        keys = listed_keys(
            self._server, self._layout.listings(space), prefix=prefix, after=after, hint=limit
        )
        records: list[Record] = []
        while places := [(space, key) for key in islice(keys, limit - len(records))]:
            found = list(zip(places, self._records.find(places), strict=True))
            self._records.forget((place, None) for place, stored in found if stored is None)
            records += (
                stored.record
                for _, stored in found
                if isinstance(stored, Stored) and not stored.record.deleted
            )
        return records

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        listings = self._layout.listings(space)
        found = listed_keys(self._server, listings, prefix="", after=after, hint=limit)
        keys = set(islice(found, limit))
        if tombstones:
            keys.update(key for key in self._records.deleted(space) if key > (after or ""))
        return sorted(keys)[:limit]

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        strange = 0  # lines that nothing of Torpor's wrote: they must not stand before all others
        while True:
            wanted = limit + strange
            found = due_members(self._server, self._layout.wakes(), before=before, limit=wanted)
            due = [
                Due(*place, wake_at)
                for wake_at, member in found
                if (place := self._layout.place(member)) is not None
            ]
            if len(found) - len(due) > strange:
                strange = len(found) - len(due)
                continue
            gone = self._records.missing([(item.space, item.key) for item in due])
            if not gone:
                return due[:limit]
            self._records.forget((place, None) for place in gone)

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return self._committer.commit(changes)

    def notifier(self) -> RedisNotifier:
        """Return publish and subscribe, on a channel of this store."""
        return RedisNotifier(self._server, f"{self._prefix}:news:{self._server.database}")

    def _vacuum(self, before: float) -> int:
        return self._records.vacuum(before)

    def _close(self) -> None:
        self._server.close()


def _first_id(items: Sequence[Any]) -> str | None:
    return entry_id(items[0]) if items else None
