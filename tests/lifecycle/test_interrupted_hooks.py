"""Hooks that raise what is no ``Exception``: the agent goes on as after any other that fails."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import pytest

from tests.lifecycle.kit import (
    PATIENCE,
    Gate,
    Late,
    LifeClock,
    Scripted,
    Watch,
    begin,
    done,
    hooked,
    result,
    saved_count,
)
from torpor import Hibernated, HibernationReason, HookFailed, Runtime, ThawError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage

IDLE = 60.0
LEAVING = [SystemExit, KeyboardInterrupt, GeneratorExit]


class Delicate(Scripted):
    """Can be thawed, and brought back after a failing turn, unless told otherwise."""

    broken: ClassVar[type[BaseException] | None] = None

    @classmethod
    def restore(cls, data: dict[str, Any]) -> Self:
        """Return the agent, or raise what the test wants."""
        if cls.broken is not None:
            raise cls.broken
        return super().restore(data)


class Touchy(Scripted):
    """Is left by its ``on_failure``."""

    leaving: ClassVar[type[BaseException]]

    def on_failure(self, error: BaseException) -> None:
        """Change the state, and leave."""
        del error
        self.count = 99
        raise self.leaving


@pytest.fixture(autouse=True)
def _sound() -> None:
    Delicate.broken = None


def leaves(kind: type[BaseException], base: type[Scripted] = Scripted) -> type[Scripted]:
    """Return a class of agents whose ``on_hibernate`` changes the state and is left by ``kind``."""

    class Leaver(base):  # type: ignore[valid-type, misc]
        """Does not finish its goodbye."""

        def on_hibernate(self) -> None:
            """Change the state, and leave."""
            self.count = 99
            self.note("lost")
            raise kind

    return Leaver


def told(watch: Watch) -> list[tuple[str, type[BaseException]]]:
    """Return which hooks failed, and by what."""
    return [(event.hook, type(event.error)) for event in watch.of(HookFailed)]


def call(agent: AgentRef[Any], script: Callable[[Scripted], object], *, inline: bool) -> None:
    """Have an agent run a turn on a thread that asks it, or on a worker."""
    if inline:
        done(begin(lambda: agent.ask(Scripted.do, script)))
    else:
        result(agent.submit(Scripted.do, script))


def held(agent: AgentRef[Any]) -> Gate:
    """Keep an agent busy on a worker, so that what comes next is done by one as well."""
    gate = Gate()
    agent.options(timeout=None).tell(Scripted.do, lambda _: gate.pass_through())
    gate.wait_for_entry()
    return gate


# -- on_hibernate -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEAVING)
def test_an_idle_agent_hibernates_as_it_was_before_its_hook(
    runtime: Runtime, clock: LifeClock, watch: Watch, kind: type[BaseException]
) -> None:
    """What the hook did is undone, an event says so, and the agent can be thawed again."""
    agent = runtime.get(leaves(kind), "a")
    agent.ask(Scripted.add)

    clock.advance(IDLE)

    assert watch.wait(Hibernated) == [Hibernated(agent.address, HibernationReason.IDLE)]
    assert told(watch) == [("on_hibernate", kind)]
    assert agent.ask(Scripted.add) == 2
    assert agent.ask(Scripted.notes) == []


@pytest.mark.parametrize("kind", LEAVING)
def test_who_asked_a_worker_for_it_is_answered(
    runtime: Runtime, watch: Watch, kind: type[BaseException]
) -> None:
    """A hook that leaves fails, and its hibernation does not."""
    agent = runtime.get(leaves(kind), "a")
    agent.ask(Scripted.add)
    gate = held(agent)
    waiting = begin(agent.options(timeout=None).hibernate)
    gate.open()

    done(waiting)
    assert told(watch) == [("on_hibernate", kind)]
    assert agent.ask(Scripted.read) == 1


@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("base", [Scripted, Late])
def test_an_interrupt_of_its_caller_reaches_that(
    runtime: Runtime,
    storage: FaultyStorage,
    watch: Watch,
    kind: type[BaseException],
    base: type[Scripted],
) -> None:
    """The caller who runs the hook is left by it; the agent hibernates without."""
    agent = runtime.get(leaves(kind, base), "a")
    agent.ask(Scripted.add)

    with pytest.raises(kind):
        agent.hibernate()

    asleep = Hibernated(agent.address, HibernationReason.REQUESTED)
    assert watch.wait(Hibernated) == [asleep]
    assert told(watch) == [("on_hibernate", kind)]
    assert saved_count(storage, agent) == 1
    assert agent.ask(Scripted.add) == 2


def test_who_waits_behind_an_interrupted_hook_is_served(runtime: Runtime) -> None:
    """Messages that came while a caller ran the hook get their turns."""
    gate = Gate()

    def leave(me: Scripted) -> None:
        me.count = 99
        gate.pass_through()
        raise KeyboardInterrupt

    agent = runtime.get(hooked(leave), "a")
    agent.ask(Scripted.add)
    hibernating = begin(agent.hibernate)
    gate.wait_for_entry()
    waiting = [agent.submit(Scripted.add) for _ in range(3)]
    gate.open()

    assert isinstance(hibernating.exception(PATIENCE), KeyboardInterrupt)
    assert [result(reply) for reply in waiting] == [2, 3, 4]


@pytest.mark.parametrize("kind", LEAVING)
def test_a_stop_saves_what_was_before(
    storage: FaultyStorage, clock: LifeClock, kind: type[BaseException]
) -> None:
    """It finds nobody stuck and nothing unsaved."""
    runtime = Runtime(storage, clock=clock)
    agent = runtime.get(leaves(kind, Late), "a")
    agent.ask(Scripted.add)

    done(begin(runtime.stop))

    assert saved_count(storage, agent) == 1


# -- the other hooks --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("inline", [False, True])
def test_a_turn_fails_by_what_leaves_its_on_failure(
    runtime: Runtime, watch: Watch, kind: type[BaseException], *, inline: bool
) -> None:
    """It is rolled back, and the agent goes on."""
    Touchy.leaving = kind
    agent = runtime.get(Touchy, "a")
    agent.ask(Touchy.add)

    with pytest.raises(kind) as raised:
        call(agent, lambda _: 1 // 0, inline=inline)

    assert isinstance(raised.value.__context__, ZeroDivisionError)
    assert told(watch) == [("on_failure", kind)]
    assert not agent.status().running
    assert result(agent.submit(Touchy.add)) == 2


def test_an_async_turn_fails_by_what_leaves_its_on_failure(runtime: Runtime) -> None:
    """The loop of the other async handlers goes on too."""
    Touchy.leaving = SystemExit
    agent = runtime.get(Touchy, "a")

    async def fail(_: Scripted) -> None:
        raise LookupError

    async def add(me: Scripted) -> int:
        return me.add()

    for _ in range(2):
        with pytest.raises(SystemExit):
            result(agent.submit(Touchy.do_async, fail))
    assert result(agent.submit(Touchy.do_async, add)) == 1


@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("inline", [False, True])
def test_a_copy_that_cannot_be_rolled_back_is_dropped(
    runtime: Runtime, kind: type[BaseException], *, inline: bool
) -> None:
    """Whoever called learns of it, and the next one meets what is stored."""
    agent = runtime.get(Delicate, "a")
    agent.ask(Delicate.add)

    def fail(me: Scripted) -> None:
        me.count = 99
        Delicate.broken = kind
        raise LookupError

    with pytest.raises(kind):
        call(agent, fail, inline=inline)
    Delicate.broken = None

    assert result(agent.submit(Delicate.add)) == 2


@pytest.mark.parametrize("kind", LEAVING)
def test_a_thaw_that_a_hook_leaves_fails(runtime: Runtime, kind: type[BaseException]) -> None:
    """On a worker it is a failure like any other: nobody waits for ever."""
    agent = runtime.get(Delicate, "a")
    agent.ask(Delicate.add)
    agent.hibernate()
    Delicate.broken = kind

    with pytest.raises(ThawError) as raised:
        result(agent.submit(Delicate.add))

    assert isinstance(raised.value.__cause__, kind)
    Delicate.broken = None
    runtime.manager._failures.clear()
    assert result(agent.submit(Delicate.add)) == 2


def test_an_interrupted_thaw_harms_nobody(runtime: Runtime) -> None:
    """The caller who carries it out is interrupted; whoever comes next gets the agent."""
    agent = runtime.get(Delicate, "a")
    agent.ask(Delicate.add)
    agent.hibernate()
    gate = Gate()

    class Interrupt(KeyboardInterrupt):
        """Comes while others wait."""

        def __init__(self) -> None:
            gate.pass_through()
            Delicate.broken = None

    Delicate.broken = Interrupt
    asking = begin(lambda: agent.ask(Delicate.read))
    gate.wait_for_entry()
    waiting = agent.submit(Delicate.add)
    gate.open()

    assert isinstance(asking.exception(PATIENCE), KeyboardInterrupt)
    assert result(waiting) == 2


def test_a_listener_that_leaves_ends_what_it_was_told_of(runtime: Runtime) -> None:
    """All callers are answered, both agents go on, and a stop goes on with the others."""

    def leave(_: HookFailed) -> None:
        raise SystemExit

    runtime.listen(leave, HookFailed)
    Touchy.leaving = KeyboardInterrupt
    touchy, leaver = runtime.get(Touchy, "a"), runtime.get(leaves(KeyboardInterrupt), "b")
    leaver.ask(Scripted.add)

    with pytest.raises(SystemExit):
        result(touchy.submit(Touchy.do, lambda _: 1 // 0))
    gate = held(leaver)
    hibernating = begin(leaver.options(timeout=None).hibernate)
    gate.open()
    assert isinstance(hibernating.exception(PATIENCE), SystemExit)

    for agent in (touchy, leaver):
        assert not agent.status().running
        assert result(agent.submit(Scripted.read)) == (agent is leaver)
    done(begin(runtime.stop))


def test_a_caller_interrupted_in_the_middle_of_a_turn_leaves_the_agent_in_order(
    runtime: Runtime,
) -> None:
    """Nothing of that turn is kept, and it is not counted as running for ever."""

    def leave(_: HookFailed) -> None:
        raise KeyboardInterrupt

    runtime.listen(leave, HookFailed)
    Touchy.leaving = SystemExit
    agent = runtime.get(Touchy, "a")
    agent.ask(Touchy.add)

    with pytest.raises(KeyboardInterrupt):
        agent.ask(Touchy.do, lambda _: 1 // 0)

    assert agent.ask(Touchy.add) == 2
    assert not agent.status().running
