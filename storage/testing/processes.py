"""The part of ``StorageContract`` about other processes, and about killing them."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torpor.storage.records import Record
from torpor.storage.testing.kit import (
    PATIENCE,
    ContractKit,
    checkpoint,
    head_of,
    needs,
    payloads,
)
from torpor.storage.testing.workers import append_by_expected_rev, commit_until_killed, hammer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage

_spawn = multiprocessing.get_context("spawn")


class ProcessContract(ContractKit):
    """More than one process on one place."""

    @needs("second_process")
    def test_processes_lose_no_increment(self, storage: Storage) -> None:
        """Compare-and-set from several processes adds up (rule 2, rule 13, W-19, W-21)."""
        keys = [f"counter {number}" for number in range(4)]

        _run(*[(hammer, self.opener(storage), keys, 25)] * 2)

        assert [checkpoint(storage, key).value for key in keys] == [50] * 4

    @needs("second_process")
    def test_processes_share_a_thread(self, storage: Storage) -> None:
        """Appends with an expected revision interleave without a gap (rule 5, rule 13, W-21)."""
        _run(
            *(
                (append_by_expected_rev, self.opener(storage), "log", name, 40)
                for name in ("one", "two")
            )
        )

        thread = storage.load_thread("log")
        assert [entry.seq for entry in thread or ()] == list(range(80))
        for name in ("one", "two"):
            mine = [number for who, number in payloads(thread) if who == name]
            assert mine == list(range(40))

    @needs("second_process")
    def test_killed_process_leaves_whole_changes(self, storage: Storage) -> None:
        """After a kill no change is half there, no saved one is lost (rule 1, rule 3)."""
        keys = [f"agent {number}" for number in range(3)]
        for batches in (1, 5, 20):
            acknowledged = _kill_after(batches, self.opener(storage), keys)

            for record in storage.read(keys):
                assert isinstance(record, Record), record
            for key in keys:
                number = checkpoint(storage, key).value
                assert number >= acknowledged[key]
                assert head_of(storage, f"{key}#1").rev == number
                assert payloads(storage.load_thread(f"{key}#1")) == list(range(1, number + 1))


def _run(*jobs: tuple[Any, ...]) -> None:
    processes = [_spawn.Process(target=job[0], args=job[1:], daemon=True) for job in jobs]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0] * len(jobs)
    finally:
        for process in processes:
            process.kill()


def _kill_after(batches: int, open_again: Callable[[], Storage], keys: list[str]) -> dict[str, int]:
    """Kill a process once it has told of so many batches; return the last that it told of."""
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(
        target=commit_until_killed, args=(open_again, keys, sender), daemon=True
    )
    process.start()
    sender.close()
    acknowledged: dict[str, int] = {}
    try:
        for _ in range(batches):
            assert receiver.poll(PATIENCE), "the process committed nothing"
            acknowledged = receiver.recv()
    finally:
        process.kill()
        process.join(PATIENCE)
    with receiver, suppress(EOFError, OSError):  # it may have been killed while it was telling
        while True:
            acknowledged = receiver.recv()
    return acknowledged
