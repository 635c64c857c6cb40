"""See that a place can be used, and what it promises, before it is."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from torpor.storage import codec
from torpor.storage.errors import ConfigurationError, SchemaVersionError
from torpor.storage.redis.durability import Durability
from torpor.storage.redis.layout import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.storage.redis.layout import Layout
    from torpor.storage.redis.server import Server

__all__ = ["FORMAT_VERSION", "open_place"]

FORMAT_VERSION = 1

_OLDEST = (6, 2)  # the first that trims a stream by id
_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")
_LIMIT = "proto-max-bulk-len"
_USUAL_LIMIT = 512 * 1024 * 1024
_ROOM = 64 * 1024  # beside the data of a record

_log = logging.getLogger("torpor.storage.redis")


def open_place(server: Server, layout: Layout) -> tuple[Durability, int]:
    """Return what a store's server keeps, and the bytes that a document may have.

    Makes the store if it is not there. Logs a warning if the server keeps too little.
    """
    info: Mapping[str, Any] = server.ask_if_allowed("INFO") or {}
    version = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version", "")))
    if version and tuple(map(int, version.groups())) < _OLDEST:
        msg = f"{server.place}: Redis {info['redis_version']} is too old, 6.2 is the first to do"
        raise ConfigurationError(msg)
    _require_format(server, layout)
    server.load_scripts()
    config = _config(server)
    durability = Durability.of(info, config)
    for warning in durability.warnings():
        _log.warning("%s: %s", server.place, warning)
    return durability, int(config.get(_LIMIT, _USUAL_LIMIT)) - _ROOM


def _require_format(server: Server, layout: Layout) -> None:
    mine = json.dumps({"format": FORMAT_VERSION, "partitions": PARTITIONS})
    [found] = server.run([("GET", layout.format)])
    if found is None:
        server.run([("SET", layout.format, mine, "NX")])
        [found] = server.run([("GET", layout.format)])
    place = f"{server.place}, {layout.format.decode()}"
    try:
        document = codec.loads(found.decode())
        version, partitions = int(document["format"]), int(document["partitions"])
    except codec.UNDECODABLE as error:
        msg = f"{place} is not Torpor's; choose another prefix"
        raise ConfigurationError(msg) from error
    if version > FORMAT_VERSION:
        raise SchemaVersionError(place, found=version, supported=FORMAT_VERSION)
    if partitions != PARTITIONS:
        msg = f"{place} has {partitions} partitions, this code {PARTITIONS}"
        raise ConfigurationError(msg)


def _config(server: Server) -> dict[str, str]:
    """Return what the server tells of its configuration; managed ones tell nothing."""
    config: dict[str, str] = {}
    for name in (*_SETTINGS, _LIMIT):
        found = server.ask_if_allowed("CONFIG GET", name)
        if found is None:
            break
        config |= {_text(setting): _text(value) for setting, value in found.items()}
    return config


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
