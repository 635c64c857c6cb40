"""What a turn did is seen outside only after everything that it could see is durable."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runtime.kit import PATIENCE, Gate, Scripted, activation_of, begin, run_all_queued
from torpor.durable import DurableActor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor import Reply, Runtime
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage, Hang


@pytest.fixture
def agent(runtime: Runtime) -> AgentRef[Scripted]:
    """Return an agent that is awake."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.read)
    return agent


@pytest.fixture
def hang(agent: AgentRef[Scripted], storage: FaultyStorage) -> Iterator[Hang]:
    """Let the agent's next commit hang until it is released."""
    with storage.hang_next("commit", keys=[agent.address]) as hang:
        yield hang


def add_and_hang(agent: AgentRef[Scripted], hang: Hang) -> Reply[int]:
    """Send a turn whose commit hangs, and wait until it does."""
    reply = agent.submit(Scripted.add)
    assert hang.entered.wait(PATIENCE)
    return reply


def after(*replies: Reply[int]) -> None:
    """Wait for replies."""
    for reply in replies:
        reply.get()


def test_a_reply_waits_for_the_commit(agent: AgentRef[Scripted], hang: Hang) -> None:
    """A turn's value leaves after its commit, not before (DESIGN 5, Output gate)."""
    reply = add_and_hang(agent, hang)

    assert not reply.done

    hang.release()
    assert reply.get() == 1


def test_the_reply_of_a_reading_turn_waits_for_what_it_saw(
    agent: AgentRef[Scripted], hang: Hang
) -> None:
    """A reading turn's reply leaves after the commit that it could see (DESIGN 5, Output gate)."""
    add_and_hang(agent, hang)
    read = agent.submit(Scripted.read)
    run_all_queued(agent)

    assert not read.done

    hang.release()
    assert read.get() == 1


def test_an_exception_waits_for_what_it_saw(agent: AgentRef[Scripted], hang: Hang) -> None:
    """Exceptions are replies: they wait for what their turn could see (DESIGN 5, Output gate)."""

    def fail(me: Scripted) -> None:
        raise LookupError(me.count)

    add_and_hang(agent, hang)
    failing = agent.submit(Scripted.do, fail)
    run_all_queued(agent)

    assert not failing.done

    hang.release()
    with pytest.raises(LookupError, match="1"):
        failing.get()


def test_a_reply_waits_for_the_whole_commit_of_its_own_change(
    agent: AgentRef[Scripted], hang: Hang, storage: FaultyStorage
) -> None:
    """A turn that ran during a commit is answered by the next one, not by that one."""
    first = add_and_hang(agent, hang)
    second = agent.submit(Scripted.add)
    with storage.hang_next("commit") as next_hang:
        hang.release()
        assert next_hang.entered.wait(PATIENCE)

        assert first.get() == 1
        assert not second.done

    assert second.get() == 2


def test_replies_leave_in_turn_order(agent: AgentRef[Scripted], hang: Hang) -> None:
    """Reading, writing and failing turns are answered in their order (DESIGN 5, Output gate)."""
    order: list[int] = []
    add_and_hang(agent, hang)
    replies: list[Reply[int]] = []
    for n in range(12):
        reply = agent.submit(Scripted.read if n % 3 else Scripted.add)
        reply._add_waiter(lambda n=n: order.append(n))  # type: ignore[misc]  # a default binds it
        replies.append(reply)
    run_all_queued(agent)

    hang.release()
    after(*replies)

    assert order == list(range(12))


def test_a_reading_turn_does_not_overtake_replies_that_may_leave(
    agent: AgentRef[Scripted],
    runtime: Runtime,
    storage: FaultyStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn that ends between a commit and the answers of that commit is answered after them."""
    order: list[str] = []
    gate = Gate()
    release = DurableActor._release

    def release_late(actor: DurableActor) -> None:
        if actor.ready and len(actor.ready) == 1:
            gate.pass_through()
        release(actor)

    monkeypatch.setattr(DurableActor, "_release", release_late)
    with storage.hang_next("commit") as hang:
        add = add_and_hang(agent, hang)
        add._add_waiter(lambda: order.append("add"))
    gate.wait_for_entry()
    read = agent.submit(Scripted.read)
    read._add_waiter(lambda: order.append("read"))
    run_all_queued(agent)
    gate.open()
    after(add, read)

    assert order == ["add", "read"]
    assert runtime.stats().unsaved == 0


def test_tells_are_held_until_the_turn_is_durable(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang
) -> None:
    """``tell``s leave once the turn is durable (DESIGN 5, Output gate)."""

    def tell(me: Scripted) -> None:
        me.count += 1
        receiver.tell(Scripted.add, 5)

    reply = agent.submit(Scripted.do, tell)
    assert hang.entered.wait(PATIENCE)

    assert receiver.ask(Scripted.read) == 0

    hang.release()
    reply.get()
    assert receiver.ask(Scripted.read) == 5


def test_tells_leave_in_order(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang
) -> None:
    """The tells of one turn, and of one turn after another, keep their order."""

    def tell(name: str) -> None:
        for part in "12":
            agent.tell(Scripted.do, lambda me: me.write(name))
            receiver.tell(Scripted.write, name + part)

    add_and_hang(agent, hang)
    for name in "abc":
        agent.tell(Scripted.do, lambda _, name=name: tell(name))
    last = agent.submit(Scripted.read)
    run_all_queued(agent)
    assert receiver.ask(Scripted.do, lambda me: me.log) == ()

    hang.release()
    last.get()
    expected = ("a1", "a2", "b1", "b2", "c1", "c2")
    assert receiver.ask(Scripted.do, lambda me: me.log) == expected


def test_a_reading_turn_holds_its_tells_too(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang
) -> None:
    """A tell may carry what its turn read: it waits for that to be durable."""
    add_and_hang(agent, hang)
    reading = agent.submit(Scripted.do, lambda me: receiver.tell(Scripted.add, me.count))
    run_all_queued(agent)

    assert receiver.ask(Scripted.read) == 0

    hang.release()
    reading.get()
    assert receiver.ask(Scripted.read) == 1


@pytest.mark.parametrize("way", ["ask", "submit", "proxy"])
def test_a_call_made_inside_a_turn_waits_for_earlier_turns(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang, way: str
) -> None:
    """Calls leave only after all earlier turns of the agent are durable (DESIGN 5, Output gate)."""
    sent = Gate()

    def call(me: Scripted) -> int:
        if way == "ask":
            sent.entered.set()
            return receiver.ask(Scripted.add, me.count)
        proxy = receiver.proxy()
        reply: Reply[int] = (
            receiver.submit(Scripted.add, me.count) if way == "submit" else proxy.add(me.count)
        )
        sent.entered.set()
        return reply.get()

    add_and_hang(agent, hang)
    reply = agent.submit(Scripted.do, call)
    sent.wait_for_entry()

    assert receiver.ask(Scripted.read) == 0

    hang.release()
    assert reply.get() == 1


def test_a_call_waits_for_earlier_turns_that_are_not_sent_yet(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang, storage: FaultyStorage
) -> None:
    """Earlier turns that wait for the next commit count as well."""
    sent = Gate()

    def call(_: Scripted) -> int:
        reply = receiver.submit(Scripted.add)
        sent.entered.set()
        return reply.get()

    add_and_hang(agent, hang)
    agent.tell(Scripted.add)
    reply = agent.submit(Scripted.do, call)
    sent.wait_for_entry()
    with storage.hang_next("commit", keys=[agent.address]) as second:
        hang.release()
        assert second.entered.wait(PATIENCE)

        assert receiver.ask(Scripted.read) == 0

    assert reply.get() == 1


def test_a_call_of_the_first_turn_leaves_at_once(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang
) -> None:
    """A call does not wait for its own turn to be durable (DESIGN 5, Output gate)."""

    def call(me: Scripted) -> int:
        me.count += 1
        return receiver.ask(Scripted.add, 5)

    reply = agent.submit(Scripted.do, call)
    assert hang.entered.wait(PATIENCE)

    assert receiver.ask(Scripted.read) == 5

    hang.release()
    assert reply.get() == 5


def test_calls_are_not_undone(agent: AgentRef[Scripted], receiver: AgentRef[Scripted]) -> None:
    """What a failed turn had asked for stays done (DESIGN 5, Output gate)."""

    def call_and_fail(_: Scripted) -> None:
        receiver.ask(Scripted.add, 5)
        raise LookupError

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, call_and_fail)

    assert receiver.ask(Scripted.read) == 5


def test_calls_overtake_the_tells_of_their_turn(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted]
) -> None:
    """An ask leaves before the tells that its turn made earlier (DESIGN 5, Output gate)."""

    def tell_then_ask(_: Scripted) -> None:
        receiver.tell(Scripted.write, "told")
        receiver.ask(Scripted.write, "asked")

    agent.ask(Scripted.do, tell_then_ask)

    assert receiver.ask(Scripted.do, lambda me: me.log) == ("asked", "told")


def test_an_agent_goes_on_while_its_commit_is_under_way(
    agent: AgentRef[Scripted], hang: Hang
) -> None:
    """Later turns run, on the newest state, while an earlier one is being saved."""
    seen: list[int] = []
    gate = Gate()
    add_and_hang(agent, hang)

    def look(me: Scripted) -> None:
        seen.append(me.count)
        gate.entered.set()

    agent.tell(Scripted.do, look)
    gate.wait_for_entry()

    assert seen == [1]


def test_a_tell_made_outside_of_turns_leaves_at_once(
    agent: AgentRef[Scripted], receiver: AgentRef[Scripted], hang: Hang
) -> None:
    """Nothing holds what is not part of a turn."""
    add_and_hang(agent, hang)
    arrived = Gate()

    receiver.tell(Scripted.do, lambda _: arrived.entered.set())

    arrived.wait_for_entry()


def test_a_blocking_caller_commits_on_its_own_thread(
    agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """A lone ``ask`` is loaded, run and committed without waking any other thread."""
    agent.hibernate()

    assert agent.ask(Scripted.add) == 1

    assert runtime.stats().workers == 0
    assert activation_of(agent, runtime).settled


def test_two_threads_get_their_own_replies(agent: AgentRef[Scripted], hang: Hang) -> None:
    """Replies of turns that share a commit reach whoever asked."""
    first = begin(lambda: agent.ask(Scripted.add, 10))
    assert hang.entered.wait(PATIENCE)
    second = agent.submit(Scripted.add, 1)
    hang.release()

    assert (first.result(PATIENCE), second.get()) == (10, 11)
