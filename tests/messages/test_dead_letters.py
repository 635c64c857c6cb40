"""What fails too often is kept aside: to be looked at, replayed, or purged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.messages.kit import Receiver, Sender, held, outbox_of
from tests.runtime.kit import PATIENCE, Watch, begin, eventually
from torpor import AgentRef, MessageDied, Runtime, StorageUnavailableError
from torpor.deadletters import dead_letters_of
from torpor.outbox import MAX_FAILURES
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    import pytest

    from tests.runtime.quiet import QuietClock
    from torpor.storage import Storage


class Awkward(Receiver):
    """Can't do what it is asked for."""

    async def fail(self) -> None:
        """Fail for good."""
        raise LookupError


def fail_for_good(runtime: Runtime, clock: QuietClock, sender: AgentRef[Sender]) -> None:
    """Let time pass until the oldest message of ``sender`` has failed for the last time."""
    for failures in range(1, MAX_FAILURES):
        eventually(
            lambda count=failures: (
                held(runtime, sender)  # type: ignore[misc]
                and outbox_of(runtime.storage, sender)[0]["failures"] == count
            )
        )
        clock.advance(min(2 ** (failures - 1), 300))
    eventually(lambda: sender.dead_letters() != [])


def test_what_is_given_up_is_kept_by_its_sender(runtime: Runtime, clock: QuietClock) -> None:
    """It leaves the outbox for the dead letters in one commit; the next is tried (HC-7, HC-23)."""
    watch = Watch(runtime)
    sender, receiver = runtime.get(Sender, "a"), runtime.get(Receiver, "b")
    Receiver.broken.add("1")
    first, _ = sender.ask(Sender.pass_on, "b", "1", "2")
    fail_for_good(runtime, clock, sender)

    eventually(lambda: receiver.ask(Receiver.received) == ["2"])
    [letter] = sender.dead_letters()
    assert (letter.id, letter.sender, letter.target) == (first, "sender/a", "agent:receiver/b")
    assert letter.payload == {"method": "take", "args": ["1"]}
    assert (letter.failures, letter.error) == (MAX_FAILURES, "LookupError: 1")
    assert watch.wait(MessageDied) == [
        MessageDied("sender/a", "agent:receiver/b", first, "LookupError: 1")
    ]
    assert list(runtime.dead_letters()) == [("sender/a", letter)]


def test_replay(runtime: Runtime, clock: QuietClock) -> None:
    """A letter that is replayed is a new message, applied once."""
    sender, receiver = runtime.get(Sender, "a"), runtime.get(Receiver, "b")
    Receiver.broken.add("1")
    sender.ask(Sender.pass_on, "b", "1")
    fail_for_good(runtime, clock, sender)
    Receiver.broken.clear()

    assert sender.replay_dead_letters() == 1
    assert sender.replay_dead_letters() == 0
    eventually(lambda: receiver.ask(Receiver.received) == ["1"])
    assert sender.dead_letters() == []


def test_purge(memory: Storage, clock: QuietClock) -> None:
    """A letter that is purged is gone."""
    with Runtime(memory, clock=clock) as runtime:
        clock.watch(runtime)
        sender = runtime.get(Sender, "a")
        Receiver.broken.add("1")
        sender.ask(Sender.pass_on, "b", "1")
        fail_for_good(runtime, clock, sender)
        [letter] = sender.dead_letters()
        assert sender.purge_dead_letters(letter.id) == 1
        assert sender.dead_letters() == []
        assert list(runtime.dead_letters()) == []


def test_nobody_has_dead_letters_who_never_lived(memory: Storage) -> None:
    """Asking for them makes no agent."""
    with Runtime(memory) as runtime:
        nobody = runtime.get(Sender, "nobody")
        assert nobody.dead_letters() == []
        assert nobody.replay_dead_letters() == nobody.purge_dead_letters() == 0
        assert memory.get_checkpoint(nobody.address) is None


def test_what_can_not_be_indexed_is_not_given_up(memory: Storage, clock: QuietClock) -> None:
    """Without its place in the index a letter would be lost to a finder: it goes on waiting."""
    with FaultyStorage(memory) as storage, Runtime(storage, clock=clock) as runtime:
        clock.watch(runtime)
        sender = runtime.get(Sender, "a")
        put = storage.put_checkpoint

        def away(*_: object, **__: object) -> int:
            msg = "away"
            raise StorageUnavailableError(msg)

        storage.put_checkpoint = away  # type: ignore[method-assign]
        Receiver.broken.add("1")
        sender.ask(Sender.pass_on, "b", "1")
        for failures in range(1, MAX_FAILURES + 1):
            eventually(
                lambda count=failures: (
                    held(runtime, sender)  # type: ignore[misc]
                    and outbox_of(memory, sender)[0]["failures"] == count
                )
            )
            if failures == MAX_FAILURES:
                storage.put_checkpoint = put  # type: ignore[method-assign]
            clock.advance(300)
        eventually(lambda: sender.dead_letters() != [])


def test_giving_up_holds_no_event_loop(
    memory: Storage, clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a dead letter of an async handler is written, other handlers run on its loop."""
    monkeypatch.setattr("torpor.origin.MAX_FAILURES", 1)

    with FaultyStorage(memory) as storage, Runtime(storage, clock=clock) as runtime:
        awkward, other = runtime.get(Awkward, "a"), runtime.get(Receiver, "b")
        with storage.hang_next("commit", keys=[f"$dead/{awkward.address}"]) as writing:
            awkward.send(Awkward.fail)
            assert writing.entered.wait(PATIENCE)
            waiting = awkward.submit(Awkward.received)
            other.submit(Receiver.take_async, "meanwhile").get(timeout=PATIENCE)
            assert not waiting.done

        assert waiting.get(timeout=PATIENCE) == []
        [letter] = awkward.dead_letters()
        assert letter.error == "LookupError: "


def test_a_stop_waits_for_a_dead_letter(
    memory: Storage, clock: QuietClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an async handler has failed at for good is in its agent's record afterwards."""
    monkeypatch.setattr("torpor.origin.MAX_FAILURES", 1)
    with FaultyStorage(memory) as storage:
        runtime = Runtime(storage, clock=clock)
        awkward = runtime.get(Awkward, "a")
        with storage.hang_next("commit", keys=[f"$dead/{awkward.address}"]) as writing:
            awkward.send(Awkward.fail)
            assert writing.entered.wait(PATIENCE)
            stopping = begin(runtime.stop)
            eventually(lambda: runtime.manager.stopping)

        stopping.result(PATIENCE)
        [letter] = dead_letters_of(memory, awkward.address)
        assert letter.error == "LookupError: "
