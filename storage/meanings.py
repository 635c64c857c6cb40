"""What the errors of a driver mean, for the tables in which each backend says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torpor.storage.errors import ConfigurationError

if TYPE_CHECKING:
    from torpor.storage.errors import StorageError, TorporError

__all__ = ["Meaning"]


class Meaning(NamedTuple):
    """The error of Torpor's that stands for it, and what that says."""

    error: type[StorageError]
    what: str
    permanent: bool = False
    """When a storage is opened, it is a matter of configuration."""

    def error_class(self, *, opening: bool) -> type[TorporError]:
        """Return what is raised for it, while the storage is being opened or later."""
        return ConfigurationError if opening and self.permanent else self.error
