"""Durable messages that were given up: kept in an agent's record until somebody looks.

Those of all agents are found by an index: a record ``$dead/<address>`` is written before the
letter is, so a finder never misses one, and verifies each hit.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torpor.address import side_key
from torpor.events import MessageDied
from torpor.storage import Record
from torpor.storage.errors import (
    CorruptRecordError,
    InvalidKeyError,
    StorageError,
    WorkersExhaustedError,
)
from torpor.storage.keys import validate_key
from torpor.system import SystemState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Checkpoint, Storage
    from torpor.system import DeadMessage
    from torpor.transaction import TransactionalActor

__all__ = ["bury", "dead_letters_of", "list_dead_letters"]

logger = logging.getLogger("torpor")

PLACE = "dead"
MAX_DEAD = 1000
"""Most dead letters in one record. Beyond it messages are not given up, but go on waiting."""


def bury(actor: TransactionalActor, letter: DeadMessage) -> bool:
    """Keep ``letter`` among the dead in the running turn; False if that is not possible now."""
    state = actor.runtime_state()
    if len(state.contents.dead) >= MAX_DEAD:
        return False
    storage = actor.manager.storage
    try:
        with actor.manager.pool.blocking(actor.address):
            storage.put_checkpoint(side_key(PLACE, actor.address), {"agent": actor.address})
    except (StorageError, WorkersExhaustedError) as error:
        logger.warning("%s: no dead letter can be kept now: %s", actor.address, error)
        return False
    state.edit().dead[letter.id] = letter
    logger.error("%s: given up: %s", letter.target, letter.error)
    actor.manager.tell_event(MessageDied(actor.address, letter.target, letter.id, letter.error))
    return True


def dead_letters_of(storage: Storage, address: str) -> list[DeadMessage]:
    """Return the dead letters in an agent's record, oldest first, without waking the agent."""
    [found] = storage.read([address])
    if isinstance(found, StorageError):
        raise found
    state = SystemState.detach(found)[0] if isinstance(found, Record) else None
    return list(state.contents.dead.values()) if state is not None else []


def _address(hit: Checkpoint) -> str:
    try:
        return validate_key(hit.value["agent"])
    except (TypeError, LookupError, InvalidKeyError) as error:
        raise CorruptRecordError(hit.key, f"it names no agent: {error!r}") from error


def list_dead_letters(storage: Storage) -> Iterator[tuple[str, DeadMessage]]:
    """Yield every dead letter of a store with the address of the agent that keeps it."""
    cursor: str | None = None
    while True:
        page = storage.list_checkpoints(side_key(PLACE, ""), cursor=cursor)
        for hit in page:
            checkpoint = storage.get_checkpoint(hit.key)
            if checkpoint is not None:
                address = _address(checkpoint)
                for letter in dead_letters_of(storage, address):
                    yield address, letter
        cursor = page.cursor
        if cursor is None:
            return
