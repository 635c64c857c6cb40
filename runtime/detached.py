"""Manual hibernate and thaw, on a bare storage: copies of agents outside of any runtime."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

from torpor import persist
from torpor.address import address_of
from torpor.agent import spec_of
from torpor.clock import SystemClock
from torpor.storage import Change, Conflict, Put, Rejected, Storage
from torpor.storage.errors import (
    ConfigurationError,
    ConflictError,
    InvalidKeyError,
    StorageError,
)
from torpor.storage.retry import retrying
from torpor.system import join, split
from torpor.thread import AgentThread

if TYPE_CHECKING:
    from torpor.agent import Agent

__all__ = ["hibernate", "thaw"]

A = TypeVar("A", bound="Agent")


class _DetachedHost:
    """Where a copy lives that no runtime runs: it remembers what it was thawed from."""

    def __init__(self, storage: Storage, kind: str, key: str, partition: str | None) -> None:
        self.agent_id = key
        self.seen: tuple[object, ...] | None = None
        self.partition = partition
        self.address = address_of(kind, partition, key)
        self.rev = 0
        # What the runtime keeps in the record is not the copy's business: it goes back as it is.
        self.section: str | None = None
        self.wake_at: float | None = None
        self.agent_thread = AgentThread(storage, SystemClock(), self.address, None)

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
    spec = spec_of(cls)
    address = address_of(spec.kind, partition, key)
    [found] = retrying()(storage.read, [address])
    if found is None:
        return None
    try:
        if isinstance(found, StorageError):
            raise found
        section, fields = split(found.data or "", address)
        agent = persist.thaw(spec, replace(found, data=fields) if section else found)
    except Exception as cause:
        raise persist.thaw_error(address, cause) from cause
    host = _DetachedHost(storage, spec.kind, key, partition)
    host.rev, host.section, host.wake_at = found.rev, section, found.wake_at
    host.agent_thread = AgentThread(storage, SystemClock(), address, found.thread)
    object.__setattr__(agent, "_host", host)
    return cast("A", agent)


def hibernate(
    storage: Storage, agent: Agent, key: str | None = None, *, partition: str | None = None
) -> int:
    """Save a detached copy, state and thread in one change, and return its new revision.

    A copy from ``thaw`` is compared with the revision that it was thawed from:
    ``ConflictError`` if somebody wrote since, and nothing is stored. An agent object that was
    made by hand needs its ``key``, and must not be stored yet. The thread's new entries are
    saved with it. Raises ``InvalidKeyError`` for another key than the copy's own,
    ``InvalidStateError`` and ``StorageError``.
    """
    spec = spec_of(type(agent))
    host = _host(storage, agent, key, partition)
    encoded = persist.encode(agent, spec, host.address)
    persist.validate(spec, encoded, host.address)
    host.agent_thread.close_turn()
    write = host.agent_thread.finished()
    change = Change(
        key=host.address,
        expected_rev=host.rev,
        put=Put(data=join(host.section, encoded.decode()), kind=spec.kind, version=spec.version),
        thread=write,
        wake_at=host.wake_at,
        at=time.time(),
    )
    commit = retrying()
    [outcome] = commit(storage.commit, [change])
    if isinstance(outcome, Conflict):
        raise ConflictError(
            host.address,
            expected=outcome.expected,
            found=outcome.found,
            outcome="unknown" if commit.statistics["attempt_number"] > 1 else "not_applied",
        )
    if isinstance(outcome, Rejected):
        raise outcome.error
    host.rev = outcome.rev
    if write is not None:
        host.agent_thread.saved(write, outcome.thread)
    return outcome.rev


def _host(storage: Storage, agent: Agent, key: str | None, partition: str | None) -> _DetachedHost:
    host: object = getattr(agent, "_host", None)
    spec = spec_of(type(agent))
    if isinstance(host, _DetachedHost):
        if (key or host.agent_id, partition or host.partition) != (host.agent_id, host.partition):
            msg = f"this is a copy of {host.address!r}: it is saved there and nowhere else"
            raise InvalidKeyError(msg)
        return host
    if host is not None:
        msg = f"this {spec.kind} lives in a runtime: use ref.hibernate()"
        raise ConfigurationError(msg)
    if key is None:
        msg = f"which key is this {spec.kind}? pass hibernate(agent, key)"
        raise InvalidKeyError(msg)
    host = _DetachedHost(storage, spec.kind, key, partition)
    object.__setattr__(agent, "_host", host)
    return host
