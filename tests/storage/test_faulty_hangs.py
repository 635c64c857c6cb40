"""``FaultyStorage`` lets an operation hang until a test releases it, or takes its time."""

from __future__ import annotations

import threading

from torpor.storage import Saved, Storage
from torpor.storage.errors import StorageClosedError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.testing.kit import PATIENCE, put


def test_hang_lasts_until_release(faulty: FaultyStorage, inner: Storage) -> None:
    """An operation that hangs says that it arrived, and goes on when it is released."""
    outcomes: list[object] = []
    with faulty.hang_next("commit") as hang:
        thread = threading.Thread(target=lambda: outcomes.extend(faulty.commit([put("agent")])))
        thread.start()
        assert hang.entered.wait(PATIENCE)
        assert inner.get_checkpoint("agent") is None
        assert faulty.get_checkpoint("other") is None

    thread.join(PATIENCE)
    assert outcomes == [Saved(1)]
    assert inner.get_checkpoint("agent") is not None


def test_hang_after_the_write(faulty: FaultyStorage, inner: Storage) -> None:
    """Only the answer may hang, while the write has been done."""
    outcomes: list[object] = []
    hang = faulty.hang_next("commit", after=True)
    thread = threading.Thread(target=lambda: outcomes.extend(faulty.commit([put("agent")])))
    thread.start()

    assert hang.entered.wait(PATIENCE)
    assert inner.get_checkpoint("agent") is not None
    assert outcomes == []

    hang.release()
    thread.join(PATIENCE)
    assert outcomes == [Saved(1)]


def test_release_may_come_first(faulty: FaultyStorage) -> None:
    """What has been released before it arrives does not hang at all."""
    hang = faulty.hang_next("read")
    hang.release()

    assert faulty.get_checkpoint("agent") is None
    assert hang.entered.is_set()


def test_close_ends_what_hangs(faulty: FaultyStorage, inner: Storage) -> None:
    """Closing lets no thread hang for ever, and leaves the wrapped storage open."""
    errors: list[BaseException] = []

    def read() -> None:
        try:
            faulty.get_checkpoint("agent")
        except StorageClosedError as error:
            errors.append(error)

    hang = faulty.hang_next("read")
    thread = threading.Thread(target=read)
    thread.start()
    assert hang.entered.wait(PATIENCE)

    faulty.close()

    thread.join(PATIENCE)
    assert len(errors) == 1
    assert inner.get_checkpoint("agent") is None


def test_slow_operation_uses_the_given_delay(inner: Storage) -> None:
    """A slow operation calls the injected delay, so a test need not wait."""
    waits: list[float] = []
    faulty = FaultyStorage(inner, delay=waits.append)
    faulty.slow_next("read", 60.0, times=2)

    for _ in range(3):
        assert faulty.get_checkpoint("agent") is None

    assert waits == [60.0, 60.0]
