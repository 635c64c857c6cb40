"""Shapes of waiting that are rings, and that only look like them."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.runtime.kit import PATIENCE, Gate, Scripted, eventually
from torpor import CallCycleError

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.ref import AgentRef


def test_a_ring_that_two_close_from_both_sides(runtime: Runtime) -> None:
    """Of two agents that ask each other at the same time one is told, the other served."""
    a, b = runtime.get(Scripted, "a"), runtime.get(Scripted, "b")
    meeting = threading.Barrier(2)

    def ask(other: AgentRef[Scripted]) -> str:
        meeting.wait(PATIENCE)
        try:
            other.ask(Scripted.add)
        except CallCycleError:
            return "told"
        return "served"

    replies = [
        a.submit(Scripted.do, lambda _: ask(b)),
        b.submit(Scripted.do, lambda _: ask(a)),
    ]

    assert sorted(reply.get() for reply in replies) == ["served", "told"]


def test_a_long_chain_is_no_ring(runtime: Runtime) -> None:
    """Waiting for someone who waits for someone else is fine, as is asking twice."""

    def nest(depth: int) -> int:
        below = runtime.get(Scripted, str(depth))
        if not depth:
            return 0
        beneath: int = below.ask(Scripted.do, lambda _: nest(depth - 1))
        return beneath + below.ask(Scripted.read) + 1

    assert nest(30) == 30


def test_two_that_wait_for_the_same_are_no_ring(runtime: Runtime) -> None:
    """A diamond: both wait for one agent, which waits for none of them."""
    shared, gate = runtime.get(Scripted, "shared"), Gate()
    shared.submit(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    replies = [
        runtime.get(Scripted, key).submit(Scripted.do, lambda _: shared.ask(Scripted.add))
        for key in "ab"
    ]
    eventually(lambda: shared.status().waiting == 2)
    gate.open()

    assert sorted(reply.get() for reply in replies) == [1, 2]
