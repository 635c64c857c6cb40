"""What cannot be planned is refused where it is planned."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from tests.schedules.kit import Planner, plan
from torpor import (
    Agent,
    AgentDefinitionError,
    ConfigurationError,
    Runtime,
    ScheduleError,
    UnserializableError,
)

if TYPE_CHECKING:
    from torpor.storage import Storage


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"after": 1, "at": 2},
        {"after": 1, "cron": "@daily"},
        {"every": 0},
        {"every": -5},
        {"every": 5, "cron": "@daily"},
        {"after": "soon"},
        {"after": float("nan")},
        {"cron": "61 * * * *"},
        {"cron": 5},
        {"cron": "@daily", "tz": "Mars/Olympus"},
        {"at": dt.datetime(2030, 1, 1)},  # noqa: DTZ001 - which is the mistake
        {"after": 1, "misfire": "never"},
    ],
    ids=str,
)
def test_what_says_no_time_is_refused(memory: Storage, when: dict[str, Any]) -> None:
    """One typed error, and the agent goes on (CR-4)."""
    with Runtime(memory) as runtime:
        agent = runtime.get(Planner, "a")
        with pytest.raises(ScheduleError):
            plan(agent, **when)
        plan(agent, after=1)


def test_arguments_must_be_durable(memory: Storage) -> None:
    """What has no JSON form can't be planned with (CR-5)."""

    class Odd(Agent):
        """Takes anything."""

        def plan(self) -> None:
            """Plan with an object."""
            self.schedule(Odd.take, object(), after=1)

        def take(self, value: object) -> None:
            """Take anything."""

    with Runtime(memory) as runtime, pytest.raises(UnserializableError, match="take"):
        runtime.get(Odd, "a").ask(Odd.plan)


def test_who_is_never_saved_has_no_schedules(memory: Storage) -> None:
    """It would be forgotten with its first hibernation."""
    with (
        Runtime(memory, durability="none") as runtime,
        pytest.raises(ConfigurationError, match="none"),
    ):
        plan(runtime.get(Planner, "a"), after=1)


def test_only_the_running_turn_plans() -> None:
    """An agent object that lives in no runtime, or outside of its turn, has nowhere to note it."""
    with pytest.raises(ConfigurationError, match="inside its own turns"):
        Planner().plan({"after": 1})


def test_the_names_are_reserved() -> None:
    """A field or method of that name would hide them: told when the class is defined."""
    with pytest.raises(AgentDefinitionError, match="schedule is reserved"):

        class Hides(Agent):  # pyright: ignore[reportUnusedClass] - defining it is the mistake
            """Has a method of a reserved name."""

            def schedule(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
                """Hide."""
