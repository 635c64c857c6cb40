"""What type checkers make of calls to agents. Checked by ``make types``, never run.

A remark stands where a call must be rejected, one for each checker: mypy and pyright both
complain of a remark that turns out to be needless, so each is an assertion of its own.
"""

from __future__ import annotations

from typing import assert_type

from torpor import Agent, AgentRef, Reply, Runtime


class Counter(Agent):
    """Has a plain and an async handler."""

    count: int = 0

    def add(self, n: int = 1) -> int:
        """Add ``n``."""
        self.count += n
        return self.count

    async def describe(self, style: str, *, width: int = 80) -> str:
        """Describe the count."""
        return f"{self.count:{style}{width}}"


class Ticker(Counter):
    """Inherits its handlers."""


class Stranger(Agent):
    """Has a handler that fits no counter."""

    def greet(self) -> None:
        """Do nothing."""


def results_are_inferred(counter: AgentRef[Counter]) -> None:
    """A call has the type of the handler's result, whether or not the handler is async."""
    assert_type(counter.ask(Counter.add), int)
    assert_type(counter.ask(Counter.add, n=2), int)
    assert_type(counter.ask(Counter.describe, ">", width=9), str)
    assert_type(counter.submit(Counter.add, 1), Reply[int])
    assert_type(counter.submit(Counter.describe, "<"), Reply[str])
    assert_type(counter.submit(Counter.add).get(), int)
    assert_type(counter.options(timeout=5).ask(Counter.add), int)
    counter.tell(Counter.add, 2)
    counter.tell(Counter.describe, "<")
    assert_type(counter.send(Counter.add, 2), str)
    assert_type(counter.send(Counter.describe, "<", width=9), str)


async def replies_can_be_awaited(counter: AgentRef[Counter]) -> None:
    """Awaiting a reply gives the handler's result."""
    assert_type(await counter.submit(Counter.add, 1), int)
    assert_type(await counter.submit(Counter.describe, "<"), str)


def references_know_their_class(runtime: Runtime) -> None:
    """The runtime returns a reference to agents of the class that was asked for."""
    assert_type(runtime.get(Counter, "user-123"), AgentRef[Counter])
    assert_type(runtime.get(Ticker, "user-123", initial={"count": 3}), AgentRef[Ticker])


def inherited_handlers_can_be_called(ticker: AgentRef[Ticker]) -> None:
    """A handler may be named on the class that defines it and on the one that inherits it."""
    assert_type(ticker.ask(Counter.add, 1), int)
    assert_type(ticker.ask(Ticker.add, 1), int)


def wrong_arguments_are_rejected(counter: AgentRef[Counter]) -> None:
    """An argument of another type, of another name, too many and too few are errors."""
    counter.ask(Counter.add, "1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    counter.ask(Counter.add, m=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    counter.tell(Counter.add, 1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    counter.send(Counter.add, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    counter.submit(Counter.describe)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def handlers_of_other_classes_are_rejected(counter: AgentRef[Counter]) -> None:
    """A handler of an unrelated class is an error."""
    counter.ask(Stranger.greet)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def results_are_not_confused(counter: AgentRef[Counter]) -> None:
    """A result does not fit a variable of another type."""
    results: list[str] = []
    results.append(counter.ask(Counter.add))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
