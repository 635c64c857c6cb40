"""The client of a server that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["client_of_url", "options_of_url", "place_of", "require_usable"]

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_BYTES_AT_ONCE = 1024 * 1024
_OPTIONS: dict[str, Callable[[str], Any]] = {
    "prefix": str,
    "ttl": float,
    "timeout": float,
    "pool_size": int,
}


def options_of_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return ``url`` without the storage's own options in its query, and those."""
    parts = _split(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    others = urlencode([(name, value) for name, value in query if name not in _OPTIONS])
    try:
        options = {name: _OPTIONS[name](value) for name, value in query if name in _OPTIONS}
    except ValueError as error:
        msg = f"{_place(parts)}: an option in the URL has no such value: {error}"
        raise ConfigurationError(msg) from error
    return parts._replace(query=others).geturl(), options


def client_of_url(url: str, *, timeout: float, pool_size: int) -> Redis:
    """Return a client, not connected yet.

    A quarter of ``timeout`` is for a free connection of the pool, a quarter to connect, a half
    for an answer. Nothing is sent twice: whoever calls the storage decides about that.
    """
    parts = _split(url)
    database = parts.path.strip("/")
    if parts.scheme not in _SCHEMES or (parts.scheme != "unix" and not parts.netloc):
        msg = "not a URL of Redis: write redis://host:6379/0, rediss://… or unix:///path"
        raise ConfigurationError(msg)
    if parts.scheme != "unix" and database and not database.isdecimal():
        msg = f"{_place(parts)}: a database of Redis is a number, not {database!r}"
        raise ConfigurationError(msg)
    try:
        pool = _loose(BlockingConnectionPool).from_url(
            parts._replace(scheme=_SCHEMES[parts.scheme]).geturl(),
            max_connections=pool_size,
            timeout=timeout / 4,
            socket_connect_timeout=timeout / 4,
            socket_timeout=timeout / 2,
            retry=Retry(NoBackoff(), 0),
        )
        pool.connection_class = _sending_at_once(pool.connection_class)
        pool.connection_class(**pool.connection_kwargs)  # which sees what is no option of it
    except (TypeError, ValueError) as error:
        msg = f"{_place(parts)}: the driver does not take these options: {error}"
        raise ConfigurationError(msg) from None
    return Redis.from_pool(pool)


def require_usable(client: object) -> None:
    """Raise ``ConfigurationError`` unless ``client`` is one that the storage can use."""
    if not isinstance(client, Redis | RedisCluster):
        msg = f"a Redis storage takes a URL, a redis.Redis or a redis.RedisCluster, not {client!r}"
        raise ConfigurationError(msg)
    if client.get_encoder().decode_responses:
        msg = "this client decodes what it reads: make it with decode_responses=False"
        raise ConfigurationError(msg)


def place_of(client: Any) -> str:
    """Return where a client's server is, without secrets."""
    if isinstance(client, RedisCluster):
        return f"redis cluster at {_loose(client).get_default_node().name}"
    options = client.get_connection_kwargs()
    database = options.get("db") or 0
    if "path" in options:
        return f"unix://{options['path']}?db={database}"
    return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{database}"


def _sending_at_once(kind: Any) -> type[Any]:
    """Return a kind of connection that hands a pipeline to the system in few calls.

    Between two calls another thread may take the interpreter, and be slow to give it back.
    """

    def pack_commands(self: Any, commands: Any) -> list[bytes]:
        pieces: list[list[bytes]] = [[]]
        size = 0
        for piece in kind.pack_commands(self, commands):
            size += len(piece)
            if size > _BYTES_AT_ONCE:
                pieces.append([])
                size = len(piece)
            pieces[-1].append(piece)
        return [b"".join(some) for some in pieces]

    return type(kind.__name__, (kind,), {"pack_commands": pack_commands})


def _loose(thing: Any) -> Any:
    """Return what the driver has not typed in full."""
    return thing


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # whose text may repeat the password
        msg = "not a URL of Redis: write redis://user:password@host:6379/0, percent-encoded"
        raise ConfigurationError(msg) from None
    return parts


def _place(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
