"""What PyMongo's errors and MongoDB's error codes mean, in one table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pymongo import errors

from torpor.storage.errors import (
    RecordTooLargeError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.meanings import Meaning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torpor.storage.errors import TorporError

__all__ = ["DUPLICATE_KEY", "refusal", "translate", "write_errors"]

DUPLICATE_KEY = 11000
_TOO_LARGE = frozenset({10334, 17419, 17420})


_LOST = Meaning(StorageUnavailableError, "the server cannot be reached, or hung up")
_TOO_SLOW = Meaning(StorageUnavailableError, "the server did not answer in time")
_NOT_PRIMARY = Meaning(StorageUnavailableError, "no primary takes writes just now")
_UNCONFIRMED = Meaning(
    StorageUnavailableError, "too few members confirmed the write in time; it may stand"
)
_RACE = Meaning(StorageUnavailableError, "met another writer")
_FULL = Meaning(StorageFullError, "no space is left on the server")
_REFUSED = Meaning(StorageError, "user or password is wrong, or may not do this", permanent=True)
_CONCERN = Meaning(
    StorageError, "the servers cannot give the write or read concern", permanent=True
)
_UNKNOWN = Meaning(StorageError, "the server could not do it")

# The names are those of MongoDB's src/mongo/base/error_codes.yml.
_MEANINGS: dict[int | None, Meaning] = {
    6: _LOST,  # HostUnreachable
    7: _LOST,  # HostNotFound
    9: Meaning(StorageError, "the server does not know the command", permanent=True),
    11: _REFUSED,  # UserNotFound
    13: _REFUSED,  # Unauthorized
    18: _REFUSED,  # AuthenticationFailed
    24: _TOO_SLOW,  # LockTimeout
    46: _TOO_SLOW,  # LockBusy
    50: _TOO_SLOW,  # MaxTimeMSExpired
    64: _UNCONFIRMED,  # WriteConcernTimeout
    79: _CONCERN,  # UnknownReplWriteConcern
    89: _TOO_SLOW,  # NetworkTimeout
    91: _LOST,  # ShutdownInProgress
    100: _CONCERN,  # UnsatisfiableWriteConcern
    112: _RACE,  # WriteConflict
    133: _NOT_PRIMARY,  # FailedToSatisfyReadPreference
    134: _TOO_SLOW,  # ReadConcernMajorityNotAvailableYet
    148: _CONCERN,  # ReadConcernMajorityNotEnabled
    189: _NOT_PRIMARY,  # PrimarySteppedDown
    202: _TOO_SLOW,  # NetworkInterfaceExceededTimeLimit
    262: _TOO_SLOW,  # ExceededTimeLimit
    317: _LOST,  # ConnectionPoolExpired
    365: _LOST,  # TemporarilyUnavailable
    462: _LOST,  # IngressRequestRateLimitExceeded
    8000: _REFUSED,  # AtlasError
    9001: _LOST,  # SocketException
    10107: _NOT_PRIMARY,  # NotWritablePrimary
    11600: _LOST,  # InterruptedAtShutdown
    11602: _NOT_PRIMARY,  # InterruptedDueToReplStateChange
    13435: _NOT_PRIMARY,  # NotPrimaryNoSecondaryOk
    13436: _NOT_PRIMARY,  # NotPrimaryOrSecondary
    14031: _FULL,  # OutOfDiskSpace
}

_KINDS: dict[type[errors.PyMongoError], Meaning] = {
    errors.NotPrimaryError: _NOT_PRIMARY,
    errors.ServerSelectionTimeoutError: _LOST,
    errors.WaitQueueTimeoutError: Meaning(
        StorageUnavailableError, "every connection of the client's pool was in use all the time"
    ),
    errors.NetworkTimeout: _TOO_SLOW,
    errors.ConnectionFailure: _LOST,
    errors.ConfigurationError: Meaning(
        StorageError, "the servers cannot be found, or not be used like this", permanent=True
    ),
}


def translate(error: errors.PyMongoError, place: str, *, opening: bool = False) -> TorporError:
    """Return Torpor's error for what PyMongo raised at ``place``."""
    meaning = _meaning_of(error)
    kind = meaning.error_class(opening=opening)
    return kind(f"{place}: {meaning.what}: {_text(error)}")


def refusal(  # noqa: PLR0913 - as many facts
    code: int, text: str, place: str, key: str, *, size: int, limit: int
) -> StorageError:
    """Return why the document of ``key``, and no other of its batch, was not written.

    Raises what passes by itself: then the batch is to be sent again.
    """
    if code in _TOO_LARGE:
        return RecordTooLargeError(key, size=size, limit=limit)
    meaning = _MEANINGS.get(code, _UNKNOWN)
    error = meaning.error(f"{place}: {meaning.what}: {text}")
    if isinstance(error, StorageUnavailableError):
        raise error
    return error


def write_errors(error: errors.BulkWriteError) -> Iterator[tuple[int, int, str]]:
    """Yield number of the operation, code and text of each that failed by itself.

    Raises ``error`` itself if the rest of the batch is not sure to be as durable as it should.
    """
    details: Mapping[str, Any] = error.details or {}
    if details.get("writeConcernErrors") or not details.get("writeErrors"):
        raise error
    for found in details["writeErrors"]:
        yield found["index"], found["code"], found.get("errmsg", "")


def _meaning_of(error: errors.PyMongoError) -> Meaning:
    if isinstance(error, errors.OperationFailure):
        retryable = error.has_error_label("RetryableWriteError")
        return _MEANINGS.get(_code(error)) or (_LOST if retryable else _UNKNOWN)
    for kind, meaning in _KINDS.items():
        if isinstance(error, kind):
            return meaning
    return _TOO_SLOW if error.timeout else _UNKNOWN


def _code(error: errors.OperationFailure) -> int | None:
    if isinstance(error, errors.BulkWriteError):
        return next((failure["code"] for failure in _failures(error)), None)
    return error.code


def _failures(error: errors.BulkWriteError) -> list[Mapping[str, Any]]:
    details: Mapping[str, Any] = error.details or {}
    found: list[Mapping[str, Any]] = [
        *details.get("writeConcernErrors", ()),
        *(item for item in details.get("writeErrors", ()) if item["code"] != DUPLICATE_KEY),
    ]
    return found


def _text(error: errors.PyMongoError) -> str:
    """Return what the server or the driver says, without the documents that it may repeat."""
    if isinstance(error, errors.BulkWriteError):
        return "; ".join(str(item.get("errmsg", item["code"])) for item in _failures(error)[:3])
    if isinstance(error, errors.OperationFailure):
        details: Mapping[str, Any] = error.details or {}
        return str(details.get("errmsg", f"code {error.code}"))
    return re.split(r", Timeout:|, full error:| \(configured timeouts:", str(error))[0]
