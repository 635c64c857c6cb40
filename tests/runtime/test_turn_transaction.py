"""A turn is a transaction: all that it did is kept, or nothing of it."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# A script may be any callable, and interleavings are brought about from within.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import PrivateAttr

from tests.runtime.kit import Scripted, activation_of, saved_count
from torpor import Agent, HookFailed, InvalidStateError, Runtime

if TYPE_CHECKING:
    from tests.runtime.kit import Watch
    from torpor.storage import Storage
    from torpor.storage.faulty import FaultyStorage


def spoil(agent: Scripted) -> None:
    """Change all there is, and fail."""
    agent.count = 99
    agent.log = ("spoilt",)
    agent.thread.append("note", {"text": "spoilt"})
    message = "no"
    raise LookupError(message)


def test_a_failed_turn_leaves_fields_as_before(any_storage: Storage) -> None:
    """If the handler raises, the fields are as before the turn (DESIGN 5, Turn, HC-32)."""
    with Runtime(any_storage) as runtime:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.add, 3)

        with pytest.raises(LookupError):
            agent.ask(Scripted.do, spoil)

        assert agent.ask(Scripted.do, lambda me: (me.count, me.log)) == (3, ())
        assert saved_count(any_storage, agent) == 3


def test_a_failed_turn_leaves_the_thread_as_before(any_storage: Storage) -> None:
    """If the handler raises, its thread entries are gone, seen from inside and after a thaw."""
    with Runtime(any_storage) as runtime:
        agent = runtime.get(Scripted, "a")
        agent.ask(Scripted.note, "kept")

        with pytest.raises(LookupError):
            agent.ask(Scripted.do, spoil)

        assert agent.ask(Scripted.notes) == ["kept"]
        agent.hibernate()
        assert agent.ask(Scripted.notes) == ["kept"]
        assert agent.ask(Scripted.note, "next") == 2


def test_a_failed_turn_drops_the_tells_that_it_held(runtime: Runtime) -> None:
    """If the handler raises, what it told others was never told (DESIGN 5, Turn)."""
    sender, receiver = runtime.get(Scripted, "sender"), runtime.get(Scripted, "receiver")

    def tell_and_fail(_: Scripted) -> None:
        receiver.tell(Scripted.add, 5)
        message = "no"
        raise LookupError(message)

    with pytest.raises(LookupError):
        sender.ask(Scripted.do, tell_and_fail)
    sender.ask(Scripted.do, lambda _: receiver.tell(Scripted.add, 1))

    assert receiver.ask(Scripted.read) == 1


def test_the_caller_gets_the_very_exception(runtime: Runtime) -> None:
    """What a handler raises reaches its caller as the same object (DESIGN 5, Turn)."""
    error = LookupError("mine")

    def fail(_: Scripted) -> None:
        raise error

    with pytest.raises(LookupError) as raised:
        runtime.get(Scripted, "a").ask(Scripted.do, fail)

    assert raised.value is error


def test_a_failed_turn_writes_nothing(runtime: Runtime, storage: FaultyStorage) -> None:
    """A rolled back turn is no reason to save (DESIGN 5, Turn; Records 5)."""
    with pytest.raises(LookupError):
        runtime.get(Scripted, "a").ask(Scripted.do, spoil)

    assert storage.calls["commit"] == 0


def test_a_failed_turn_may_have_read_what_it_changed(runtime: Runtime) -> None:
    """The rollback base is the state after the last finished turn, not the stored one."""
    agent = runtime.get(Scripted, "a")
    agent.ask(Scripted.add, 1)
    agent.ask(Scripted.add, 1)

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert agent.ask(Scripted.add, 1) == 3


def test_a_rollback_keeps_the_object(runtime: Runtime) -> None:
    """Fields are decoded back into the same agent object (DESIGN 5, Turn)."""
    agent = runtime.get(Scripted, "a")
    before = agent.ask(Scripted.do, id)

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert agent.ask(Scripted.do, id) == before


class Remembering(Scripted):
    """Has something private."""

    _seen: list[str] = PrivateAttr(default_factory=list[str])

    def fail_after(self, text: str) -> None:
        """Note ``text`` privately, and fail."""
        self._seen.append(text)
        raise LookupError(text)

    def seen(self) -> list[str]:
        """Return what was noted."""
        return self._seen


def test_private_attributes_are_not_rolled_back(runtime: Runtime) -> None:
    """Private attributes are neither saved nor rolled back (DESIGN 1)."""
    agent = runtime.get(Remembering, "a")

    with pytest.raises(LookupError):
        agent.ask(Remembering.fail_after, "noted")

    assert agent.ask(Remembering.seen) == ["noted"]
    agent.hibernate()
    assert agent.ask(Remembering.seen) == []


def test_a_mutated_field_is_a_change(runtime: Runtime, storage: FaultyStorage) -> None:
    """A change deep inside a field is noticed, saved and rolled back like any other."""

    class Basket(Agent):
        items: dict[str, list[int]] = {}  # noqa: RUF012 - pydantic copies it

        def put(self, n: int, *, fail: bool = False) -> int:
            self.items.setdefault("all", []).append(n)
            if fail:
                raise LookupError(n)
            return len(self.items["all"])

    agent = runtime.get(Basket, "a")
    agent.ask(Basket.put, 1)
    with pytest.raises(LookupError):
        agent.ask(Basket.put, 2, fail=True)

    assert agent.ask(Basket.put, 3) == 2
    stored = storage.get_checkpoint(agent.address)
    assert stored is not None
    assert stored.value == {"items": {"all": [1, 3]}}


class Started(Scripted):
    """Changes itself when its life begins, and at each thaw."""

    def on_start(self) -> None:
        """Note it."""
        self.log = (*self.log, "started")

    def on_thaw(self) -> None:
        """Note it."""
        self.log = (*self.log, "thawed")


def test_on_start_is_part_of_the_first_turn(runtime: Runtime) -> None:
    """If the first turn fails, ``on_start`` is undone with it and runs again (DESIGN 5, Turn)."""
    agent = runtime.get(Started, "a")

    with pytest.raises(LookupError):
        agent.ask(Started.do, spoil)

    assert saved_count(runtime.storage, agent) is None
    assert agent.ask(Started.do, lambda me: me.log) == ("started",)
    assert agent.ask(Started.do, lambda me: me.log) == ("started",)


def test_on_thaw_is_part_of_the_first_turn_after_it(runtime: Runtime) -> None:
    """If the first turn after a thaw fails, ``on_thaw`` is undone with it and runs again."""
    agent = runtime.get(Started, "a")
    agent.ask(Started.add)
    agent.hibernate()

    with pytest.raises(LookupError):
        agent.ask(Started.do, spoil)

    assert agent.ask(Started.do, lambda me: me.log) == ("started", "thawed")


def test_on_start_runs_once_in_a_life(runtime: Runtime) -> None:
    """A stored agent's later lives in memory begin with ``on_thaw`` alone."""
    agent = runtime.get(Started, "a")
    for _ in range(3):
        agent.ask(Started.add)
        agent.hibernate()

    assert agent.ask(Started.do, lambda me: me.log) == ("started", *["thawed"] * 3)


def test_a_failing_on_start_fails_the_turn(runtime: Runtime) -> None:
    """If ``on_start`` raises, the handler does not run and the caller gets its exception."""
    ran: list[str] = []

    class Unready(Scripted):
        def on_start(self) -> None:
            self.count = 7
            if not ran:
                ran.append("start")
                message = "not yet"
                raise ConnectionError(message)

    agent = runtime.get(Unready, "a")

    with pytest.raises(ConnectionError, match="not yet"):
        agent.ask(Unready.do, lambda _: ran.append("handler"))

    assert ran == ["start"]
    assert agent.ask(Unready.add) == 8


def test_a_failing_on_thaw_fails_the_turn(runtime: Runtime, other: Runtime) -> None:
    """If ``on_thaw`` raises, the handler does not run; the next message tries again."""
    failures = [ConnectionError("not yet")]

    class Unready(Scripted, kind="scripted"):
        def on_thaw(self) -> None:
            self.count += 100
            if failures:
                raise failures.pop()

    other.get(Scripted, "a").ask(Scripted.add, 1)
    agent = runtime.get(Unready, "a")

    with pytest.raises(ConnectionError):
        agent.ask(Unready.add)

    assert saved_count(runtime.storage, agent) == 1
    assert agent.ask(Unready.add) == 102


def test_a_fresh_agent_that_is_only_read_is_not_stored(runtime: Runtime) -> None:
    """A fresh agent is stored once it differs from its defaults (DESIGN 5, Turn)."""
    agent = runtime.get(Scripted, "a")

    agent.ask(Scripted.read)
    agent.hibernate()
    assert saved_count(runtime.storage, agent) is None

    agent.ask(Scripted.add)
    assert saved_count(runtime.storage, agent) == 1


def test_a_fresh_agent_with_initial_is_stored_at_once(runtime: Runtime) -> None:
    """With ``initial`` a fresh agent is stored even by a turn that changes nothing."""
    agent = runtime.get(Scripted, "a", initial={"count": 5})

    assert agent.ask(Scripted.read) == 5

    assert saved_count(runtime.storage, agent) == 5


def test_initial_is_kept_when_the_first_turn_fails(runtime: Runtime) -> None:
    """``initial`` is what a failed first turn is rolled back to."""
    agent = runtime.get(Scripted, "a", initial={"count": 5})

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    assert runtime.get(Scripted, "a").ask(Scripted.read) == 5


def test_a_stored_agent_ignores_initial(runtime: Runtime) -> None:
    """``initial`` is for an agent that is not stored yet, and for no other."""
    runtime.get(Scripted, "a").ask(Scripted.add, 1)
    runtime.get(Scripted, "a").hibernate()

    assert runtime.get(Scripted, "a", initial={"count": 5}).ask(Scripted.read) == 1


def test_a_failing_on_hibernate_keeps_the_state_before_it(runtime: Runtime, watch: Watch) -> None:
    """If ``on_hibernate`` raises, the state before it is saved and an event says so."""

    class Restless(Scripted):
        def on_hibernate(self) -> None:
            self.count = 99
            self.note("spoilt")
            message = "not now"
            raise ConnectionError(message)

    agent = runtime.get(Restless, "a")
    agent.ask(Restless.add, 2)
    agent.hibernate()

    assert agent.status().state == "asleep"
    assert (agent.ask(Restless.read), agent.ask(Restless.notes)) == (2, [])
    [event] = watch.of(HookFailed)
    assert (event.agent, event.hook) == (agent.address, "on_hibernate")
    assert isinstance(event.error, ConnectionError)


def test_what_on_hibernate_changes_is_saved(runtime: Runtime) -> None:
    """``on_hibernate`` may change fields and thread."""

    class Tidy(Scripted):
        def on_hibernate(self) -> None:
            self.count += 10
            self.note("good night")

    agent = runtime.get(Tidy, "a")
    agent.ask(Tidy.add, 1)
    agent.hibernate()

    assert (agent.ask(Tidy.read), agent.ask(Tidy.notes)) == (11, ["good night"])


def test_a_failing_on_hibernate_sends_nothing(runtime: Runtime) -> None:
    """What ``on_hibernate`` told others leaves with its changes, or not at all."""
    receiver = runtime.get(Scripted, "receiver")

    class Chatty(Scripted):
        def on_hibernate(self) -> None:
            receiver.tell(Scripted.add, 1)
            if self.count == 1:
                message = "not now"
                raise ConnectionError(message)

    agent = runtime.get(Chatty, "a")
    for expected in (0, 1):
        agent.ask(Chatty.add)
        agent.hibernate()
        assert receiver.ask(Scripted.read) == expected


class Careful(Scripted):
    """Notes its failures."""

    def on_failure(self, error: BaseException) -> None:
        """Note what failed."""
        self.log = (*self.log, type(error).__name__)
        if self.count == 13:
            self.note("spoilt")
            message = "unlucky"
            raise ConnectionError(message)


def test_what_on_failure_changes_is_kept(runtime: Runtime) -> None:
    """``on_failure`` runs after the rollback, and what it changes is saved."""
    agent = runtime.get(Careful, "a")

    with pytest.raises(LookupError):
        agent.ask(Careful.do, spoil)

    agent.hibernate()
    assert agent.ask(Careful.do, lambda me: (me.count, me.log)) == (0, ("LookupError",))


def test_a_failing_on_failure_is_undone(runtime: Runtime, watch: Watch) -> None:
    """If ``on_failure`` raises, its changes are undone; the caller gets the first error."""
    agent = runtime.get(Careful, "a")
    agent.ask(Careful.add, 13)

    with pytest.raises(LookupError):
        agent.ask(Careful.do, spoil)

    assert agent.ask(Careful.do, lambda me: (me.log, me.notes())) == ((), [])
    [event] = watch.of(HookFailed)
    assert event.hook == "on_failure"


class Unstorable(Scripted):
    """Can get into a state that could not be thawed again."""

    anything: Any = None

    def put(self, value: object) -> None:
        """Take any object as a field's value."""
        self.anything = value

    def break_count(self) -> None:
        """Get round the validation of assignments."""
        vars(self).update(count="many")


def test_an_invalid_state_is_rolled_back(runtime: Runtime, storage: FaultyStorage) -> None:
    """A turn that leaves what could not be thawed raises ``InvalidStateError`` (Records 7)."""
    agent = runtime.get(Unstorable, "a")
    agent.ask(Unstorable.add, 1)
    commits = storage.calls["commit"]

    with pytest.raises(InvalidStateError):
        agent.ask(Unstorable.break_count)

    assert agent.ask(Unstorable.read) == 1
    assert storage.calls["commit"] == commits


def test_a_state_that_is_no_json_is_rolled_back(runtime: Runtime) -> None:
    """A field with no JSON form is an ``InvalidStateError`` (Records 7)."""
    agent = runtime.get(Unstorable, "a")

    with pytest.raises(InvalidStateError):
        agent.ask(Unstorable.put, object())

    assert agent.ask(Unstorable.do, lambda me: me.anything) is None


def test_the_validation_before_a_save_can_be_left_out(runtime: Runtime) -> None:
    """``validate_on_save=False`` commits without decoding first (Records 7)."""

    class Trusting(Unstorable, validate_on_save=False):
        pass

    agent = runtime.get(Trusting, "a")

    agent.ask(Trusting.break_count)

    stored = runtime.storage.get_checkpoint(agent.address)
    assert stored is not None
    assert stored.value["count"] == "many"


def test_a_failed_turn_is_counted_and_leaves_the_agent_at_rest(runtime: Runtime) -> None:
    """After a failed turn nothing runs, nothing waits, nothing is unsaved."""
    agent = runtime.get(Scripted, "a")

    with pytest.raises(LookupError):
        agent.ask(Scripted.do, spoil)

    status = agent.status()
    assert (status.running, status.waiting, status.unsaved) == (False, 0, False)
    assert activation_of(agent, runtime).claimed is False
    assert runtime.stats().turns == 1
