"""Agents that would wait for each other for ever are told so at once."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.actors.kit import A_MOMENT, SOON, Scripted, new_runtime, run_loop
from tests.runtime.kit import Gate
from torpor import CallCycleError, CallTimeoutError, Reply
from torpor.clock import SystemClock
from torpor.turn import current_turn
from torpor.waits import WaitGraph

if TYPE_CHECKING:
    from torpor import Runtime
    from torpor.ref import AgentRef


class Linked(Scripted):
    """Passes calls along a path of agents."""

    def follow(self, path: list[str]) -> str:
        """Ask the next of ``path`` to follow the rest."""
        if not path:
            return self.id
        return self.runtime.get(Linked, path[0]).ask(Linked.follow, path[1:])

    def follow_by_reply(self, path: list[str]) -> str:
        """Do the same by ``submit(…).get()``."""
        if not path:
            return self.id
        following = self.runtime.get(Linked, path[0])
        return following.submit(Linked.follow_by_reply, path[1:]).get()

    async def follow_by_await(self, path: list[str]) -> str:
        """Do the same by ``await``."""
        if not path:
            return self.id
        return await self.runtime.get(Linked, path[0]).submit(Linked.follow_by_await, path[1:])


WAYS: list[Any] = [Linked.follow, Linked.follow_by_reply, Linked.follow_by_await]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("starts", ["ask", "submit"])
def test_a_ring_is_found_at_once(runtime: Runtime, way: Any, starts: str) -> None:
    """Whoever closes the ring gets the error, with the chain (HC-21)."""
    first = runtime.get(Linked, "a")

    def start() -> None:
        if starts == "ask":
            first.ask(way, ["b", "c", "a"])
        else:
            first.submit(way, ["b", "c", "a"]).get(timeout=SOON)

    with pytest.raises(CallCycleError) as caught:
        start()

    ring = ["linked/a", "linked/b", "linked/c"]
    closer = ring.index(caught.value.agent)
    assert list(caught.value.chain) == [*ring[closer:], *ring[:closer], ring[closer]]
    assert caught.value.outcome == "not_run"


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_that_waits_for_itself_is_a_ring(runtime: Runtime, way: Any) -> None:
    """The shortest ring has one member (HC-21)."""
    with pytest.raises(CallCycleError) as caught:
        runtime.get(Linked, "a").submit(way, ["a"]).get(timeout=SOON)

    assert caught.value.chain == ("linked/a", "linked/a")


@pytest.mark.parametrize("way", WAYS)
def test_a_path_that_only_looks_like_a_ring_is_followed(runtime: Runtime, way: Any) -> None:
    """Calling the same agents again later, one after the other, is no deadlock."""
    for _ in range(3):
        assert runtime.get(Linked, "a").ask(way, ["b", "c"]) == "c"
        assert runtime.get(Linked, "c").ask(way, ["b", "a"]) == "a"


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_ring(runtime: Runtime, way: Any) -> None:
    """After the error every member works, and no wait is remembered."""
    with pytest.raises(CallCycleError):
        runtime.get(Linked, "a").submit(way, ["b", "a"]).get(timeout=SOON)

    assert runtime.get(Linked, "a").ask(way, ["b"]) == "b"
    assert runtime.get(Linked, "b").ask(way, ["a"]) == "a"
    assert not runtime.manager.waits._edges


def test_the_closer_may_handle_the_error(runtime: Runtime) -> None:
    """Only the call that closes the ring fails: its caller may go another way."""
    first, second = runtime.get(Linked, "a"), runtime.get(Linked, "b")

    def try_back(_: Scripted) -> str:
        try:
            return first.ask(Linked.follow, [])
        except CallCycleError:
            return "went another way"

    assert first.ask(Linked.do, lambda _: second.ask(Linked.do, try_back)) == "went another way"


def test_submitting_alone_is_no_wait(runtime: Runtime) -> None:
    """An agent that only submits may be asked back: it is free once its turn ends."""
    first, second = runtime.get(Linked, "a"), runtime.get(Linked, "b")

    def submit(_: Scripted) -> Reply[Any]:
        return second.submit(Linked.follow, ["a"])

    reply = first.ask(Linked.do, submit)

    assert reply.get(timeout=SOON) == "a"


def test_telling_each_other_is_no_wait(runtime: Runtime) -> None:
    """Two agents that tell each other never wait."""
    first, second = runtime.get(Linked, "a"), runtime.get(Linked, "b")
    done = threading.Event()

    def back(_: Scripted) -> None:
        first.tell(Linked.do, lambda _: done.set())

    first.ask(Linked.do, lambda _: second.tell(Linked.do, back))

    assert done.wait(SOON)


def test_a_wait_that_timed_out_is_no_wait(runtime: Runtime) -> None:
    """An agent that gave up waiting for another one can be asked by it."""
    first, second = runtime.get(Linked, "a"), runtime.get(Linked, "b")
    gate = Gate()

    def give_up(_: Scripted) -> None:
        with pytest.raises(CallTimeoutError):
            second.options(timeout=0.1).submit(Linked.do, ask_back).get()
        assert not runtime.manager.waits._edges
        gate.open()

    def ask_back(_: Scripted) -> str:
        gate.pass_through()
        return first.ask(Linked.follow, [])

    first.submit(Linked.do, give_up).get(timeout=SOON)

    assert second.ask(Linked.follow, []) == "b"


class DrowsyClock(SystemClock):
    """Keeps one agent's turn from noticing its reply until another agent waits."""

    def __init__(self, drowsy: str, waker: str) -> None:
        self.drowsy = drowsy
        self.waker = waker
        self.waits = threading.Event()
        self._wake = threading.Event()

    def acquire(self, lock: threading.Lock, deadline: float | None) -> bool:
        """Acquire ``lock``, late for the drowsy agent."""
        turn = current_turn()
        waiter = turn.activation.address if turn is not None else ""
        if waiter == self.waker:
            self._wake.set()
        if waiter == self.drowsy:
            self.waits.set()
        came = super().acquire(lock, deadline)
        if waiter == self.drowsy:
            assert self._wake.wait(SOON), "the other agent does not wait"
        return came


def test_a_reply_that_has_come_is_waited_for_no_more() -> None:
    """An agent whose answer is there, but which sleeps yet, is no member of a ring."""
    clock = DrowsyClock("linked/b", "linked/c")
    with new_runtime(clock=clock) as runtime:
        b, c = runtime.get(Linked, "b"), runtime.get(Linked, "c")
        gate = Gate()

        def work(_: Scripted) -> str:
            gate.pass_through()
            return "worked"

        waits = b.submit(Linked.do, lambda _: c.submit(Linked.do, work).get())
        assert clock.waits.wait(SOON)
        asks_back = c.submit(Linked.do, lambda _: b.ask(Linked.follow, []))
        gate.open()

        assert waits.get(timeout=SOON) == "worked"
        assert asks_back.get(timeout=SOON) == "b"


def test_the_graph_forgets_waits_whose_reply_is_there() -> None:
    """The same, of the graph alone."""
    graph, come, pending = WaitGraph(), Reply[int](), Reply[int]()
    come.set(1)

    with graph.waiting("a", "b", come), graph.waiting("b", "a", pending):
        pass
    with (
        graph.waiting("a", "b", pending),
        pytest.raises(CallCycleError),
        graph.waiting("b", "a", pending),
    ):
        pass


def test_a_turn_may_wait_for_many_agents_at_once() -> None:
    """Each of the agents that an async turn awaits can close a ring."""
    with new_runtime() as runtime:
        a, b, c = (runtime.get(Linked, key) for key in "abc")

        async def fan_out(_: Scripted) -> Any:
            return await asyncio.gather(
                b.submit(Linked.follow_by_await, []),
                c.submit(Linked.follow_by_await, ["a"]),
                return_exceptions=True,
            )

        free, ring = a.submit(Linked.do_async, fan_out).get(timeout=SOON)

        assert free == "b"
        assert isinstance(ring, CallCycleError)
        assert not runtime.manager.waits._edges


def test_a_program_that_waits_is_no_member(agent: AgentRef[Scripted]) -> None:
    """Only turns are: a thread outside of turns can wait for whatever it likes."""
    gate = Gate()
    agent.tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()

    async def main() -> None:
        with pytest.raises(CallTimeoutError):
            await agent.options(timeout=A_MOMENT).submit(Scripted.read)

    run_loop(main())
    gate.open()

    assert agent.ask(Scripted.read) == 0
