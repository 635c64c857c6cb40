"""What type checkers make of what surrounds calls to agents: options, proxies, marks, events.

Checked by ``make types``, never run. For the remarks see ``agent_calls``.
"""

from __future__ import annotations

from typing import Any, assert_type

from torpor import Agent, AgentEvent, AgentRef, Hibernated, Runtime, Thawed, command
from torpor.proxy import AgentProxy
from torpor.storage import Entry


class Account(Agent, kind="account", idle_timeout=5, durability="turn"):
    """Has a marked handler, and one that takes anything by name."""

    balance: int = 0

    @command(rerun=False)
    def pay(self, amount: int, *, note: str = "") -> bool:
        """Pay."""
        self.thread.append("paid", {"amount": amount, "note": note})
        return self.balance >= amount

    @command(thread="worker")
    async def audit(self) -> list[str]:
        """Look at everything."""
        assert_type(self.thread.last, Entry | None)
        assert_type(self.thread.tail(3), list[Entry])
        assert_type(await self.thread.atail(3), list[Entry])
        assert_type(self.id, str)
        assert_type(self.runtime, Runtime)
        return [entry.kind for entry in await self.thread.aentries()]

    def describe(self, /, **more: int) -> str:
        """Take any keyword: ``self`` must not be one, or mypy rejects every call."""
        return f"{self.balance} {more}"


def marks_keep_the_signature(account: AgentRef[Account]) -> None:
    """``@command`` changes nothing for the checker."""
    assert_type(account.ask(Account.pay, 3, note="rent"), bool)
    assert_type(account.ask(Account.audit), list[str])
    account.ask(Account.pay, note="rent")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    command(thread="main")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    command(retry=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def keywords_are_checked(account: AgentRef[Account]) -> None:
    """What a handler takes by any name has a type too."""
    assert_type(account.ask(Account.describe, a=1, b=2), str)
    account.ask(Account.describe, a="1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def tells_are_checked(account: AgentRef[Account]) -> None:
    """Fire and forget takes the same arguments as a call."""
    account.tell(Account.pay, 3, note="rent")
    account.tell(Account.audit)
    account.tell(Account.pay, "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    account.tell(Account.pay)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def options_keep_the_class(account: AgentRef[Account]) -> None:
    """A copy with other options refers to the same class; misspelt options are errors."""
    assert_type(account.options(timeout=None, fresh=True), AgentRef[Account])
    account.options(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    account.options(patience=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def attached_references_keep_the_class(account: AgentRef[Account]) -> None:
    """Whoever is attached has the same reference."""
    with account.attached() as same:
        assert_type(same, AgentRef[Account])


def proxies_are_dynamic(account: AgentRef[Account]) -> None:
    """A proxy's attributes are anything; the proxy itself is read-only."""
    proxy = account.proxy()
    assert_type(proxy, AgentProxy)
    result: Any = proxy.pay(3)
    result.get()
    proxy.balance = 5  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def lookups_may_find_nothing(runtime: Runtime) -> None:
    """What may not be there must be thought of."""
    assert_type(runtime.lookup(Account, "a"), AgentRef[Account] | None)
    assert_type(runtime.thaw(Account, "a"), Account | None)
    runtime.thaw(Account, "a").balance  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]  # noqa: B018 - an assertion


def only_agents_have_references(runtime: Runtime) -> None:
    """Other classes and keys that are no text are errors."""
    runtime.get(int, "a")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    runtime.get(Account, 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    runtime.get(Account, "a", partition=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def listeners_take_their_kind(runtime: Runtime) -> None:
    """A listener gets the kind of events that it asked for, or all of them."""

    def on_sleep(event: Hibernated) -> None:
        assert_type(event.agent, str)

    def on_anything(event: AgentEvent) -> None:
        assert_type(event.agent, str)

    runtime.listen(on_sleep, Hibernated)
    runtime.listen(on_anything, Hibernated)
    runtime.listen(on_anything)
    runtime.listen(on_sleep, Thawed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
