"""What can be set per runtime and per class of agents; the class wins."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from torpor.storage.errors import ConfigurationError

__all__ = ["AgentOptions", "Durability", "Strategy"]

Strategy = Literal["resume", "restart", "stop"]
Durability = Literal["turn", "interval", "hibernate", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """Options of one class of agents. Times are seconds.

    ``idle_timeout``: None = never hibernates for being idle. ``mailbox``: most messages that
    may wait. ``validate_on_save``: decode each changed state before it is saved.
    ``track_commands``: journal each command's start and end, parameter names only.

    ``supervision``: what a failing turn does beside being rolled back. "resume": nothing.
    "restart": the agent is dropped from memory and thawed again, after a delay that doubles from
    0.05 to 10 s; more than ``max_restarts`` failures, none more than ``restart_window`` after the
    one before, pause it for so long. "stop": the first failure pauses it until ``ref.resume()``.
    A paused agent refuses calls with ``AgentPausedError``.
    """

    idle_timeout: float | None = 300.0
    durability: Durability = "turn"
    flush_interval: float = 1.0
    mailbox: int = 10_000
    validate_on_save: bool = True
    track_commands: bool = False
    supervision: Strategy = "resume"
    max_restarts: int = 5
    restart_window: float = 60.0

    def __post_init__(self) -> None:
        if self.durability not in get_args(Durability):
            self._refuse("durability", f"is one of {', '.join(get_args(Durability))}")
        if self.idle_timeout is not None and not self.idle_timeout >= 0:
            self._refuse("idle_timeout", "is a number of seconds, 0 or more, or None")
        if not self.flush_interval > 0:
            self._refuse("flush_interval", "is more than 0 seconds")
        if self.supervision not in get_args(Strategy):
            self._refuse("supervision", f"is one of {', '.join(get_args(Strategy))}")
        if self.max_restarts < 0:
            self._refuse("max_restarts", "is 0 or more")
        if not self.restart_window > 0:
            self._refuse("restart_window", "is more than 0 seconds")
        if self.mailbox < 1:
            self._refuse("mailbox", "is at least 1")

    def _refuse(self, name: str, rule: str) -> None:
        msg = f"{name} {rule}, not {getattr(self, name)!r}"
        raise ConfigurationError(msg)

    def override(self, values: dict[str, Any]) -> AgentOptions:
        """Return these options with those of ``values`` in their place."""
        return replace(self, **values)


OPTION_NAMES = frozenset(field.name for field in fields(AgentOptions))
