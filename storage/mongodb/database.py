"""The collections of a MongoDB store, how they are read and written, and for how long."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymongo
from bson.codec_options import CodecOptions
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from torpor.storage.errors import ConfigurationError, CorruptRecordError
from torpor.storage.mongodb.errors import translate, write_errors
from torpor.storage.records import Space

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pymongo import DeleteMany, DeleteOne, InsertOne, MongoClient, ReplaceOne
    from pymongo.collection import Collection

__all__ = ["Database", "Document", "write_unordered"]

Document = dict[str, Any]

_MAJORITY = "majority"
# What is broken must not hide its neighbours; its checksum will tell.
_CODEC: CodecOptions[Document] = CodecOptions(unicode_decode_error_handler="surrogateescape")


class Database:
    """Four collections, in operations of bounded length with errors of Torpor's own.

    Whatever the client's settings: reads go to the primary, and see what a majority of the
    servers has (a read that shows what a new primary may not know could answer a resend with
    "saved" and be wrong). Writes are acknowledged by a majority that has them in its journal,
    unless the client says otherwise; then reads see what the primary has.
    """

    def __init__(  # noqa: PLR0913 - keywords: one of each
        self,
        client: MongoClient[Any],
        *,
        place: str,
        name: str,
        prefix: str,
        timeout: float,
        owned: bool,
    ) -> None:
        self.client = client
        self.place = place
        self.opening = True
        """Until it is known that the database can be used: what is missing is to be configured."""
        self.timeout = timeout
        self._owned = owned
        concern = client.write_concern
        if concern.is_server_default:
            concern = WriteConcern(_MAJORITY, j=True)
        if not concern.acknowledged:
            msg = f"{place}: the write concern w=0 tells nobody what was saved: choose another"
            raise ConfigurationError(msg)
        majority = concern.document.get("w") == _MAJORITY
        database = client.get_database(
            name,
            codec_options=_CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=concern,
            read_concern=ReadConcern(_MAJORITY if majority else "local"),
        )
        self.name = database.name
        self.records: dict[Space, Collection[Document]] = {
            space: database[f"{prefix}{space.value}"] for space in Space
        }
        self.entries: Collection[Document] = database[f"{prefix}entries"]
        self.schema: Collection[Document] = database[f"{prefix}schema"]
        self.newest_entries = self.entries.with_options(read_concern=ReadConcern("local"))
        """The same entries as they are at this moment, confirmed by a majority or not."""

    @contextmanager
    def operation(self, timeout: float | None = None) -> Generator[None]:
        """Bound all that is done within, by ``timeout`` or the storage's; translate errors."""
        with self.translated(), pymongo.timeout(timeout or self.timeout):
            yield

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise Torpor's errors in place of PyMongo's."""
        try:
            yield
        except PyMongoError as error:
            raise translate(error, self.place, opening=self.opening) from error
        except UnicodeEncodeError as error:  # by a key that was read here, and is damaged
            raise CorruptRecordError(self.place, f"a key has no UTF-8 form: {error}") from error

    def close(self) -> None:
        """Close the client, if it is ours."""
        if self._owned:
            self.client.close()


def write_unordered(
    collection: Collection[Document],
    writes: Sequence[InsertOne[Any] | ReplaceOne[Any] | DeleteOne | DeleteMany],
) -> list[tuple[int, int, str]]:
    """Do ``writes`` in any order; return number, code and text of each that failed by itself."""
    try:
        collection.bulk_write(list(writes), ordered=False)
    except BulkWriteError as error:
        return list(write_errors(error))
    return []
