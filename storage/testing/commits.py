"""The part of ``StorageContract`` about batches of changes and about changes sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import RecordTooLargeError, StorageUnavailableError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.records import Change, Conflict, Entry, Rejected, Saved, Space, ThreadWrite
from torpor.storage.testing.kit import (
    ContractKit,
    append,
    checkpoint,
    head_of,
    needs,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from torpor.storage.base import Storage


class CommitContract(ContractKit):
    """Batches: each change by itself, each answered in its place, each applied once."""

    def test_nothing_to_commit(self, storage: Storage) -> None:
        """An empty batch has no outcomes."""
        assert storage.commit([]) == []

    def test_outcomes_come_in_order(self, storage: Storage) -> None:
        """Each outcome stands where its change does, whatever the order of keys (rule 11)."""
        storage.commit([put("b", 0), put("b2", 0)])

        outcomes = storage.commit([put("c"), put("b"), append("a", 1, 2), put("a"), put("b2")])

        assert [outcome.rev for outcome in outcomes if isinstance(outcome, Saved)] == [
            1,
            2,
            2,
            1,
            2,
        ]
        assert outcomes[2] == Saved(2, head_of(storage, "a"))

    def test_conflict_disturbs_no_neighbour(self, storage: Storage) -> None:
        """Stale changes conflict and write nothing; the others of the batch are saved (rule 2)."""
        storage.commit([put("stale", "kept"), append("stale log", "kept")])

        outcomes = storage.commit(
            [
                put("first", 1),
                put("stale", "lost", expected_rev=7),
                put("middle", 2, expected_rev=0),
                append("stale log", "lost", expected_rev=0),
                Change(key="gone", delete=True, expected_rev=3),
                append("log", 3),
            ]
        )

        assert [type(outcome) for outcome in outcomes] == [
            Saved,
            Conflict,
            Saved,
            Conflict,
            Conflict,
            Saved,
        ]
        assert outcomes[1] == Conflict("stale", 7, 1)
        assert outcomes[3] == Conflict("stale log", 0, 1)
        assert outcomes[4] == Conflict("gone", 3, 0)
        values = [checkpoint(storage, key).value for key in ("first", "stale", "middle")]
        assert values == [1, "kept", 2]
        assert payloads(storage.load_thread("stale log")) == ["kept"]
        assert payloads(storage.load_thread("log")) == [3]

    def test_conflict_writes_no_entry(self, storage: Storage) -> None:
        """A stale change of a record leaves its thread untouched too (rule 2, TH-21, W-22)."""
        storage.commit([owned("agent", "agent#1", "kept", value="kept")])

        [outcome] = storage.commit(
            [owned("agent", "agent#1", "lost", value="lost", expected_rev=0, trim_before=1)]
        )

        assert outcome == Conflict("agent", 0, 1)
        assert checkpoint(storage, "agent").value == "kept"
        assert payloads(storage.load_thread("agent#1")) == ["kept"]

    def test_one_change_per_key(self, storage: Storage) -> None:
        """Two changes of one key are the caller's error, and nothing is written (rule 11)."""
        with pytest.raises(ValueError, match="one change per key"):
            storage.commit([put("other"), put("agent", 1), put("agent", 2)])
        with pytest.raises(ValueError, match="one change per key"):
            storage.commit([append("log", 1), append("log", 2)])

        assert storage.read(["other", "agent"]) == [None, None]
        assert storage.thread_head("log") is None

    def test_one_key_in_both_spaces(self, storage: Storage) -> None:
        """A checkpoint and a thread of the same name are two keys (rule 11, CP-9)."""
        outcomes = storage.commit([put("same", 1), append("same", 2)])

        assert [type(outcome) for outcome in outcomes] == [Saved, Saved]
        assert checkpoint(storage, "same").value == 1
        assert payloads(storage.load_thread("same")) == [2]

    def test_too_large_document_is_rejected_alone(self, storage: Storage) -> None:
        """What is over the backend's limit is rejected, its neighbours are not (rule 2, HC-35)."""
        storage.max_document_bytes = 1_000

        outcomes = storage.commit(
            [
                put("fits", "x" * 998),
                put("large", "é" * 500),
                append("log", "x" * 1_000),
                append("fitting log", "x" * 800),
            ]
        )

        assert [type(outcome) for outcome in outcomes] == [Saved, Rejected, Rejected, Saved]
        assert isinstance(outcomes[1], Rejected)
        assert isinstance(outcomes[1].error, RecordTooLargeError)
        assert (outcomes[1].error.size, outcomes[1].error.limit) == (1_002, 1_000)
        assert storage.get_checkpoint("large") is None
        assert storage.thread_head("log") is None
        with pytest.raises(RecordTooLargeError):
            storage.put_checkpoint("large", "x" * 999)

    def test_change_that_fails_half_way_leaves_nothing(self, storage: Storage) -> None:
        """If one entry can't be stored, nothing of its change is, its neighbours are (rule 1)."""
        storage.commit([owned("agent", "agent#1", "kept", value="kept"), append("log", "kept")])
        bad = Entry(kind="note", payload=object(), at=0.0, id="bad")
        good = owned("agent", "agent#1", "lost", value="lost", trim_before=1)
        assert good.thread is not None
        entries = (*good.thread.entries, bad)
        half = ThreadWrite(id="agent#1", entries=entries, trim_before=1)

        outcomes = storage.commit(
            [
                put("before", 1),
                Change(key="agent", put=good.put, thread=half),
                Change(
                    key="log", space=Space.THREADS, thread=ThreadWrite(id="log", entries=entries)
                ),
                put("after", 1),
            ]
        )

        assert [type(outcome) for outcome in outcomes] == [Saved, Rejected, Rejected, Saved]
        found = checkpoint(storage, "agent")
        assert (found.value, found.rev) == ("kept", 1)
        assert payloads(storage.load_thread("agent#1")) == ["kept"]
        assert payloads(storage.load_thread("log")) == ["kept"]
        assert storage.append_thread("log", {"payload": "next"}, expected_rev=1).rev == 2

    @needs("few_steps")
    def test_batch_takes_few_steps(self, storage: Storage) -> None:
        """100 rows at once do not wait 100 times, for a server or the interpreter (rule 11)."""
        keys = [f"agent {number}" for number in range(100)]

        def write_and_read() -> None:
            storage.commit([put(key, key) for key in keys])
            storage.read(keys)

        write_and_read()
        assert 0 < self.count_steps(storage, write_and_read) < len(keys) / 3


class ResendContract(ContractKit):
    """A change that is sent again because its outcome is unknown is applied once."""

    def test_resend_is_saved_once(self, storage: Storage) -> None:
        """The same changes again get the same outcomes and change nothing (rule 3)."""
        storage.commit([put("doomed"), append("doomed log", 1)])
        changes = [
            put("agent", 1, expected_rev=0),
            owned("owner", "owner#1", 1, 2, expected_rev=0),
            append("log", 1, 2),
            append("empty log"),
            Change(key="doomed", delete=True, expected_rev=1),
            Change(key="doomed log", space=Space.THREADS, delete=True),
        ]

        first = storage.commit(changes)
        again = storage.commit(changes)

        assert again == first
        assert [type(outcome) for outcome in first] == [Saved] * 6
        assert checkpoint(storage, "agent").rev == 1
        assert payloads(storage.load_thread("owner#1")) == [1, 2]
        assert payloads(storage.load_thread("log")) == [1, 2]
        assert storage.get_checkpoint("doomed") is None

    def test_resend_in_another_batch(self, storage: Storage) -> None:
        """A change is known by its id, whatever it is sent together with (rule 3)."""
        resent = append("log", 1)
        storage.commit([put("a", 1), resent])

        outcomes = storage.commit([resent, put("a", 2), put("b", 1)])

        assert [outcome.rev for outcome in outcomes if isinstance(outcome, Saved)] == [1, 2, 1]
        assert payloads(storage.load_thread("log")) == [1]

    def test_resend_after_an_unknown_outcome(self, storage: Storage) -> None:
        """Whether the failed commit was written or not, the resend ends it (rule 3, HC-8)."""
        faulty = FaultyStorage(storage)
        faulty.fail_next("commit", times=1)
        faulty.fail_next("commit", after=True)
        changes = [owned("agent", "agent#1", 1, value=1, expected_rev=0), append("log", 1)]

        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                faulty.commit(changes)
        outcomes = faulty.commit(changes)

        assert [outcome.rev for outcome in outcomes if isinstance(outcome, Saved)] == [1, 1]
        assert payloads(storage.load_thread("agent#1")) == [1]
        assert payloads(storage.load_thread("log")) == [1]

    def test_resend_of_a_torn_batch(self, storage: Storage) -> None:
        """What was written of a batch is answered, the rest is written (rule 3, HC-8)."""
        faulty = FaultyStorage(storage)
        changes = [append(f"log {number}", number) for number in range(4)]
        faulty.tear_next(applied=2)

        with pytest.raises(StorageUnavailableError):
            faulty.commit(changes)
        faulty.commit(changes)

        found = [payloads(storage.load_thread(f"log {number}")) for number in range(4)]
        assert found == [[0], [1], [2], [3]]

    def test_resend_after_another_write_conflicts(self, storage: Storage) -> None:
        """If somebody wrote in between, the stale change does not come back (rule 3, W-19)."""
        change = put("agent", "mine", expected_rev=0)
        storage.commit([change])
        storage.commit([put("agent", "theirs", expected_rev=1)])

        [outcome] = storage.commit([change])

        assert outcome == Conflict("agent", 0, 2)
        assert checkpoint(storage, "agent").value == "theirs"

    def test_retried_append_is_one_append(self, storage: Storage) -> None:
        """The writing operations send again by themselves, once and for all (rule 3)."""
        faulty = FaultyStorage(storage)
        for after in (False, True):
            faulty.fail_next("commit", after=after, times=2)

        head = faulty.append_thread("log", {"payload": 1})
        rev = faulty.put_checkpoint("agent", 1)

        assert (head.rev, rev) == (1, 1)
        assert payloads(storage.load_thread("log")) == [1]
        assert faulty.calls["commit"] == 6
