"""Manual hibernate and thaw, on a bare storage: copies of agents outside of any runtime."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from torpor import persist
from torpor.address import address_of
from torpor.clock import SystemClock
from torpor.storage import Change, Conflict, Put, Rejected, Storage, ThreadHead
from torpor.storage.errors import ConflictError, InvalidKeyError, StorageError
from torpor.storage.retry import retrying
from torpor.thread import AgentThread

if TYPE_CHECKING:
    from torpor.agent import Agent

__all__ = ["hibernate", "thaw"]

A = TypeVar("A", bound="Agent")


class _DetachedHost:
    """Where a copy lives that no runtime runs: it remembers what it was thawed from."""

    def __init__(
        self, storage: Storage, address: str, agent_id: str, rev: int, head: ThreadHead | None
    ) -> None:
        self.agent_id = agent_id
        self.address = address
        self.rev = rev
        self.agent_thread = AgentThread(storage, SystemClock(), address, head)

    @property
    def agent_ref(self) -> NoReturn:
        msg = "a detached copy has no ref; get one from a runtime"
        raise AttributeError(msg)

    @property
    def agent_runtime(self) -> NoReturn:
        msg = "a detached copy lives in no runtime"
        raise AttributeError(msg)


def thaw(storage: Storage, cls: type[A], key: str, *, partition: str | None = None) -> A | None:
    """Return a detached copy of a stored agent, None if there is none.

    Its fields and its thread can be read and changed; nothing of that is stored until it is
    handed to ``hibernate``. Hooks are not run. Raises ``ThawError`` as a runtime would.
    """
    spec = cls.agent_spec
    address = address_of(spec.kind, partition, key)
    [found] = retrying()(storage.read, [address])
    if found is None:
        return None
    try:
        if isinstance(found, StorageError):
            raise found
        agent = persist.thaw(spec, found)
    except Exception as cause:
        raise persist.thaw_error(address, cause) from cause
    host = _DetachedHost(storage, address, key, found.rev, found.thread)
    object.__setattr__(agent, "_host", host)
    return cast("A", agent)


def hibernate(
    storage: Storage, agent: Agent, key: str | None = None, *, partition: str | None = None
) -> int:
    """Save a detached copy, state and thread in one change, and return its new revision.

    A copy from ``thaw`` is compared with the revision that it was thawed from:
    ``ConflictError`` if somebody wrote since, and nothing is stored. An agent object that was
    made by hand needs its ``key``, and must not be stored yet. The thread's new entries are
    saved with it. Raises ``InvalidStateError`` and ``StorageError``.
    """
    spec = type(agent).agent_spec
    host: Any = getattr(agent, "_host", None)
    if not isinstance(host, _DetachedHost):
        if key is None:
            msg = f"which key is this {spec.kind}? pass hibernate(agent, key)"
            raise InvalidKeyError(msg)
        address = address_of(spec.kind, partition, key)
        host = _DetachedHost(storage, address, key, 0, None)
        object.__setattr__(agent, "_host", host)
    encoded = persist.encode(agent, spec, host.address)
    persist.validate(spec, encoded, host.address)
    host.agent_thread.close_turn()
    write = host.agent_thread.finished()
    change = Change(
        key=host.address,
        expected_rev=host.rev,
        put=Put(data=encoded.decode(), kind=spec.kind, version=spec.version),
        thread=write,
        at=time.time(),
    )
    [outcome] = retrying()(storage.commit, [change])
    if isinstance(outcome, Conflict):
        raise ConflictError(host.address, expected=outcome.expected, found=outcome.found)
    if isinstance(outcome, Rejected):
        raise outcome.error
    host.rev = outcome.rev
    if write is not None:
        host.agent_thread.saved(write, outcome.thread)
    return outcome.rev
