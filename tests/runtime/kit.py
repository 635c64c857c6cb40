"""What the runtime's tests share: an agent that runs the test's own code, a clock, threads."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.behaviours.kit import PATIENCE, Gate, Watch
from torpor import Agent, SaveFailed
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import Reply, Runtime
    from torpor.activation import Activation
    from torpor.ref import AgentRef
    from torpor.storage import Storage

__all__ = [
    "PATIENCE",
    "Gate",
    "Lazy",
    "ObservedClock",
    "Regular",
    "Scripted",
    "Watch",
    "activation_of",
    "begin",
    "eventually",
    "fail_again",
    "other_process_adds",
    "run_all_queued",
    "saved_count",
    "spoil",
    "stored_agent",
    "wait_for",
]

R = TypeVar("R")

_BACKOFF: Final = 0.25


class Scripted(Agent):
    """Counts, keeps notes in its thread, and runs whatever a test hands it as a turn."""

    count: int = 0
    log: tuple[str, ...] = ()

    def add(self, n: int = 1) -> int:
        """Change the state."""
        self.count += n
        return self.count

    def read(self) -> int:
        """Change nothing."""
        return self.count

    def write(self, line: str) -> None:
        """Add a line to the log."""
        self.log = (*self.log, line)

    def note(self, text: str) -> int:
        """Append to the thread."""
        self.thread.append("note", {"text": text})
        return self.thread.rev

    def notes(self) -> list[str]:
        """Return what was appended to the thread."""
        return [entry.payload["text"] for entry in self.thread.entries()]

    def do(self, script: Callable[..., Any]) -> Any:
        """Run ``script`` with this agent, as a turn."""
        return script(self)

    async def do_async(self, script: Callable[..., Any]) -> Any:
        """Run an async ``script`` with this agent, as a turn."""
        return await script(self)


class Regular(Scripted, durability="interval", flush_interval=2):
    """Saved every two seconds."""


class Lazy(Scripted, durability="hibernate"):
    """Saved on hibernation."""


class ObservedClock(ManualClock):
    """A manual clock that knows what the runtime's timer waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = threading.Condition()
        self._asleep = False
        self._alarm: float | None = None

    def wait(self, condition: threading.Condition, deadline: float | None) -> None:
        """Note what is waited for, and wait."""
        with self._seen:
            self._asleep, self._alarm = True, deadline
            self._seen.notify_all()
        super().wait(condition, deadline)
        with self._seen:
            self._asleep = False

    def settle(self) -> None:
        """Wait until the timer has run all that is due."""
        with self._seen:
            assert self._seen.wait_for(lambda: self._sleeps_for() > 0, PATIENCE)

    def pass_backoff(self, seconds: float = 1) -> None:
        """Let ``seconds`` pass once a retry has been put off; it then takes place."""
        with self._seen:
            put_off = self._seen.wait_for(lambda: 0 < self._sleeps_for() <= _BACKOFF, PATIENCE)
        assert put_off, "nothing is going to be retried"
        self.advance(seconds)

    def _sleeps_for(self) -> float:
        if not self._asleep:
            return 0
        return inf if self._alarm is None else self._alarm - self.monotonic()


def begin(function: Callable[[], R]) -> Future[R]:
    """Run ``function`` on a thread of its own; its result, or error, is in the future."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - the test gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_for(reply: Reply[Any]) -> None:
    """Wait until ``reply`` is there, whatever its deadline says."""
    came = threading.Event()
    reply._add_waiter(came.set)
    assert reply.done or came.wait(PATIENCE), "no reply came"


def run_all_queued(agent: AgentRef[Scripted]) -> None:
    """Wait until what was sent so far has run, whether it was answered or not."""
    ran = threading.Event()
    agent.tell(Scripted.do, lambda _: ran.set())
    assert ran.wait(PATIENCE), "the agent does not get on"


def fail_again(clock: ObservedClock, watch: Watch, seconds: float = 1) -> None:
    """Let ``seconds`` pass, and a save that is retried fail once more."""
    failures = len(watch.wait(SaveFailed))
    clock.pass_backoff(seconds)
    watch.wait(SaveFailed, failures + 1)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    never = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        never.wait(0.001)


def activation_of(ref: AgentRef[Any], runtime: Runtime) -> Activation:
    """Return the live agent of ``ref``."""
    return runtime.manager.table[ref.address]


def saved_count(storage: Storage, ref: AgentRef[Any]) -> int | None:
    """Return the count that is stored, None if nothing is."""
    checkpoint = storage.get_checkpoint(ref.address)
    return None if checkpoint is None else checkpoint.value["count"]


def stored_agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake and stored."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    return agent


def spoil(agent: Scripted) -> None:
    """Change all there is, and fail."""
    agent.count = 99
    agent.log = ("spoilt",)
    agent.thread.append("note", {"text": "spoilt"})
    message = "no"
    raise LookupError(message)


def other_process_adds(other: Runtime, n: int) -> None:
    """Change the agent behind the runtime's back, on the newest state."""
    ref = other.get(Scripted, "a").options(fresh=True)
    ref.ask(Scripted.add, n)
