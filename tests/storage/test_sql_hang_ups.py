"""Agents on SQL servers that hang up on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proof.tally import Tally
from tests.storage.sql_kit import number_connections
from torpor import Runtime
from torpor.storage.sql import SQLStorage

if TYPE_CHECKING:
    from tests.places.sql import SQLServer

KEYS = [f"tally {number}" for number in range(5)]


def test_hung_up_connections_cost_nothing(sql_server: SQLServer) -> None:
    """The server closes every connection, again and again: agents go on (rule 3, rule 8)."""
    acknowledged = dict.fromkeys(KEYS, 0)
    with SQLStorage.from_url(sql_server.url) as storage, Runtime(storage) as runtime:
        storage.engine.dispose()
        connections = number_connections(storage)
        for round_ in range(8):
            replies = {
                key: [runtime.get(Tally, key).submit(Tally.add) for _ in range(5)] for key in KEYS
            }
            sql_server.hang_up(connections)
            for key, some in replies.items():
                numbers = [reply.get() for reply in some]
                assert numbers == list(range(5 * round_ + 1, 5 * round_ + 6))
                acknowledged[key] = numbers[-1]
        assert len(connections) >= 4

    with Runtime(sql_server.url) as runtime:
        for key, number in acknowledged.items():
            assert runtime.get(Tally, key).ask(Tally.history) == list(range(1, number + 1))
