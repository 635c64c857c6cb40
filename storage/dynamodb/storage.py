"""Checkpoints and threads in one DynamoDB table, by boto3."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from torpor.storage.base import Storage
from torpor.storage.dynamodb.commit import apply_changes
from torpor.storage.dynamodb.entries import read_entries, read_entry_ids
from torpor.storage.dynamodb.listing import list_due, list_keys, list_records
from torpor.storage.dynamodb.provision import open_table
from torpor.storage.dynamodb.stored import Stored, load
from torpor.storage.dynamodb.table import Table
from torpor.storage.dynamodb.vacuum import vacuum
from torpor.storage.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from torpor.storage.records import Change, Due, Entry, Outcome, Record, Space

__all__ = ["DynamoDBStorage"]

_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_SWITCH = {"true": True, "1": True, "false": False, "0": False}
_URL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "region": str,
    "endpoint_url": str,
    "create": lambda value: _SWITCH[value.lower()],
    "timeout": float,
    "concurrency": int,
}


class DynamoDBStorage(Storage):
    """Everything in one table with the text keys ``pk`` (partition) and ``sk`` (sort).

    ``table`` is its name. ``region`` and ``endpoint_url`` are boto3's, as are the credentials:
    environment, profile or role. ``client`` is a low-level client of your own
    (``boto3.client("dynamodb")``), which stays yours, its time limits and retries too.
    ``create``: make the table if it is missing, on demand and without further settings.

    ``timeout``: seconds that an operation may wait, then ``StorageUnavailableError``; a request
    gets half of it. ``concurrency``: most requests at once of those that make up a batch: there
    is no batch of conditional writes in DynamoDB, so each change of a batch is a request.

    Reads are strongly consistent. A change is one conditional write of one item, however many
    entries it has: what is too large for that item is written before, piece by piece, and cannot
    be seen until then. Listings are ordered by key. What is stored: ``torpor.storage.dynamodb
    .items``. What is saved is on several machines' disks when ``commit`` returns; a global
    table's other regions see it later, so all writers of an agent belong in one region.
    """

    name: ClassVar[str] = "dynamodb"
    max_document_bytes = 16 * 1024 * 1024

    def __init__(  # noqa: PLR0913 - all but the first are keywords
        self,
        table: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        create: bool = False,
        timeout: float = 5.0,
        concurrency: int = 16,
        client: Any = None,
    ) -> None:
        """See that the table can be used, or create it.

        Raises ``ConfigurationError`` for what can't work: no such table, no region, no or wrong
        credentials; ``MissingDriverError``; ``SchemaVersionError`` for a table of a newer
        version; ``StorageUnavailableError`` if nobody answers within ``timeout``.
        """
        super().__init__()
        if not isinstance(table, str) or not _TABLE_NAME.fullmatch(table):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"a table has a name of 3 to 255 letters, digits, _, - and ., not {table!r}"
            raise ConfigurationError(msg)
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            msg = f"timeout is a number of seconds above 0, not {timeout}"
            raise ConfigurationError(msg)
        if concurrency < 1:
            msg = f"concurrency is at least 1, not {concurrency}"
            raise ConfigurationError(msg)
        if client is not None and (region is not None or endpoint_url is not None):
            msg = "region and endpoint_url are the client's own, if you pass one"
            raise ConfigurationError(msg)
        self.timeout = timeout
        self._table = Table(
            table,
            client=client,
            region=region,
            endpoint_url=endpoint_url,
            timeout=timeout,
            concurrency=concurrency,
        )
        try:
            open_table(self._table, create=create)
        except BaseException:
            self._close()
            raise
        self._table.opening = False

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open ``dynamodb://table?region=…&endpoint_url=…&create=true``. ``options`` win."""
        parts = urlsplit(url)
        if parts.path.strip("/") or parts.fragment or "@" in parts.netloc:
            msg = (
                "write dynamodb://table?region=…; credentials are boto3's: environment, profile"
                " or role"
            )
            raise ConfigurationError(msg)
        try:
            in_url = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
            given = {name: _URL_OPTIONS[name](value) for name, value in in_url.items()}
        except (ValueError, KeyError) as error:
            msg = f"dynamodb://{parts.netloc}: the URL has no such option or value: {error}"
            raise ConfigurationError(msg) from error
        try:
            return cls(parts.netloc, **{**given, **options})
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            msg = f"dynamodb://{parts.netloc}: {error}"
            raise ConfigurationError(msg) from error

    @property
    def table(self) -> str:
        """The name of the table."""
        return self._table.name

    @property
    def client(self) -> Any:
        """The client in use; its ``meta.events`` tell of each request, for telemetry."""
        return self._table.client

    def __repr__(self) -> str:
        return f"<DynamoDBStorage {self._table.name!r}>"

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | StorageError | None]:
        found = load(self._table, space, keys, self._table.deadline())
        return [
            stored.record if isinstance(stored, Stored) else stored
            for stored in (found.get(key) for key in keys)
        ]

    def _read_entry_ids(self, places: Sequence[tuple[str, int]]) -> Sequence[str | None]:
        return read_entry_ids(self._table, places)

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
        return read_entries(
            self._table, thread_id, start, stop, kinds=kinds, limit=limit, newest=newest
        )

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return apply_changes(self._table, changes)

    def _list(self, space: Space, prefix: str, after: str | None, limit: int) -> Sequence[Record]:
        return list_records(self._table, space, prefix, after, limit)

    def _list_keys(
        self, space: Space, after: str | None, limit: int, *, tombstones: bool
    ) -> Sequence[str]:
        return list_keys(self._table, space, after, limit, tombstones=tombstones)

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        return list_due(self._table, before, limit)

    def _vacuum(self, before: float) -> int:
        return vacuum(self._table, before)

    def _close(self) -> None:
        self._table.close()
