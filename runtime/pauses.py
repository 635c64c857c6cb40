"""The pause of an agent that failed too often, as its record holds it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Until when (seconds since the epoch; None: until it is resumed) nothing runs, and why."""

    since: float
    until: float | None
    failures: int
    error: str

    def holds(self, now: float) -> bool:
        """Whether it is not over yet."""
        return self.until is None or now < self.until

    def __str__(self) -> str:
        return f"paused after {self.failures} failures, the last one {self.error}"
