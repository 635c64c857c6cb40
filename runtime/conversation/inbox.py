"""All that waits for humans, of all agents of a class: what an inbox shows."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from torpor.address import prefix_of, split_address
from torpor.agent import spec_of
from torpor.conversation.state import Interrupt, Loop
from torpor.storage import Record, codec
from torpor.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.conversation.agent import ConversationAgent
    from torpor.storage import Storage

__all__ = ["Waiting", "pending_interrupts"]

_PAGE = 200


class Waiting(NamedTuple):
    """One interrupt, and the agent that waits: ``runtime.get(cls, key, partition=partition)``."""

    key: str
    partition: str | None
    interrupt: Interrupt


def pending_interrupts(
    storage: Storage,
    cls: type[ConversationAgent],
    *,
    partition: str | None = None,
    now: float | None = None,
) -> Iterator[Waiting]:
    """Yield what waits for a human, of every stored agent of ``cls``, asleep or not.

    Wakes nobody: it reads the checkpoints of the class (and ``partition``) page by page, in
    the order of the storage's listing, so its cost grows with the number of agents, not of
    messages. Interrupts that have expired (by ``now``, default the time of the call) are left
    out; so are agents whose checkpoint cannot be read. What is decided meanwhile may still be
    shown. For classes with the default ``checkpoint``.
    """
    at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    kind = spec_of(cls).kind
    prefixes = [prefix_of(kind, partition)]
    if partition is None:
        prefixes.append(f"{kind}@")
    for prefix in prefixes:
        cursor: str | None = None
        while True:
            page = retrying()(storage.list_checkpoints, prefix, cursor=cursor, limit=_PAGE)
            records = retrying()(storage.read, [record.key for record in page])
            for record in records:
                if isinstance(record, Record):
                    yield from _waiting(record, at)
            cursor = page.cursor
            if cursor is None:
                break


def _waiting(record: Record, at: datetime) -> Iterator[Waiting]:
    data = record.data or ""
    if not any(f'"state":"{state}"' in data for state in ("waiting", "unknown")):
        return  # like most agents: there is nothing to decode
    try:
        state: Any = codec.loads(data)
        interrupts = Loop.model_validate(state.get("loop", {})).interrupts()
    except codec.UNDECODABLE:
        return  # the agent itself could not be thawed
    _, partition, key = split_address(record.key)
    for interrupt in interrupts:
        if interrupt.expires_at is None or interrupt.expires_at > at:
            yield Waiting(key, partition, interrupt)
