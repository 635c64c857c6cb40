"""What the tests of schedules share: an agent that plans, and notes what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tests.runtime.kit import eventually
from torpor import Agent, Tick, command, current_tick

if TYPE_CHECKING:
    from torpor import AgentRef, Runtime, Schedule
    from torpor.storage import Storage

__all__ = ["Planner", "plan", "stored", "wait_until_stored"]


class Planner(Agent):
    """Plans what it is told to, and notes each ring."""

    rings: list[str] = []  # noqa: RUF012 - pydantic copies it

    broken: ClassVar[bool] = False
    """Whether ringing fails; for all, and not saved."""
    ticks: ClassVar[list[Tick]] = []
    """The ticks that were begun, by whichever planner."""

    def plan(self, options: dict[str, Any], *args: str) -> str:
        """Plan rings."""
        return self.schedule(Planner.ring, *args, **options)

    def plan_and_fail(self) -> None:
        """Plan rings, and fail."""
        self.plan({"after": 1}, "never")
        msg = "changed its mind"
        raise RuntimeError(msg)

    def cancel(self, name: str) -> bool:
        """Cancel a schedule."""
        return self.cancel_schedule(name)

    def planned(self) -> list[Schedule]:
        """Return what is planned."""
        return self.schedules()

    def ring(self, text: str = "ring") -> None:
        """Note a ring; fail if that is broken."""
        tick = current_tick()
        if tick is not None:
            self.ticks.append(tick)
        self.rings.append(tick.id if tick is not None and text == "id" else text)
        if self.broken:
            msg = "broken"
            raise LookupError(msg)

    async def ring_async(self) -> None:
        """Note a ring."""
        self.rings.append("async")

    @command(keeps_awake=True)
    def ring_loudly(self) -> None:
        """Note a ring, and stay awake for it."""
        self.rings.append("loud")

    def plan_others(self) -> None:
        """Plan rings of the other kinds."""
        self.schedule(Planner.ring_async, after=1)

    def plan_loud(self, every: float) -> None:
        """Plan rings that keep it awake."""
        self.schedule(Planner.ring_loudly, every=every)

    def rung(self) -> list[str]:
        """Return the rings so far."""
        return self.rings


def plan(planner: AgentRef[Planner], *args: str, **options: Any) -> str:
    """Have an agent plan rings; return the id."""
    return planner.ask(Planner.plan, options, *args)


def stored(storage: Storage, ref: AgentRef[Any]) -> list[dict[str, Any]]:
    """Return the schedules in an agent's record."""
    checkpoint = storage.get_checkpoint(ref.address)
    section: dict[str, Any] = {} if checkpoint is None else checkpoint.value.get("$torpor", {})
    schedules: list[dict[str, Any]] = section.get("schedules", [])
    return schedules


def wait_until_stored(runtime: Runtime, ref: AgentRef[Any], **values: Any) -> None:
    """Wait until the agent's first schedule has these values in the record."""
    eventually(
        lambda: any(
            all(schedule.get(name) == value for name, value in values.items())
            for schedule in stored(runtime.storage, ref)
        )
    )
