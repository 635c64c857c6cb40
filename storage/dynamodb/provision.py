"""See that the table is there and is Torpor's, or make it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torpor.storage.codec import UNDECODABLE
from torpor.storage.dynamodb.errors import code_of
from torpor.storage.dynamodb.items import FORMAT, TABLE_KEY, number, place
from torpor.storage.errors import (
    ConfigurationError,
    SchemaVersionError,
    StorageUnavailableError,
)
from torpor.storage.retry import backoff

if TYPE_CHECKING:
    from torpor.storage.dynamodb.table import Table

__all__ = ["open_table"]

_KEY_SCHEMA = {"pk": ("HASH", "S"), "sk": ("RANGE", "S")}
_CREATION_SECONDS = 60.0


def open_table(table: Table, *, create: bool) -> None:
    """See that ``table`` can be used, or create it, whoever else does at the same time.

    A new table takes seconds until it can be used, up to a minute of which this waits.
    Raises ``ConfigurationError`` if it is missing or made for something else,
    ``SchemaVersionError`` if a newer version made it.
    """
    description = _describe(table, create=create)
    found = {
        part["AttributeName"]: (
            part["KeyType"],
            next(
                a["AttributeType"]
                for a in description["AttributeDefinitions"]
                if a["AttributeName"] == part["AttributeName"]
            ),
        )
        for part in description["KeySchema"]
    }
    if found != _KEY_SCHEMA:
        msg = f"{table.place} is not Torpor's: it needs the text keys pk (HASH) and sk (RANGE)"
        raise ConfigurationError(msg)
    _require_format(table)


def _describe(table: Table, *, create: bool) -> dict[str, Any]:
    end = time.monotonic() + _CREATION_SECONDS
    polls = 0
    while True:
        try:
            description = table.call("describe_table", table.deadline())["Table"]
        except ConfigurationError as error:
            if not (create and _is_missing(error)):
                raise
            _create(table)
        else:
            if description["TableStatus"] in {"ACTIVE", "UPDATING"}:
                return dict(description)
        if time.monotonic() > end:
            msg = f"{table.place} is not ready after {_CREATION_SECONDS:.0f} seconds"
            raise StorageUnavailableError(msg)
        polls += 1
        time.sleep(backoff(polls))


def _create(table: Table) -> None:
    """Create the table, unless somebody else has just done so."""
    table.call(
        "create_table",
        table.deadline(),
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": type_}
            for name, (_, type_) in _KEY_SCHEMA.items()
        ],
        KeySchema=[
            {"AttributeName": name, "KeyType": role} for name, (role, _) in _KEY_SCHEMA.items()
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def _is_missing(error: ConfigurationError) -> bool:
    cause = error.__cause__
    return isinstance(cause, Exception) and code_of(cause) == "ResourceNotFoundException"


def _require_format(table: Table) -> None:
    deadline = table.deadline()
    item = table.get_all([TABLE_KEY], deadline).get(TABLE_KEY)
    if item is None:
        mark = {**place(TABLE_KEY), "format": number(FORMAT)}
        table.put_if(mark, deadline, change=None)
        return
    try:
        found = int(item["format"]["N"])
    except UNDECODABLE as error:
        msg = f"{table.place} does not tell its format: {error!r}"
        raise ConfigurationError(msg) from error
    if found > FORMAT:
        raise SchemaVersionError(table.place, found=found, supported=FORMAT)
