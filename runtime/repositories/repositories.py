"""All repositories on one storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.repositories.branches import Branches
from torpor.repositories.containers import Containers
from torpor.repositories.images import Images
from torpor.repositories.sessions import Sessions

if TYPE_CHECKING:
    from os import PathLike

    from torpor.clock import Clock
    from torpor.storage import Storage

__all__ = ["Repositories"]


class Repositories:
    """Containers, images, sessions and branches of agents, on one storage; no runtime needed.

    Args:
        storage: stays open, it is yours.
        home: the folder below which containers get their working directories; None: they get none.
        clock: for tests.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        home: str | PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.branches = Branches(storage, clock)
        self.containers = Containers(storage, clock, home=home)
        self.sessions = Sessions(storage, clock)
        self.images = Images(storage, self.sessions, self.branches, clock)
