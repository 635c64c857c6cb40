"""Containers: tenants, with a working directory each."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torpor.repositories.models import Container
from torpor.repositories.repository import Repository
from torpor.storage.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from pydantic import JsonValue

    from torpor.clock import Clock
    from torpor.storage import Storage

__all__ = ["Containers"]


class Containers(Repository[Container]):
    """Containers by id. With a ``home``, each gets a folder of its own in it."""

    kind: ClassVar[str] = "container"
    id_field: ClassVar[str] = "container_id"
    model = Container

    def __init__(
        self,
        storage: Storage,
        clock: Clock | None = None,
        *,
        home: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(storage, clock)
        self._home = None if home is None else Path(home)

    def create(
        self, container_id: str, *, config: Mapping[str, JsonValue] | None = None
    ) -> Container:
        """Store a new container and make its working directory.

        Whatever the id is, the folder is one below ``home``, and no other id's: a readable part
        and a hash. Raises ``ConflictError`` if there is such a container.
        """
        key = self._key(container_id)
        folder = self._folder(container_id)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        new = Container(
            container_id=container_id,
            working_directory=None if folder is None else str(folder),
            config=dict(config or {}),
        )

        def only_new(found: Container | None) -> Container:
            if found is not None:
                raise ConflictError(key, expected=0, found=None)
            return new

        return self._write(container_id, only_new)

    def _folder(self, container_id: str) -> Path | None:
        if self._home is None:
            return None
        readable = re.sub(r"[^a-z0-9]+", "-", container_id.lower()).strip("-")[:40]
        digest = hashlib.blake2b(container_id.encode(), digest_size=8).hexdigest()
        return self._home.absolute() / "containers" / f"{readable or 'container'}-{digest}"
