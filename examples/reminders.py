"""A reminder that comes though its agent sleeps, or its process was not running.

python examples/reminders.py add TEXT SECONDS [STORE]    plans a reminder and ends
python examples/reminders.py wait [STORE]                prints reminders as they come due
"""

from __future__ import annotations

import sys
import threading

from torpor import Agent, Runtime, ScheduleFired, current_tick


class Reminders(Agent):
    """What one person wants to be reminded of."""

    open: list[str] = []  # noqa: RUF012 - pydantic gives each agent a copy

    def add(self, text: str, seconds: float) -> None:
        """Remember ``text``, and plan to say so: one commit for both."""
        self.open.append(text)
        self.schedule(Reminders.remind, text, after=seconds, id=text)

    def forget(self, text: str) -> None:
        """Change one's mind."""
        self.open.remove(text)
        self.cancel_schedule(text)

    def remind(self, text: str) -> None:
        """Say it; if this raised, it would be tried again with back-off."""
        tick = current_tick()
        assert tick is not None
        print("remember:", text, "" if tick.attempt == 1 else f"({tick.attempt}. attempt)")
        self.open.remove(text)

    def count(self) -> int:
        """Return how many there are."""
        return len(self.open)


def add(text: str, seconds: str, store: str = "reminders.db") -> None:
    """Plan one. Nobody needs to wait for it: it is in the storage."""
    with Runtime(f"sqlite:///{store}") as runtime:
        runtime.get(Reminders, "me").ask(Reminders.add, text, float(seconds))


def wait(store: str = "reminders.db") -> None:
    """Wait for those that are planned; ``agents`` names the classes that may be woken."""
    fired = threading.Semaphore(0)
    with Runtime(f"sqlite:///{store}", agents=[Reminders]) as runtime:
        runtime.listen(lambda _: fired.release(), ScheduleFired)
        while runtime.get(Reminders, "me").ask(Reminders.count):
            fired.acquire(timeout=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["add"]:
        add(*sys.argv[2:])
    else:
        wait(*sys.argv[2:])
