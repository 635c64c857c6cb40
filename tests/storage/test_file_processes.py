"""File storage under processes that are killed, and processes that share it."""

from __future__ import annotations

import multiprocessing
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.storage import file_scenario as scenario
from torpor.storage.testing.kit import PATIENCE, checkpoint, head_of, payloads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torpor.storage.file import FileStorage

_spawn = multiprocessing.get_context("spawn")


def test_process_killed_at_each_call(tmp_path: Path) -> None:
    """Wherever a commit is broken off, each change is there whole or not at all (rule 1, W-1)."""
    _run((scenario.break_off_everywhere, tmp_path))


def test_process_killed_at_random_moments(file: FileStorage) -> None:
    """What was acknowledged is there exactly once, nothing is half (rule 1, rule 3, W-4, W-9)."""
    chance = random.Random(20130101)
    for _ in range(6):
        number, length = _kill_after(chance.uniform(0.0, 0.3), file.path)

        stored = checkpoint(file, "agent").value
        assert stored >= number
        [item] = file.list_due(1e9)
        assert item.wake_at == stored
        first = max(1, stored - scenario.KEPT + 1)
        assert payloads(file.load_thread("agent#1")) == list(range(first, stored + 1))
        assert payloads(file.load_thread("log")) == list(range(1, head_of(file, "log").rev + 1))
        assert head_of(file, "log").rev >= length


def test_writers_of_one_key_do_not_mix(file: FileStorage) -> None:
    """Unconditional puts of one key from two processes all succeed, one after the other (W-9)."""
    _run(*[(scenario.put_many, file.path, 200)] * 2)

    assert checkpoint(file, "agent").rev == 400


def test_forked_child_holds_no_lock(file: FileStorage) -> None:
    """A process that forks while another of its threads writes leaves no lock locked (rule 13)."""
    _run((scenario.lock_survives_fork, file.path))


def _run(*jobs: tuple[Callable[..., None], *tuple[Any, ...]]) -> None:
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


def _kill_after(seconds: float, path: Path) -> tuple[int, int]:
    """Let a process write for a while and kill it; return the last that it told of."""
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=scenario.commit_for_ever, args=(path, sender), daemon=True)
    process.start()
    sender.close()
    told = (0, 0)
    with receiver, suppress(EOFError, OSError):  # it may be killed while it tells
        assert receiver.poll(PATIENCE), "the process committed nothing"
        process.join(seconds)
        process.kill()
        while True:
            told = receiver.recv()
    process.join(PATIENCE)
    return told
