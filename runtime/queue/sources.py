"""Who has published what: how a topic stores each message of an agent once.

A topic's record holds a mark for each source, the number of its newest message, which commits
with the event. An agent's mark is needed only while the agent may send that message again, which
is while its outbox holds it. So a topic prunes marks of agents whose outbox does not, and a
message from an agent without a mark is published only if its outbox holds it.

That is exact: who publishes reads first the topic, then the outbox, and then compares the topic's
revision. Was the message published before that revision, and its mark pruned, then whoever pruned
it had seen that the outbox does not hold it, and an outbox never holds a number again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.storage.errors import StorageError
from torpor.storage.retry import retrying
from torpor.system import SystemState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from torpor.storage import Record, Storage

__all__ = ["MAX_SOURCES", "agent_source", "held_by", "is_agent", "pruned"]

MAX_SOURCES = 256
"""How many marks a topic may have before, of the longer silent half, those of agents that are no
longer needed go, and all those of other sources."""

_AGENT = "$agent "


def agent_source(sender: str, life: str) -> str:
    """Return the name of an agent, in one of its lives, as a source."""
    return f"{_AGENT}{life} {sender}"


def is_agent(source: str) -> bool:
    """Return whether a source is an agent."""
    return source.startswith(_AGENT)


def held_by(storage: Storage, sources: Collection[str]) -> dict[str, Collection[int]]:
    """Return the numbers of the messages that the outbox of each of these agents holds now."""
    if not sources:
        return {}
    named = {source: source.split(" ", 2)[2:] for source in sources}
    senders = {source: name for source, names in named.items() for name in names}
    addresses = sorted(set(senders.values()))
    found = retrying()(storage.read, addresses)
    records = dict(zip(addresses, found, strict=True))
    return {source: _held(source, records[sender]) for source, sender in senders.items()}


def pruned(storage: Storage, sources: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return the marks to keep of those that there are; the longest silent come first."""
    if len(sources) <= MAX_SOURCES:
        return dict(sources)
    old = list(sources)[: -MAX_SOURCES // 2]
    held = held_by(storage, [source for source in old if is_agent(source)])
    needless = {source for source in old if _needless(sources[source][0], held.get(source, ()))}
    return {source: mark for source, mark in sources.items() if source not in needless}


def _needless(number: int, held: Iterable[int]) -> bool:
    return all(waiting > number for waiting in held)


def _held(source: str, record: Record | StorageError | None) -> Collection[int]:
    if isinstance(record, StorageError):
        raise record
    state = SystemState.detach(record)[0] if record is not None else None
    if state is None or source.split(" ", 2)[1] != state.life:
        return ()
    return state.contents.outbox.keys()
