"""An agent that counts. Run it twice: it goes on counting where it was.

python examples/quickstart.py [STORE]
"""

from __future__ import annotations

import sys

from torpor import Agent, Runtime


class Counter(Agent):
    """Its fields are its state: typed, validated, saved and restored."""

    count: int = 0

    def add(self, n: int = 1) -> int:
        """Add ``n`` and return the new count."""
        self.count += n
        self.thread.append("added", {"n": n})
        return self.count


def main(store: str = "counters.db") -> None:
    """Talk to the counter of user-123: three ways to call it."""
    with Runtime(f"sqlite:///{store}", idle_timeout=60) as runtime:
        counter = runtime.get(Counter, "user-123")
        counter.tell(Counter.add, 2)
        print("told it to add 2, asked it to add 1:", counter.ask(Counter.add, 1))
        print("a future per call, as in pykka:     ", counter.proxy().add(1).get())
        counter.hibernate()
        print("hibernated; the next call thaws it: ", counter.ask(Counter.add, 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
