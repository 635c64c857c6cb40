"""Live agents are pykka's actors, and replies its futures, for code that knows pykka only."""

from __future__ import annotations

import asyncio
import queue
from operator import add
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr

from tests.actors.kit import A_MOMENT, SOON, Scripted, held, run_all_queued, run_loop
from tests.runtime.kit import Gate, activation_of
from torpor import InvalidArgumentsError, Reply, UnknownMethodError

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.activation import Activation
    from torpor.ref import AgentRef


@pytest.fixture
def actor(agent: AgentRef[Scripted], runtime: Runtime) -> Activation:
    """Return the actor of a live agent."""
    return activation_of(agent, runtime)


def test_a_live_agent_is_an_actor(actor: Activation) -> None:
    """It is pykka's type, and names itself by its address."""
    ref: pykka.ActorRef[Any] = actor.actor_ref

    assert isinstance(actor, pykka.Actor)
    assert isinstance(ref, pykka.ActorRef)
    assert ref.is_alive()
    assert ref.actor_urn == actor.actor_urn == "scripted/a"
    assert ref.actor_class is type(actor)
    assert str(actor) == str(ref) == "Activation (scripted/a)"


def test_actors_stay_out_of_the_registry(actor: Activation, agent: AgentRef[Scripted]) -> None:
    """``stop_all`` of other code in the process does not reach them."""
    assert pykka.ActorRegistry.get_all() == []
    pykka.ActorRegistry.stop_all()

    assert actor.actor_ref.is_alive()
    assert agent.ask(Scripted.add) == 1


def test_pykkas_ask_calls_a_method(actor: Activation) -> None:
    """The message is the method itself; the future is a ``Reply``."""
    ref = actor.actor_ref

    assert ref.ask(Scripted.add, timeout=SOON) == 1
    future = ref.ask(Scripted.add, block=False)
    assert isinstance(future, Reply)
    assert future.get(timeout=SOON) == 2


def test_pykkas_ask_raises_what_the_handler_raised(actor: Activation) -> None:
    """By the future, like pykka's own actors."""

    def fail(me: Scripted) -> None:
        me.add(99)
        message = "on purpose"
        raise LookupError(message)

    message = ProxyCall(attr_path=("do",), args=(fail,), kwargs={})
    with pytest.raises(LookupError, match="on purpose"):
        actor.actor_ref.ask(message, timeout=SOON)

    assert actor.actor_ref.ask(Scripted.read, timeout=SOON) == 0


def test_pykkas_ask_waits_no_longer_than_it_is_told(actor: Activation) -> None:
    """It raises ``pykka.Timeout``."""
    gate = Gate()
    hold = ProxyCall(attr_path=("do",), args=(held(gate, repr),), kwargs={})
    actor.actor_ref.tell(hold)
    gate.wait_for_entry()

    with pytest.raises(pykka.Timeout):
        actor.actor_ref.ask(Scripted.read, timeout=A_MOMENT)
    gate.open()


def test_pykkas_tell_sends_in_order(actor: Activation, agent: AgentRef[Scripted]) -> None:
    """With Torpor's own calls in between."""
    for i in range(0, 20, 2):
        actor.actor_ref.tell(ProxyCall(attr_path=("write",), args=(str(i),), kwargs={}))
        agent.tell(Scripted.write, str(i + 1))
    run_all_queued(agent)

    assert agent.ask(Scripted.do, lambda me: me.log) == tuple(map(str, range(20)))


def test_pykkas_messages_read_fields(actor: Activation) -> None:
    """The messages of pykka's proxies mean the agent's methods and fields."""
    ref = actor.actor_ref
    call = ProxyCall(attr_path=("add",), args=(), kwargs={"n": 5})

    assert ref.ask(call, timeout=SOON) == 5
    assert ref.ask(ProxyGetAttr(attr_path=("count",)), timeout=SOON) == 5


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (print, UnknownMethodError),
        ("anything", UnknownMethodError),
        (ProxyCall(attr_path=("on_start",), args=(), kwargs={}), UnknownMethodError),
        (ProxyCall(attr_path=("add",), args=("x", "y"), kwargs={}), InvalidArgumentsError),
        (ProxyGetAttr(attr_path=("agent_spec",)), UnknownMethodError),
    ],
)
def test_what_is_no_call_is_refused_at_the_sender(
    actor: Activation, message: object, error: type[Exception]
) -> None:
    """A wrong message fails where it is sent, asked and told."""
    with pytest.raises(error):
        actor.actor_ref.ask(message, timeout=SOON)
    with pytest.raises(error):
        actor.actor_ref.tell(message)


def test_pykkas_proxy_is_the_agents(actor: Activation) -> None:
    """Methods and fields are futures, ``defer`` tells."""
    proxy = actor.actor_ref.proxy()

    assert proxy.add(2).get(timeout=SOON) == 2
    proxy.add.defer(3)
    assert proxy.count.get(timeout=SOON) == 5


def test_pykkas_stop_hibernates(
    actor: Activation, agent: AgentRef[Scripted], runtime: Runtime
) -> None:
    """What waits is handled first; then this life is over, and the agent's next one begins."""
    ref = actor.actor_ref
    waiting = agent.submit(Scripted.add, 7)

    assert ref.stop(timeout=SOON) is True

    assert waiting.get(timeout=SOON) == 7
    assert agent.address not in runtime.manager.table
    assert not ref.is_alive()
    assert agent.ask(Scripted.read) == 7


def test_the_reference_of_a_life_that_is_over_is_dead(
    actor: Activation, agent: AgentRef[Scripted]
) -> None:
    """The reference of pykka, unlike Torpor's, ends with the copy in memory."""
    ref = actor.actor_ref
    agent.hibernate()

    with pytest.raises(pykka.ActorDeadError):
        ref.ask(Scripted.read, timeout=SOON)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell(Scripted.read)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()
    assert ref.stop(timeout=SOON) is False


def test_an_actor_stops_itself(actor: Activation, agent: AgentRef[Scripted]) -> None:
    """``Actor.stop`` is the same as its reference's."""
    agent.ask(Scripted.add)
    actor.stop()

    assert agent.ask(Scripted.add) == 2
    assert not actor.actor_ref.is_alive()


def test_a_reply_is_a_future(agent: AgentRef[Scripted]) -> None:
    """The functions of pykka on futures work on replies."""
    reply = agent.submit(Scripted.add, 20)

    assert isinstance(reply, pykka.Future)
    assert reply.map(lambda value: value + 1).get(timeout=SOON) == 21
    assert reply.get(timeout=SOON) == reply.get(timeout=SOON) == 20


def test_replies_filter_and_reduce(agent: AgentRef[Scripted]) -> None:
    """Futures of iterables."""

    def is_even(n: int) -> bool:
        return n % 2 == 0

    numbers: Reply[Any] = agent.submit(Scripted.do, lambda _: [1, 2, 3, 4])

    assert numbers.filter(is_even).get(timeout=SOON) == [2, 4]
    assert numbers.reduce(add).get(timeout=SOON) == 10
    assert numbers.reduce(add, 100).get(timeout=SOON) == 110


def test_replies_join(agent: AgentRef[Scripted]) -> None:
    """Of the agents of any runtime, and with pykka's own futures."""
    own: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    own.set(99)
    replies = [agent.submit(Scripted.add) for _ in range(3)]

    assert replies[0].join(*replies[1:], own).get(timeout=SOON) == [1, 2, 3, 99]
    assert pykka.get_all(replies, timeout=SOON) == [1, 2, 3]


def test_a_joined_reply_raises_the_errors_of_its_parts(agent: AgentRef[Scripted]) -> None:
    """The first error is the whole's."""

    def fail(_: Scripted) -> int:
        message = "on purpose"
        raise LookupError(message)

    good, bad = agent.submit(Scripted.add), agent.submit(Scripted.do, fail)

    with pytest.raises(LookupError, match="on purpose"):
        good.join(bad).get(timeout=SOON)
    with pytest.raises(LookupError, match="on purpose"):
        bad.map(str).get(timeout=SOON)


def test_derived_replies_can_be_awaited(agent: AgentRef[Scripted]) -> None:
    """Without blocking the loop that awaits them."""
    gate = Gate()
    reply = agent.submit(Scripted.do, held(gate, lambda _: 20))

    async def main() -> object:
        waiting = asyncio.ensure_future(_wait(reply.map(lambda value: value + 1)))
        await asyncio.sleep(0)
        gate.open()
        return await waiting

    assert run_loop(main()) == 21


async def _wait(future: pykka.Future[Any]) -> object:
    return await future


def test_a_get_hook_makes_the_value_once() -> None:
    """It is called by the first ``get``, with its timeout."""
    reply: Reply[str] = Reply()
    calls: list[float | None] = []

    def hook(timeout: float | None) -> str:
        calls.append(timeout)
        return "made"

    reply.set_get_hook(hook)

    assert reply.get(timeout=3) == reply.get(timeout=4) == "made"
    assert calls == [3]


def test_a_future_is_set_once() -> None:
    """A second value or error is ``queue.Full``, as pykka has it."""
    reply: Reply[int] = Reply()
    reply.set(1)

    with pytest.raises(queue.Full):
        reply.set(2)
    with pytest.raises(queue.Full):
        reply.set_exception((ValueError, ValueError(), None))
    assert reply.get() == 1


def test_a_future_can_be_set_to_an_error() -> None:
    """To a given one, or to the one being handled."""
    given, handled = Reply[int](), Reply[int]()
    error = LookupError("given")
    given.set_exception((LookupError, error, None))
    try:
        message = "handled"
        raise LookupError(message)
    except LookupError:
        handled.set_exception()

    with pytest.raises(LookupError, match="given"):
        given.get()
    with pytest.raises(LookupError, match="handled"):
        handled.get()


def test_a_reply_shows_whether_it_has_come(agent: AgentRef[Scripted]) -> None:
    """Its repr names the agent that is waited for."""
    gate = Gate()
    reply = agent.submit(Scripted.do, lambda _: gate.pass_through())
    assert repr(reply) == "<Reply from scripted/a: pending>"
    gate.open()
    reply.get(timeout=SOON)

    assert repr(reply) == "<Reply: done>"
