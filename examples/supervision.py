"""An agent whose work fails: it is restarted, then paused, harms no other, and is resumed.

python examples/supervision.py [STORE]
"""

from __future__ import annotations

import sys

from torpor import (
    Agent,
    AgentEvent,
    AgentPaused,
    AgentPausedError,
    AgentRestarted,
    AgentResumed,
    Runtime,
)


class Feed(Agent, supervision="restart", max_restarts=2, restart_window=60):
    """Reads numbers from somewhere that may be out of order."""

    total: int = 0

    def read(self, text: str) -> int:
        """Add a number; whatever else it is raises, and the turn is rolled back."""
        self.total += int(text)
        return self.total


def report(event: AgentEvent) -> None:
    """Say what the supervisor did."""
    if isinstance(event, AgentRestarted):
        print(f"{event.agent} failed, is thawed again in {event.delay:g} s")
    elif isinstance(event, AgentPaused):
        print(f"{event.agent} failed {event.failures} times, is paused")
    elif isinstance(event, AgentResumed):
        print(f"{event.agent} is resumed")


def main(store: str = "supervision.db") -> None:
    """Let one feed fail until it is paused, use another meanwhile, resume the first."""
    with Runtime(f"sqlite:///{store}") as runtime:
        runtime.listen(report, AgentEvent)
        good, bad = runtime.get(Feed, "good"), runtime.get(Feed, "bad")
        bad.ask(Feed.read, "1")
        for _ in range(3):
            try:
                bad.ask(Feed.read, "one")
            except ValueError:
                print("good goes on:", good.ask(Feed.read, "1"))

    with Runtime(f"sqlite:///{store}") as runtime:  # a pause outlives the process
        runtime.listen(report, AgentResumed)
        bad = runtime.get(Feed, "bad")
        try:
            bad.ask(Feed.read, "2")
        except AgentPausedError as error:
            print(error)
        bad.resume()
        print("bad goes on:", bad.ask(Feed.read, "2"))


if __name__ == "__main__":
    main(*sys.argv[1:])
