"""Make the collections of the MongoDB backend, or tell why they can't be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from torpor.storage.errors import ConfigurationError, SchemaVersionError

if TYPE_CHECKING:
    from torpor.storage.mongodb.database import Database

__all__ = ["SCHEMA_VERSION", "open_collections"]

SCHEMA_VERSION = 1

_STORE = "torpor"
_RECORD_INDEXES = (
    IndexModel([("wake_at", ASCENDING)], name="due", sparse=True),
    IndexModel([("updated_at", ASCENDING)], name="dead", partialFilterExpression={"deleted": True}),
)
_ENTRY_INDEXES = (IndexModel([("thread", ASCENDING), ("seq", ASCENDING)], name="place"),)


def open_collections(database: Database, *, create: bool) -> None:
    """See that the collections are there, or make them; others may do so at the same time.

    Raises ``ConfigurationError`` if they are missing, or tell keys apart by a collation, and
    ``SchemaVersionError`` if a newer version made them.
    """
    _require_binary_keys(database)
    if _is_there(database):
        return
    if not create:
        msg = (
            f"{database.place}: no collections of Torpor's in the database {database.name!r}, "
            "and create is false"
        )
        raise ConfigurationError(msg)
    for collection in database.records.values():
        collection.create_indexes(list(_RECORD_INDEXES))
    database.entries.create_indexes(list(_ENTRY_INDEXES))
    try:
        database.schema.insert_one({"_id": _STORE, "version": SCHEMA_VERSION})
    except DuplicateKeyError:
        _is_there(database)


def _is_there(database: Database) -> bool:
    found = database.schema.find_one({"_id": _STORE})
    if found is None:
        return False
    version = found.get("version")
    if type(version) is not int:
        msg = f"{database.place}: {database.schema.full_name} holds no version: {version!r}"
        raise ConfigurationError(msg)
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(database.place, found=version, supported=SCHEMA_VERSION)
    return True


def _require_binary_keys(database: Database) -> None:
    collections = [*database.records.values(), database.entries]
    names = [collection.name for collection in collections]
    for found in database.entries.database.list_collections(filter={"name": {"$in": names}}):
        options: dict[str, Any] = found.get("options", {})
        unfit = {"collation", "capped", "timeseries"} & options.keys()
        if found["type"] != "collection" or unfit:
            what = ", ".join(sorted(unfit)) or found["type"]
            msg = f"{database.place}: the collection {found['name']!r} cannot be used: {what}"
            raise ConfigurationError(msg)
