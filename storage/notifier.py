"""News between processes: an optional service of a storage, beside the contract.

Nothing depends on it but promptness. A notification may be lost, come twice or come late; who
listens reads the storage, and looks there every so often anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Notifier"]


class Notifier(Protocol):
    """Tells the processes on one storage which keys have news. Thread-safe."""

    def notify(self, keys: Collection[str]) -> None:
        """Tell whoever waits, in any process, that these keys have news."""
        ...

    def wait(self, timeout: float) -> Collection[str]:
        """Wait up to ``timeout`` seconds for news; return the keys that have some.

        None (an empty collection) means that nothing was heard, not that nothing happened: so
        the first call, and one after a lost connection, return at once. One thread waits.
        """
        ...

    def close(self) -> None:
        """Release what it holds and end the waiting. Twice is no error."""
        ...
