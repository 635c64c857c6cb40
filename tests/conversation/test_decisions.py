"""Any sequence of decisions, restarts and messages: what was decided first is what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conversation.kit import Script, Shop, call, calls, effects
from torpor import (
    AlreadyDecidedError,
    ConversationBusyError,
    InterruptExpiredError,
    Runtime,
    UnknownInterruptError,
)
from torpor.conversation import Conversation, pending_interrupts
from torpor.storage.memory import MemoryStorage
from torpor.testing import ManualClock

if TYPE_CHECKING:
    from torpor.conversation import Interrupt, Progress

CALLS = 3
LIMIT = 3600

numbers = st.integers(0, CALLS - 1)


class Decisions(RuleBasedStateMachine):
    """Three shipments wait. ``decided`` is the model: the first decision about each."""

    @initialize()
    def ask(self) -> None:
        """Let three calls wait."""
        effects.clear()
        self.patch = pytest.MonkeyPatch()
        wanted = [call("ship", count=100 + n) for n in range(CALLS)]
        self.patch.setattr(Shop, "model", Script(calls(*wanted), "done"))
        self.storage, self.clock = MemoryStorage(), ManualClock()
        self.begun = self.clock.time()
        self.decided: dict[int, tuple[str, int]] = {}
        self.start()
        self.interrupts: list[Interrupt] = list(self.chat.say("ship").interrupts)

    def start(self) -> None:
        """Start a runtime."""
        self.runtime = Runtime(self.storage, clock=self.clock)
        self.ref = self.runtime.get(Shop, "ada")
        self.chat = Conversation(self.ref)

    @property
    def expired(self) -> bool:
        """Whether it is too late for decisions."""
        return self.clock.time() >= self.begun + LIMIT

    def decide(self, n: int, action: str, count: int, *arguments: Any, **options: Any) -> None:
        """Decide about the ``n``-th call and compare with the model."""
        method = getattr(Shop, action)
        call_id = self.interrupts[n].call_id

        def send() -> Progress:
            progress: Progress = self.ref.ask(method, call_id, *arguments, by="bob", **options)
            return progress

        if n not in self.decided and not self.expired:
            send()
            self.decided[n] = (action, count)
        elif n not in self.decided:
            with pytest.raises(InterruptExpiredError):
                send()
        elif self.decided[n] == (action, count):
            send()
        else:
            with pytest.raises(AlreadyDecidedError):
                send()

    @rule(n=numbers)
    def accept(self, n: int) -> None:
        """Accept."""
        self.decide(n, "accept", 100 + n)

    @rule(n=numbers, count=st.integers(1, 2))
    def edit(self, n: int, count: int) -> None:
        """Edit."""
        self.decide(n, "edit", count, tool_args={"count": count})

    @rule(n=numbers)
    def reject(self, n: int) -> None:
        """Reject."""
        self.decide(n, "reject", 0)

    @rule(n=numbers)
    def respond(self, n: int) -> None:
        """Respond."""
        self.decide(n, "respond", 0, "no")

    @rule()
    def decide_about_nothing(self) -> None:
        """Decide about what never was."""
        with pytest.raises(UnknownInterruptError):
            self.ref.ask(Shop.accept, "call_x", by="bob")

    @precondition(lambda self: len(self.decided) < CALLS and not self.expired)
    @rule()
    def speak(self) -> None:
        """Say something in between."""
        with pytest.raises(ConversationBusyError):
            self.chat.say("hurry")

    @rule()
    def restart(self) -> None:
        """Restart at rest."""
        self.chat.wait()
        self.runtime.stop()
        self.start()

    @rule()
    def hibernate(self) -> None:
        """Hibernate in the middle of whatever goes on."""
        self.ref.hibernate()

    @rule(seconds=st.sampled_from([1, LIMIT // 2]))
    def pass_time(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @invariant()
    def nothing_ran_undecided(self) -> None:
        """Each call ran at most once, as it was decided; what waits is what is not decided."""
        if not hasattr(self, "chat"):
            return
        progress = self.chat.wait()
        ran = [count for action, count in self.decided.values() if action in {"accept", "edit"}]
        assert sorted(effects) == sorted(f"ship {count}" for count in ran)
        waiting = [] if self.expired else [n for n in range(CALLS) if n not in self.decided]
        expected = [self.interrupts[n].call_id for n in waiting]
        assert [interrupt.call_id for interrupt in progress.interrupts] == expected
        found = pending_interrupts(self.storage, Shop, now=self.clock.time())
        assert [w.interrupt.call_id for w in found] == expected
        assert progress.status == ("paused" if waiting else "idle")
        assert progress.answer == (None if waiting else "done")

    def teardown(self) -> None:
        """Stop."""
        if hasattr(self, "chat"):
            self.runtime.stop()
            self.patch.undo()


TestDecisions = Decisions.TestCase
