"""What a server's configuration makes of "saved"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Durability", "Keeps"]

Keeps = Literal[
    "each commit",
    "all but the last second",
    "all but the last half minute",
    "snapshots",
    "nothing",
    "unknown",
]
_KEEPS: dict[str | None, Keeps] = {
    "always": "each commit",
    "everysec": "all but the last second",
    "no": "all but the last half minute",  # when Linux writes what it was given
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What is left of saved changes after the server ended; None = the server does not tell.

    ``appendonly``: it writes a log. ``appendfsync``: when the log reaches the disk. ``snapshots``:
    it writes all to a file from time to time. ``evicts``: it removes keys by itself when its
    memory is full, by ``maxmemory_policy``.
    """

    appendonly: bool | None
    appendfsync: str | None
    snapshots: bool | None
    maxmemory_policy: str | None
    evicts: bool | None

    @classmethod
    def of(cls, info: Mapping[str, Any], config: Mapping[str, str]) -> Durability:
        """Read it out of the answers to INFO and CONFIG GET, of which any part may be missing."""
        aof: Any = info.get("aof_enabled")
        if "appendonly" in config:
            aof = config["appendonly"] == "yes"
        policy = config.get("maxmemory-policy", info.get("maxmemory_policy"))
        limit = config.get("maxmemory", info.get("maxmemory"))
        limited = None if limit is None else int(limit) > 0
        return cls(
            appendonly=None if aof is None else bool(aof),
            appendfsync=config.get("appendfsync"),
            snapshots=None if "save" not in config else bool(config["save"]),
            maxmemory_policy=policy,
            evicts=None
            if policy is None or limited is None
            else limited and policy != "noeviction",
        )

    @property
    def keeps(self) -> Keeps:
        """What survives when the server, or the machine that it runs on, crashes."""
        if self.appendonly:
            return _KEEPS.get(self.appendfsync, "unknown")
        if self.appendonly is None or self.snapshots is None:
            return "unknown"
        return "snapshots" if self.snapshots else "nothing"

    def warnings(self) -> Iterator[str]:
        """Yield what somebody who stores agents there should know."""
        if self.keeps == "nothing":
            yield "the server keeps nothing: when it ends, all agents are gone; set appendonly yes"
        elif self.keeps == "snapshots":
            yield (
                "the server keeps snapshots only: when it crashes, all that was saved since the "
                "last one is gone; set appendonly yes"
            )
        if self.evicts:
            yield (
                f"when its memory is full, the server removes keys by {self.maxmemory_policy}: "
                "agents may vanish; set maxmemory-policy noeviction"
            )
