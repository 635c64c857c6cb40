"""Programs that tests run as processes of their own: ``python -m tests.behaviours.programs``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.behaviours.kit import Counter
from torpor import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable


class Pair(Counter):
    """Changes state and thread in one turn."""

    def step(self) -> int:
        """Count, and note the number."""
        self.count += 1
        self.note(str(self.count))
        return self.count


class Lazy(Pair, durability="hibernate"):
    """Is stored when it falls asleep."""


def step_for_ever(url: str) -> None:
    """Step one agent and say each number that was acknowledged."""
    with Runtime(url) as runtime:
        ref = runtime.get(Pair, "a")
        while True:
            say(ref.ask(Pair.step))


def die_before_rename(url: str, steps: str) -> None:
    """Take so many steps, and in the next one die when its record is about to be renamed."""
    with Runtime(url) as runtime:
        ref = runtime.get(Pair, "a")
        for _ in range(int(steps)):
            say(ref.ask(Pair.step))

        def die(event: str, details: tuple[Any, ...]) -> None:
            if event == "os.rename" and "checkpoints" in str(details[1]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        say(ref.ask(Pair.step))


def serve(url: str, agents: str) -> None:
    """Step so many agents that are saved at the end only, and wait for a signal."""
    with Runtime(url) as runtime:
        runtime.stop_on_signals()
        replies = [runtime.get(Lazy, f"a{n}").submit(Lazy.step) for n in range(int(agents))]
        for reply in replies:
            reply.get()
        say("ready")
        threading.Event().wait()


def hammer(url: str, agents: str, rounds: str) -> None:
    """Step each of a few agents so many times; say how many conflicts there were."""
    with Runtime(url) as runtime:
        refs = [runtime.get(Pair, f"a{number}") for number in range(int(agents))]
        for ref in refs:
            ref.ask(Pair.read)  # so whoever comes second has an outdated copy for certain
        say("ready")
        sys.stdin.readline()
        for _ in range(int(rounds)):
            for ref in refs:
                ref.ask(Pair.step)
        say(runtime.stats().conflicts)


def say(what: object) -> None:
    """Tell the test."""
    print(what, flush=True)  # noqa: T201 - that is how


PROGRAMS: dict[str, Callable[..., None]] = {
    program.__name__: program for program in (step_for_ever, die_before_rename, serve, hammer)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
