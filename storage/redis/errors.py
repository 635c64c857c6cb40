"""What the errors of Redis mean, in one table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from redis import exceptions as driver

from torpor.storage.errors import (
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.meanings import Meaning

if TYPE_CHECKING:
    from torpor.storage.errors import TorporError

__all__ = ["DRIVER_ERRORS", "is_wrong_type", "translate"]

DRIVER_ERRORS = (driver.RedisError, driver.RedisClusterException)


_LOST = Meaning(StorageUnavailableError, "the server cannot be reached, or hung up")
_BUSY = Meaning(StorageUnavailableError, "every connection of the pool was in use all the time")
_SLOW = Meaning(StorageUnavailableError, "the server did not answer in time")
_NOT_NOW = Meaning(StorageUnavailableError, "the server cannot do it now")
_READ_ONLY = Meaning(StorageUnavailableError, "the server is a replica, which can only be read")
_FULL = Meaning(StorageFullError, "the server has reached its maxmemory")
_REFUSED = Meaning(StorageError, "user or password is wrong, or may not do this", permanent=True)
_FOREIGN = Meaning(StorageError, "another program has a key of this prefix", permanent=True)
_UNKNOWN = Meaning(StorageError, "the server could not do it", permanent=True)

# The first that fits; a subclass stands before its base.
_BY_CLASS: tuple[tuple[type[Exception], Meaning], ...] = (
    (driver.AuthenticationError, _REFUSED),
    (driver.AuthorizationError, _REFUSED),
    (driver.NoPermissionError, _REFUSED),
    (driver.AuthenticationWrongNumberOfArgsError, _REFUSED),
    (driver.MaxConnectionsError, _BUSY),
    (driver.BusyLoadingError, _NOT_NOW),
    (driver.ClusterDownError, _NOT_NOW),
    (driver.TryAgainError, _NOT_NOW),
    (driver.ReadOnlyError, _READ_ONLY),
    (driver.OutOfMemoryError, _FULL),
    (driver.TimeoutError, _SLOW),
    (driver.ConnectionError, _LOST),
    (driver.RedisClusterException, _LOST),
)
# Of what redis-py has no class for: the server's code, which stands first, but within the text
# if Redis 6 tells why a script failed.
_BY_CODE = {
    "BUSY": _NOT_NOW,
    "MISCONF": _NOT_NOW,  # it cannot write its disk
    "NOREPLICAS": _NOT_NOW,
    "OOM": _FULL,
    "READONLY": _READ_ONLY,
    "WRONGTYPE": _FOREIGN,
}
_CODE = re.compile(rf"(?:^|[ -])({'|'.join(_BY_CODE)}) ")


def translate(error: Exception, place: str, *, opening: bool = False) -> TorporError:
    """Return Torpor's error for what redis-py raised, or got as an answer, at ``place``."""
    meaning = _meaning_of(error)
    kind = meaning.error_class(opening=opening)
    translated = kind(f"{place}: {meaning.what}: {error}")
    translated.__cause__ = error
    return translated


def is_wrong_type(reply: object) -> bool:
    """Tell whether a reply says that a key holds what Torpor does not put there."""
    return isinstance(reply, driver.ResponseError) and _meaning_of(reply) is _FOREIGN


def _meaning_of(error: Exception) -> Meaning:
    text = str(error)
    if text.startswith("No connection available"):  # BlockingConnectionPool's
        return _BUSY
    for kind, meaning in _BY_CLASS:
        if isinstance(error, kind):
            return meaning
    code = _CODE.search(text)
    return _BY_CODE[code[1]] if code else _UNKNOWN
