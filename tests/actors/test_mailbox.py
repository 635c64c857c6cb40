"""Mailboxes: one message at a time, in order, bounded, in every state of an agent's life."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.actors.kit import SOON, Scripted, new_runtime, noting, run_all_queued
from tests.runtime.kit import Gate, Watch, begin
from torpor import (
    DeadLetter,
    Hibernated,
    HibernationReason,
    MailboxFullError,
    Thawed,
    ThawError,
)
from torpor.storage.errors import CorruptRecordError

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage


class Reluctant(Scripted):
    """Hibernates when it is let."""

    def on_hibernate(self) -> None:
        """Wait at the gate."""
        GATES[self.id].pass_through()


GATES: dict[str, Gate] = {}


def test_an_agent_runs_one_turn_at_a_time(agent: AgentRef[Scripted]) -> None:
    """Whether its callers or workers run them, turns of one agent never overlap."""
    inside: list[int] = []
    most: list[int] = []

    def turn(me: Scripted) -> None:
        inside.append(1)
        most.append(len(inside))
        me.count += 1
        inside.pop()

    def hammer() -> None:
        for _ in range(50):
            agent.ask(Scripted.do, turn)
            agent.tell(Scripted.do, turn)

    for hammering in [begin(hammer) for _ in range(6)]:
        hammering.result(SOON)
    run_all_queued(agent)

    assert max(most) == 1
    assert agent.ask(Scripted.read) == len(most) == 600


def test_the_messages_of_one_sender_keep_their_order(agent: AgentRef[Scripted]) -> None:
    """Tells, submits and asks of one thread are handled in the order they were sent."""
    order: list[int] = []
    for i in range(0, 300, 3):
        agent.tell(Scripted.do, noting(i, order))
        agent.submit(Scripted.do, noting(i + 1, order))
        agent.ask(Scripted.do, noting(i + 2, order))

    assert order == list(range(300))


def test_a_full_mailbox_refuses_at_the_sender() -> None:
    """Every way to call raises, what waits is kept, and later calls are taken again (HC-22)."""
    with new_runtime(mailbox=2) as runtime:
        agent = runtime.get(Scripted, "a")
        gate = Gate()
        agent.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()
        waiting = [agent.submit(Scripted.add) for _ in range(2)]

        for send in (agent.ask, agent.tell, agent.submit):
            with pytest.raises(MailboxFullError, match="2 messages") as caught:
                send(Scripted.add)
            assert caught.value.agent == "scripted/a"
            assert caught.value.outcome == "not_run"
        assert agent.status().waiting == 2
        gate.open()

        assert [reply.get(timeout=SOON) for reply in waiting] == [1, 2]
        assert agent.ask(Scripted.add) == 3


def test_a_full_mailbox_is_one_agents_own() -> None:
    """Others take messages as before."""
    with new_runtime(mailbox=1) as runtime:
        agent, other = runtime.get(Scripted, "a"), runtime.get(Scripted, "b")
        gate = Gate()
        agent.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()
        agent.tell(Scripted.add)
        with pytest.raises(MailboxFullError):
            agent.tell(Scripted.add)

        assert other.ask(Scripted.add) == 1
        gate.open()


def test_a_held_tell_that_meets_a_full_mailbox_is_a_dead_letter() -> None:
    """Its sender's turn is over by then: it is counted and observable (HC-23)."""
    with new_runtime(mailbox=1) as runtime:
        sender, full = runtime.get(Scripted, "sender"), runtime.get(Scripted, "full")
        watch, gate = Watch(runtime), Gate()
        full.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()
        full.tell(Scripted.add)

        sender.ask(Scripted.do, lambda _: full.tell(Scripted.add))

        (letter,) = watch.wait(DeadLetter)
        assert (letter.agent, letter.method) == ("scripted/full", "add")
        assert isinstance(letter.error, MailboxFullError)
        assert runtime.stats().dead_letters == 1
        gate.open()


def test_a_tell_whose_handler_fails_is_a_dead_letter(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """A poison message is reported, and harms neither its agent nor the runtime (HC-7, HC-23)."""
    watch = Watch(runtime)

    def fail(me: Scripted) -> None:
        me.count = 99
        message = "poison"
        raise LookupError(message)

    agent.tell(Scripted.do, fail)

    (letter,) = watch.wait(DeadLetter)
    assert (letter.agent, letter.method) == ("scripted/a", "do")
    assert isinstance(letter.error, LookupError)
    assert agent.ask(Scripted.read) == 0


def test_a_busy_agent_lets_others_run() -> None:
    """It yields after a bounded number of turns, even if more messages wait."""
    with new_runtime(max_workers=1) as runtime:
        busy, other = runtime.get(Scripted, "busy"), runtime.get(Scripted, "other")
        gate, turns, seen = Gate(), list[int](), list[int]()
        busy.tell(Scripted.do, lambda _: gate.pass_through())
        gate.wait_for_entry()
        for i in range(1000):
            busy.tell(Scripted.do, noting(i, turns))
        reply = other.submit(Scripted.do, lambda _: seen.append(len(turns)))
        gate.open()
        reply.get(timeout=SOON)
        run_all_queued(busy)

        assert 0 < seen[0] < 200
        assert turns == list(range(1000))


def test_idle_agents_cost_no_thread() -> None:
    """Live agents share the workers, of which there are a few."""
    with new_runtime() as runtime:
        for i in range(500):
            runtime.get(Scripted, str(i)).tell(Scripted.add)
        for i in range(500):
            assert runtime.get(Scripted, str(i)).ask(Scripted.read) == 1

        assert runtime.stats().live == 500
        assert runtime.stats().workers <= runtime.manager.pool.slots


def test_messages_wait_while_the_agent_thaws(runtime: Runtime, storage: FaultyStorage) -> None:
    """THAWING: the first message begins the thaw, all others wait for it, none is lost (HC-25)."""
    agent = runtime.get(Scripted, "a")
    with storage.hang_next("read") as hang:
        replies = [agent.submit(Scripted.add)]
        assert hang.entered.wait(SOON)
        replies += [agent.submit(Scripted.add) for _ in range(9)]
        assert agent.status().state == "thawing"
        assert agent.status().waiting == 10

    assert [reply.get(timeout=SOON) for reply in replies] == list(range(1, 11))
    assert storage.calls["read"] == 1
    assert agent.status().state == "live"


def test_messages_for_a_hibernating_agent_are_handled(runtime: Runtime) -> None:
    """HIBERNATING: who comes too late for this life is handled in the next one (HC-1)."""
    agent = runtime.get(Reluctant, "late")
    watch, gate = Watch(runtime), GATES.setdefault("late", Gate())
    agent.ask(Scripted.add)
    leaves = begin(agent.hibernate)
    gate.wait_for_entry()
    assert agent.status().state == "hibernating"
    reply = agent.submit(Scripted.add)
    gate.open()

    assert reply.get(timeout=SOON) == 2
    leaves.result(SOON)
    assert [event.fresh for event in watch.of(Thawed)] == [True, False]
    assert len(watch.of(Hibernated)) == 1


def test_a_message_in_time_keeps_the_agent_awake(runtime: Runtime) -> None:
    """HIBERNATING -> LIVE: the idle agent that is spoken to stays (HC-2)."""
    agent = runtime.get(Reluctant, "stays")
    watch, gate = Watch(runtime), GATES.setdefault("stays", Gate())
    agent.ask(Scripted.add)
    runtime.manager.idle.take_due(0, runtime.manager.clock.monotonic())
    runtime.manager.table[agent.address].put_to_sleep(HibernationReason.IDLE)
    gate.wait_for_entry()
    reply = agent.submit(Scripted.add)
    gate.open()

    assert reply.get(timeout=SOON) == 2
    assert agent.status().state == "live"
    assert len(watch.of(Thawed)) == 1
    assert watch.of(Hibernated) == []


def test_a_gone_agent_is_asleep(agent: AgentRef[Scripted], runtime: Runtime) -> None:
    """Gone: the reference stays valid, and the next message thaws the agent."""
    agent.ask(Scripted.add)
    agent.hibernate()

    assert agent.status().state == "asleep"
    assert agent.address not in runtime.manager.table
    assert agent.ask(Scripted.add) == 2


def test_senders_to_an_agent_that_cannot_be_thawed_are_told_why(
    runtime: Runtime, storage: FaultyStorage
) -> None:
    """FAILED: all that waited get the reason, those after them too; none is swallowed (HC-25)."""
    agent, watch = runtime.get(Scripted, "a"), Watch(runtime)
    damage = CorruptRecordError("scripted/a", "on purpose")
    storage.fail_next("read", error=damage, keys=["scripted/a"])
    with storage.hang_next("read", keys=["scripted/b"]) as hang:
        # The lane is busy with another agent's load, so that all these wait for one load.
        runtime.get(Scripted, "b").tell(Scripted.read)
        assert hang.entered.wait(SOON)
        replies = [agent.submit(Scripted.add) for _ in range(3)]
        agent.tell(Scripted.add)

    for reply in replies:
        with pytest.raises(ThawError, match="on purpose") as caught:
            reply.get(timeout=SOON)
        assert caught.value.__cause__ is damage
    (letter,) = watch.wait(DeadLetter)
    assert isinstance(letter.error, ThawError)
    assert agent.status().state == "failed"
    assert agent.status().error is damage
    with pytest.raises(ThawError, match="on purpose"):
        agent.ask(Scripted.add)


def test_senders_at_the_boundary_of_hibernation_lose_nothing(runtime: Runtime) -> None:
    """Whoever meets an agent that has just left finds or makes its successor (HC-1)."""
    agent = runtime.get(Scripted, "a")
    stop = threading.Event()

    def nag() -> None:
        while not stop.is_set():
            agent.hibernate()

    nagging = begin(nag)

    def send() -> None:
        for _ in range(200):
            agent.ask(Scripted.add)

    for sending in [begin(send) for _ in range(3)]:
        sending.result(2 * SOON)
    stop.set()
    nagging.result(SOON)

    assert agent.ask(Scripted.read) == 600
