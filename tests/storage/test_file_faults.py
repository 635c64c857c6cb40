"""File storage on a file system that fails, and what it forces to the disk when it does not."""

from __future__ import annotations

import errno
import itertools
import os
import resource
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.storage.file_scenario import Scenario, at_call, names
from torpor.storage.errors import (
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    TorporError,
)
from torpor.storage.file import FileStorage
from torpor.storage.file.io import translated_errors
from torpor.storage.file.layout import hash_of
from torpor.storage.records import Rejected, Saved
from torpor.storage.testing.kit import append, checkpoint, owned, payloads, put

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torpor.storage.records import Outcome


def _fail(code: int) -> Any:
    def fail(name: str, arguments: tuple[Any, ...]) -> NoReturn:
        raise OSError(code, os.strerror(code), f"{name}{arguments}")

    return fail


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EIO, StorageUnavailableError),
        (errno.EACCES, StorageError),
    ],
    ids=["full", "broken", "forbidden"],
)
def test_each_call_may_fail(tmp_path: Path, code: int, kind: type[StorageError]) -> None:
    """Whichever call fails, changes are whole, and the batch can be sent again (rule 1, 3, W-1)."""
    errors: list[TorporError] = []
    for number in itertools.count(1):
        path = tmp_path / str(number)
        with FileStorage(path, fsync=False) as storage, FileStorage(path) as failing:
            scenario = Scenario(storage)
            outcomes: Sequence[Outcome] = ()
            with at_call(number, _fail(code)) as calls:
                try:
                    outcomes = failing.commit(scenario.changes)
                except StorageError as error:
                    errors.append(error)
            errors += [outcome.error for outcome in outcomes if isinstance(outcome, Rejected)]

            assert names(path / "tmp") == []
            scenario.require_whole(storage, outcomes)
        if len(calls) < number:
            break
    assert {type(error) for error in errors} == {kind}
    assert all(isinstance(error.__cause__, OSError) for error in errors)
    assert len(errors) > 40, "most calls come before the changes are saved"


def test_error_of_one_change_rejects_only_that(file: FileStorage) -> None:
    """What is wrong with one agent's files for good hinders no other agent (rule 2, TH-31)."""
    file.commit([owned("broken", "broken#1", "kept"), append("broken log", "kept")])
    logs = [_log(file, thread_id) for thread_id in ("broken#1", "broken log")]
    for log in logs:
        log.rename(log.with_suffix(".aside"))
        log.mkdir()

    outcomes = file.commit(
        [
            put("before"),
            owned("broken", "broken#1", "lost"),
            append("broken log", "lost"),
            put("after"),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [Saved, Rejected, Rejected, Saved]
    with pytest.raises(StorageError) as caught:
        file.load_thread("broken log")
    assert isinstance(caught.value.__cause__, IsADirectoryError)
    for log in logs:
        log.rmdir()
        log.with_suffix(".aside").rename(log)
    assert payloads(file.load_thread("broken log")) == ["kept"]
    assert payloads(file.load_thread("broken#1")) == ["kept"]


def test_file_size_limit_is_a_full_disk(file: FileStorage) -> None:
    """A write that breaks off half way leaves the old value and no rubbish (CP-32, W-2)."""
    file.commit([put("agent", "old"), append("log", "old")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    changes = [put("agent", "new" * 10_000), append("log", "new" * 10_000)]

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageFullError):
            file.commit(changes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert checkpoint(file, "agent").value == "old"
    assert payloads(file.load_thread("log")) == ["old"]
    assert names(file.path / "tmp") == []
    file.commit(changes)
    assert checkpoint(file, "agent").value == "new" * 10_000
    assert payloads(file.load_thread("log")) == ["old", "new" * 10_000]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EFBIG, StorageFullError),
        (errno.EIO, StorageUnavailableError),
        (errno.EMFILE, StorageUnavailableError),
        (errno.ESTALE, StorageUnavailableError),
        (errno.ENOENT, StorageUnavailableError),
        (errno.EROFS, StorageError),
        (errno.EACCES, StorageError),
        (errno.EISDIR, StorageError),
    ],
    ids=lambda value: os.strerror(value) if isinstance(value, int) else "",
)
def test_errors_are_translated(code: int, kind: type[StorageError]) -> None:
    """An error of the system becomes the one that says what to do, and stays its cause (rule 8)."""
    with pytest.raises(StorageError) as caught, translated_errors():
        raise OSError(code, "what it says", "/the/place")

    assert type(caught.value) is kind
    assert "what it says: /the/place" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_saved_is_forced_to_the_disk(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents before names, entries and hints before the record that needs them (rule 3)."""
    events = _watch(monkeypatch)

    file.commit([owned("agent", "agent#1", "a", wake_at=1.0)])

    record = file.path / "checkpoints" / f"{hash_of('agent')}.json"
    log = _log(file, "agent#1")
    made = _inode(record)
    visible = events.index(record)
    for path in (log, log.parent, log.with_name("meta.json"), log.parent.parent, file.path / "due"):
        assert _inode(path) in events[:visible], path
    assert made in events[:visible]
    assert _inode(record.parent) in events[visible:]


def test_nothing_is_forced_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``fsync=False`` the operating system writes when it likes (rule 3)."""
    with FileStorage(tmp_path / "store", fsync=False) as storage:
        events = _watch(monkeypatch)
        storage.commit([owned("agent", "agent#1", "a", wake_at=1.0)])

    assert [event for event in events if isinstance(event, int)] == []


def test_resend_is_forced_to_the_disk(file: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change found to be stored already is answered once its name is durable too (rule 3)."""
    change = put("agent", 1)
    folder = _inode(file.path / "checkpoints")
    with at_call(0, _fail(0)) as calls:
        file.commit([put("other", 1)])
    last = max(number for number, name in enumerate(calls, start=1) if name == "fsync")
    with pytest.raises(StorageUnavailableError), at_call(last, _fail(errno.EIO)):
        file.commit([change])
    assert file.get_checkpoint("agent") is not None
    events = _watch(monkeypatch)

    assert file.commit([change]) == [Saved(1)]

    assert events == [folder]


def _watch(monkeypatch: pytest.MonkeyPatch) -> list[int | Path]:
    """Return a list that gets the inode of each file synced and the target of each replaced."""
    events: list[int | Path] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        events.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return events


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _log(storage: FileStorage, thread_id: str) -> Path:
    return storage.path / "threads" / hash_of(thread_id) / "entries.jsonl"
