"""Checkpoints and threads in a MongoDB database, by PyMongo, without transactions."""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pymongo import ASCENDING, DESCENDING, MongoClient
from pymongo.errors import PyMongoError

from torpor.storage.base import Storage
from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.inspection import Finding
from torpor.storage.mongodb.commit import Committer
from torpor.storage.mongodb.database import Database
from torpor.storage.mongodb.documents import (
    STORED,
    Stored,
    decode_entry,
    decode_record,
    entry_id,
    seq_of,
)
from torpor.storage.mongodb.provision import open_collections
from torpor.storage.mongodb.url import place_of, split_url
from torpor.storage.mongodb.vacuum import vacuum
from torpor.storage.paging import read_in_pages
from torpor.storage.records import Due, Record, Space

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torpor.storage.errors import StorageError
    from torpor.storage.records import Change, Entry, Outcome

__all__ = ["MongoDBStorage"]

_MAX_BSON = 16 * 1024 * 1024
_BESIDE_DATA = 16 * 1024  # bytes, for all else in a document: keys, ids, a head
_AFTER_ALL = "\U0010ffff" * 150  # behind a prefix: not before any key that begins with it
_DEFAULT_DATABASE = "torpor"


class MongoDBStorage(Storage):
    """Everything in four collections; ``torpor.storage.mongodb.documents`` says what is in them.

    ``server`` is a URL (``mongodb://user@host/database``, ``mongodb+srv://…``, with PyMongo's
    options) or a ``MongoClient`` of your own, which stays yours. ``client`` is the one in use;
    register listeners with it for telemetry. Neither a replica set nor transactions are needed.

    ``database``: its name; that in the URL or ``"torpor"`` if None. ``collection_prefix``: what
    the names of the collections begin with. ``create``: make collections and indexes if they are
    missing, safely while other processes do so. ``queryable``: store each state a second time,
    decoded, so that the server can query it: ``find({"state.count": {"$gt": 5}})``.

    ``timeout``: seconds that an operation may take in all, then ``StorageUnavailableError``.

    What is saved has reached the journals of a majority of the servers (write concern
    ``majority``, journalled), unless URL or client name another write concern. Reads see what a
    majority has. Listings are ordered by key. A document is at most 16 MiB.

    A collection that somebody removes is an empty one to MongoDB: it can't be told from one in
    which nothing was stored.
    """

    name: ClassVar[str] = "mongodb"
    max_document_bytes: int | None = _MAX_BSON - _BESIDE_DATA

    def __init__(  # noqa: PLR0913 - all but the first are keywords
        self,
        server: str | MongoClient[Any],
        *,
        database: str | None = None,
        collection_prefix: str = "torpor_",
        timeout: float = 5.0,
        create: bool = True,
        queryable: bool = True,
    ) -> None:
        """Connect, see that the collections are there and can be used, or create them.

        Raises ``ConfigurationError`` for what can't work: a bad URL, a wrong password, missing
        or unfit collections; ``SchemaVersionError`` for collections of a newer version;
        ``StorageUnavailableError`` if no server that takes writes answers within ``timeout``.
        """
        super().__init__()
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            msg = f"timeout is a number of seconds above 0, not {timeout}"
            raise ConfigurationError(msg)
        if not re.fullmatch(r"\w{0,40}", collection_prefix, re.ASCII):
            msg = f"collection_prefix has up to 40 letters, digits and _, not {collection_prefix!r}"
            raise ConfigurationError(msg)
        self.timeout = timeout
        owned = isinstance(server, str)
        client = _connected(server, timeout) if isinstance(server, str) else server
        place = place_of(server) if isinstance(server, str) else "MongoDB"
        try:
            self._database = Database(
                client,
                place=place,
                name=database or _database_in(client),
                prefix=collection_prefix,
                timeout=timeout,
                owned=owned,
            )
            with self._database.operation():
                open_collections(self._database, create=create)
        except BaseException:
            if owned:
                client.close()
            raise
        self._database.opening = False
        self._committer = Committer(self._database, queryable=queryable, limit=_MAX_BSON)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``url``. Options may stand in its query, what is there beside is PyMongo's.

        ``options`` win. The class's ``database`` is the path of the URL.
        """
        server, given = split_url(url)
        try:
            return cls(server, **{**given, **options})
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            msg = f"MongoDB storage: {error}"
            raise ConfigurationError(msg) from error

    @property
    def client(self) -> MongoClient[Any]:
        """The client in use."""
        return self._database.client

    def __repr__(self) -> str:
        return f"<MongoDBStorage {self._database.place}, {self._database.name}>"

    # -- reading ------------------------------------------------------------------------------

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        with self._database.operation():
            documents = self._database.records[space].find(
                {"_id": {"$in": list(keys)}}, STORED, limit=len(keys), batch_size=len(keys)
            )
            found = {document["_id"]: _record(document) for document in documents}
        return [found.get(key) for key in keys]

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        wanted = [entry_id(*place) for place in places]
        with self._database.operation():
            documents = self._database.entries.find(
                {"_id": {"$in": wanted}}, _ENTRY, limit=len(wanted), batch_size=len(wanted)
            )
            found = {document["_id"]: document for document in documents}
        return [
            _id_of_entry(found.get(place), thread_id, seq)
            for place, (thread_id, seq) in zip(wanted, places, strict=True)
        ]

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
        condition: dict[str, Any] = {"thread": thread_id}
        if kinds is not None:
            condition["kind"] = {"$in": list(kinds)}
        direction = DESCENDING if newest else ASCENDING
        order = [("thread", direction), ("seq", direction)]

        def page(start: int, stop: int, count: int) -> list[Entry]:
            places = {"seq": {"$gte": start, "$lt": stop}}
            with self._database.operation():
                found = self._database.entries.find(
                    condition | places, _ENTRY, sort=order, limit=count, batch_size=count
                )
                return [decode_entry(document, thread_id, seq_of(document)) for document in found]

        return read_in_pages(page, start, stop, kinds=kinds, limit=limit, newest=newest)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        records: list[Record] = []
        last = after or ""
        while len(records) < limit:
            count = limit - len(records)
            keys = {"$gte": prefix, "$gt": last, "$lte": prefix + _AFTER_ALL}
            with self._database.operation():
                documents = list(
                    self._database.records[space]
                    .find({"_id": keys, "deleted": False}, STORED)
                    .sort("_id", ASCENDING)
                    .limit(count)
                    .batch_size(count)
                )
            records += (record for item in documents if isinstance(record := _record(item), Record))
            if len(documents) < count:
                break
            last = documents[-1]["_id"]
        return records

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        condition: dict[str, Any] = {"_id": {"$gt": after or ""}}
        if not tombstones:
            condition["deleted"] = {"$ne": True}
        with self._database.operation():
            documents = (
                self._database.records[space]
                .find(condition, {"_id": True})
                .sort("_id", ASCENDING)
                .limit(limit)
                .batch_size(limit)
            )
            return [document["_id"] for document in documents]

    def _inspect(self) -> Iterator[Finding]:
        for space, records in self._database.records.items():
            with self._database.operation():
                strange = list(records.find({"_id": {"$not": {"$type": "string"}}}, {"_id": True}))
            for document in strange:
                yield Finding("record", f"{space.value} {document['_id']!r}", "its _id is no text")

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        due: list[Due] = []
        with self._database.operation():
            for space, records in self._database.records.items():
                documents = records.find(
                    {"wake_at": {"$lte": before}},
                    {"wake_at": True},
                    sort=[("wake_at", ASCENDING)],
                    limit=limit,
                    batch_size=limit,
                )
                due += (
                    Due(space, item["_id"], item["wake_at"])
                    for item in documents
                    if isinstance(item["_id"], str)
                    and type(item["wake_at"]) is float
                    and math.isfinite(item["wake_at"])
                )
        return sorted(due, key=lambda item: item.wake_at)[:limit]

    # -- writing ------------------------------------------------------------------------------

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        with self._database.operation():
            return self._committer.commit(changes)

    def _vacuum(self, before: float) -> int:
        return vacuum(self._database, before)

    def _close(self) -> None:
        self._database.close()


_ENTRY = {"seq": True, "document": True, "checksum": True}


def _connected(url: str, timeout: float) -> MongoClient[Any]:
    try:
        return MongoClient(
            url,
            appname="torpor",
            connect=False,  # so that what is wrong with the servers is not taken for a bad URL
            connectTimeoutMS=timeout * 1000,
            serverSelectionTimeoutMS=timeout * 1000,
        )
    except (PyMongoError, ValueError, TypeError):  # whose text may repeat what is secret
        msg = (
            "not a URL of MongoDB: write mongodb://user:password@host:port/database, with what "
            "is special in user and password percent-encoded, and options that PyMongo knows"
        )
        raise ConfigurationError(msg) from None


def _database_in(client: MongoClient[Any]) -> str:
    return client.get_default_database(_DEFAULT_DATABASE).name


def _record(document: Mapping[str, Any]) -> Record | CorruptRecordError:
    found = decode_record(document)
    return found.record if isinstance(found, Stored) else found


def _id_of_entry(document: Mapping[str, Any] | None, thread_id: str, seq: int) -> str | None:
    """Return the id in an entry's document; none that any entry has, if it is broken."""
    if document is None:
        return None
    try:
        return str(decode_entry(document, thread_id, seq).id)
    except CorruptRecordError:
        return ""
