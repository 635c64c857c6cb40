"""Weaknesses of other systems that show when a process dies, or has a rival."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.behaviours.kit import PATIENCE, records
from tests.behaviours.programs import Lazy, Pair
from tests.project import ROOT
from torpor import Runtime, ThawError
from torpor.storage.file import FileStorage

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.storage import Storage


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program of ``tests.behaviours.programs``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.behaviours.programs", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_until_end(process: subprocess.Popen[str]) -> list[str]:
    """Return what a process that ends has said."""
    output, _ = process.communicate(timeout=PATIENCE)
    return output.split()


def place(tmp_path: Path, backend: str) -> str:
    """Return the URL of a storage that is safe between processes."""
    return f"{backend}:///{tmp_path}/{backend}"


BACKENDS = ["sqlite", "file"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path, backend: str) -> None:
    """After SIGKILL every turn that was acknowledged is there once, its entries too (W-4)."""
    url = place(tmp_path, backend)
    done = 0
    for _ in range(2):
        with start("step_for_ever", url) as process:
            assert process.stdout is not None
            for _ in range(25):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            said = [int(line) for line in process.stdout.read().split()]
        acknowledged = max(said, default=done + 25)

        with Runtime(url) as runtime:
            ref = runtime.get(Pair, "a")
            count = ref.ask(Pair.read)
            assert acknowledged <= count <= acknowledged + 1
            assert ref.ask(Pair.notes) == [str(number) for number in range(1, count + 1)]
        done = count


def test_dying_between_entries_and_checkpoint_harms_nobody(tmp_path: Path) -> None:
    """Entries whose checkpoint was never written are not seen, and not in the way (W-1, HC-8)."""
    url = place(tmp_path, "file")
    with start("die_before_rename", url, 3) as process:
        assert lines_until_end(process) == ["1", "2", "3"]
    assert process.returncode == -signal.SIGKILL
    assert len(log_of(tmp_path).read_bytes().splitlines()) == 4

    with Runtime(url) as runtime:
        ref = runtime.get(Pair, "a")
        assert ref.ask(Pair.notes) == ["1", "2", "3"]
        assert ref.ask(Pair.step) == 4
        ref.hibernate()
        assert ref.ask(Pair.notes) == ["1", "2", "3", "4"]


def log_of(tmp_path: Path) -> Path:
    """Return the only log of entries in a file store."""
    [log] = tmp_path.glob("file/threads/*/entries.jsonl")
    return log


def test_a_torn_append_harms_nobody(tmp_path: Path) -> None:
    """Whatever a crash left behind the last saved entry, the agent thaws and goes on (W-9)."""
    url = place(tmp_path, "file")
    with Runtime(url) as runtime:
        for _ in range(2):
            runtime.get(Pair, "a").ask(Pair.step)
    log = log_of(tmp_path)
    whole = log.read_bytes()
    torn = whole.splitlines(keepends=True)[1].replace(b'"seq":1', b'"seq":2')

    for length in range(len(torn) + 1):
        log.write_bytes(whole + torn[:length])
        with FileStorage(tmp_path / "file", fsync=False) as storage:
            assert notes(storage) == ["1", "2"]

    with Runtime(url) as runtime:
        assert runtime.get(Pair, "a").ask(Pair.step) == 3
        runtime.get(Pair, "a").hibernate()
        assert runtime.get(Pair, "a").ask(Pair.notes) == ["1", "2", "3"]


def test_a_log_that_lost_saved_entries_fails_closed(tmp_path: Path) -> None:
    """A log that is cut anywhere before its end is damage: never a shorter history (W-9)."""
    url = place(tmp_path, "file")
    with Runtime(url) as runtime:
        for _ in range(2):
            runtime.get(Pair, "a").ask(Pair.step)
    log = log_of(tmp_path)
    whole = log.read_bytes()

    for length in range(len(whole)):
        log.write_bytes(whole[:length])
        with FileStorage(tmp_path / "file", fsync=False) as storage:
            with Runtime(storage) as runtime, pytest.raises(ThawError):
                runtime.get(Pair, "a").ask(Pair.step)
            assert log.read_bytes() == whole[:length]

    log.write_bytes(whole)
    with Runtime(url) as runtime:
        assert runtime.get(Pair, "a").ask(Pair.step) == 3


def notes(storage: Storage) -> list[str]:
    """Return what a fresh thaw finds in the thread."""
    with Runtime(storage) as runtime:
        return runtime.get(Pair, "a").ask(Pair.notes)


def test_a_polite_signal_saves_everybody(tmp_path: Path) -> None:
    """On SIGTERM a thousand live agents hibernate before the process ends (W-5)."""
    url = place(tmp_path, "sqlite")
    with start("serve", url, 1000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Runtime(url) as runtime:
            assert runtime.thaw(Lazy, "a0") is None, "saved too early to show anything"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM

    with Runtime(url) as runtime:
        stored = records(runtime.storage, "lazy/")
        assert sorted(record.key for record in stored) == sorted(f"lazy/a{n}" for n in range(1000))
        assert all(record.thread and record.thread.rev == 1 for record in stored)
        assert runtime.get(Lazy, "a999").ask(Lazy.step) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_lose_nothing(tmp_path: Path, backend: str) -> None:
    """Two processes that change the same agents add up, with threads (W-19, W-20, W-21, HC-5)."""
    url = place(tmp_path, backend)
    with Runtime(url):
        pass  # the place is there before two processes want to make it
    agents, rounds = 2, 30
    rivals = [start("hammer", url, agents, rounds) for _ in range(2)]
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    conflicts = [int(lines_until_end(rival)[0]) for rival in rivals]

    assert [rival.returncode for rival in rivals] == [0, 0]
    assert sum(conflicts) > 0
    numbers = [str(number) for number in range(1, 2 * rounds + 1)]
    with Runtime(url) as runtime:
        for number in range(agents):
            assert runtime.get(Pair, f"a{number}").ask(Pair.read) == 2 * rounds
            assert runtime.get(Pair, f"a{number}").ask(Pair.notes) == numbers
