"""What the errors of DynamoDB and of botocore mean, in one table.

Codes: "Error handling with DynamoDB" and "Common errors" in AWS's documentation.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torpor.storage.errors import (
    MissingDriverError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from torpor.storage.meanings import Meaning

__all__ = ["code_of", "driver", "translate"]


def driver(name: str) -> Any:
    """Import a module of boto3 or botocore, which has no types.

    Raises ``MissingDriverError`` if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        msg = (
            "dynamodb storage needs a driver that is not installed: pip install 'torpor[dynamodb]'"
        )
        raise MissingDriverError(msg) from error


_BUSY = Meaning(StorageUnavailableError, "takes no more requests for now")
_LOST = Meaning(StorageUnavailableError, "cannot be reached, or does not answer")
_FULL = Meaning(StorageFullError, "holds as much as it may")
_NO_TABLE = Meaning(
    StorageError,
    "does not exist: create it, pass create=True, or check name and region",
    permanent=True,
)
_REFUSED = Meaning(
    StorageError,
    "was not opened to these credentials: they are wrong, old, or may not do this",
    permanent=True,
)
_NO_CREDENTIALS = Meaning(
    StorageError,
    "needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role",
    permanent=True,
)
_INVALID = Meaning(StorageError, "does not take the request", permanent=True)
_UNKNOWN = Meaning(StorageError, "could not do it", permanent=True)

_CODES: dict[str, Meaning] = {
    "InternalServerError": _LOST,
    "ItemCollectionSizeLimitExceededException": _FULL,
    "LimitExceededException": _BUSY,
    "ProvisionedThroughputExceededException": _BUSY,
    "ReplicatedWriteConflictException": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "RequestTimeout": _LOST,
    "RequestTimeoutException": _LOST,
    "ResourceNotFoundException": _NO_TABLE,
    "ServiceUnavailable": _LOST,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequestsException": _BUSY,
    "TransactionConflictException": _BUSY,
    "TransactionInProgressException": _BUSY,
    "ValidationException": _INVALID,
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        _REFUSED,
    ),
}

# Classes of ``botocore.exceptions``, by name since the driver may be missing; the first one of a
# class's bases that stands here tells.
_CLASSES: dict[str, Meaning] = {
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "ProfileNotFound": _NO_CREDENTIALS,
    "SSOError": _NO_CREDENTIALS,
    "TokenRetrievalError": _NO_CREDENTIALS,
    "SSLError": Meaning(StorageError, "cannot be trusted", permanent=True),
    "ConnectionError": _LOST,
    "HTTPClientError": _LOST,
    "IncompleteReadError": _LOST,
    "ResponseStreamingError": _LOST,
    "ResponseParserError": _LOST,
}

_SERVER_ERROR = 500
_LONGEST_TEXT = 300


def code_of(error: Exception) -> str | None:
    """Return the code in the answer of DynamoDB, None if it did not answer."""
    response: Any = getattr(error, "response", None)
    return None if response is None else str(response.get("Error", {}).get("Code"))


def translate(error: Exception, place: str, *, opening: bool = False) -> Exception:
    """Return Torpor's error for what a client of ``place`` raised."""
    meaning = _meaning_of(error)
    text = (str(error).splitlines() or [""])[0][:_LONGEST_TEXT]
    kind = meaning.error_class(opening=opening)
    return kind(f"{place} {meaning.what}: {text or type(error).__name__}")


def _meaning_of(error: Exception) -> Meaning:
    code = code_of(error)
    if code is None:
        names = (base.__name__ for base in type(error).__mro__)
        return next((_CLASSES[name] for name in names if name in _CLASSES), _UNKNOWN)
    response: Any = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _CODES.get(code, _LOST if status >= _SERVER_ERROR else _UNKNOWN)
