"""Images: conversations that can be gone on with, forked, and started as agents again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from torpor.repositories.models import Image, Session
from torpor.repositories.repository import Repository
from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from torpor.clock import Clock
    from torpor.ref import AgentRef
    from torpor.repositories.branches import Branches
    from torpor.repositories.sessions import Sessions
    from torpor.storage import Storage

__all__ = ["Images"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Images(Repository[Image]):
    """Images by id, name, container and parent. Each has a session of its own."""

    kind: ClassVar[str] = "image"
    id_field: ClassVar[str] = "image_id"
    indexed: ClassVar[tuple[str, ...]] = ("name", "container_id", "parent_image_id")
    model = Image

    def __init__(
        self,
        storage: Storage,
        sessions: Sessions,
        branches: Branches,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(storage, clock)
        self._sessions = sessions
        self._branches = branches

    # -- finding ------------------------------------------------------------------------------

    def find_by_name(self, name: str) -> list[Image]:
        """Return the images that have this name now, newest first."""
        return self._find_by("name", name)

    def find_by_container(self, container_id: str) -> list[Image]:
        """Return the images of a container, newest first."""
        return self._find_by("container_id", container_id)

    def find_by_parent(self, image_id: str) -> list[Image]:
        """Return the images that were forked from one, newest first."""
        return self._find_by("parent_image_id", image_id)

    # -- writing ------------------------------------------------------------------------------

    def create(
        self,
        container_id: str,
        *,
        agent: AgentRef[Any] | str | None = None,
        **fields: Any,
    ) -> Image:
        """Store a new image with an empty session, and return it.

        ``fields`` are others of ``Image``. ``agent``: an agent, by reference or address, whose
        state and thread as they are now become the image's saved point; see ``start``. The
        session and the saved point are stored first: a crash leaves no image without them.
        """
        image_id = self._new_id("img")
        image = Image(
            image_id=image_id,
            container_id=container_id,
            session_id=self._new_id("sess"),
            agent=None if agent is None else self._branches.address(agent),
            snapshot=None if agent is None else image_id,
            **fields,
        )
        if agent is not None:
            self._branches.snapshot(agent, image_id)
        self._sessions.save(
            Session(session_id=image.session_id, image_id=image_id, container_id=container_id)
        )
        return self.save(image)

    def update_metadata(self, image_id: str, metadata: Mapping[str, JsonValue]) -> Image:
        """Merge ``metadata`` into the image's. Raises ``NotFoundError``."""

        def merged(image: Image) -> Image:
            image.metadata = {**image.metadata, **metadata}
            return image

        return self.update(image_id, merged)

    def delete(self, record_id: str) -> None:
        """Remove an image, before that its session, messages and saved point. Idempotent."""
        image = self.find_by_id(record_id)
        if image is None:
            return
        self._sessions.delete(image.session_id)
        if image.agent is not None and image.snapshot is not None:
            self._branches.delete_snapshot(image.agent, image.snapshot)
        super().delete(record_id)

    # -- branches -----------------------------------------------------------------------------

    def fork(self, image_id: str, *, through: str | None = None, **fields: Any) -> Image:
        """Store a new image that goes on from this one, and return it.

        It has the settings of its parent but for ``fields``, a copy of its messages, up to the
        message ``through`` if given, and a copy of its saved point. Raises ``NotFoundError``.
        """
        parent = self.get(image_id)
        child_id = self._new_id("img")
        kept = parent.model_dump(exclude={"created_at", "updated_at"})
        changed = {
            "image_id": child_id,
            "session_id": self._new_id("sess"),
            "parent_image_id": image_id,
            "snapshot": None if parent.snapshot is None else child_id,
        }
        child = Image.model_validate(kept | changed | fields)
        if parent.agent is not None and parent.snapshot is not None:
            self._branches.copy_snapshot(parent.agent, parent.snapshot, child_id)
        self._sessions.save(
            Session(
                session_id=child.session_id,
                image_id=child_id,
                container_id=child.container_id,
            )
        )
        self._sessions.copy_messages(parent.session_id, child.session_id, through=through)
        return self.save(child)

    def start(self, image_id: str, key: str, *, partition: str | None = None) -> str:
        """Make a new agent from the image's saved point and return its address.

        Raises ``NotFoundError``, ``ConfigurationError`` if the image holds no saved point, and
        ``ConflictError`` if there is such an agent.
        """
        image = self.get(image_id)
        if image.agent is None or image.snapshot is None:
            msg = f"the image {image_id!r} holds no agent: create(…, agent=…)"
            raise ConfigurationError(msg)
        return self._branches.fork(image.agent, key, partition=partition, snapshot=image.snapshot)

    def _new_id(self, prefix: str) -> str:
        milliseconds = int(self._clock.time() * 1000)
        text = ""
        while milliseconds:
            milliseconds, digit = divmod(milliseconds, len(_DIGITS))
            text = _DIGITS[digit] + text
        return f"{prefix}_{text}_{''.join(secrets.choice(_DIGITS) for _ in range(6))}"
