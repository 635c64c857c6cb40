"""The part of ``StorageContract`` about records that are stored as they stood elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage.errors import OwnedThreadError, RecordTooLargeError
from torpor.storage.records import (
    Change,
    Conflict,
    Due,
    Entry,
    Record,
    Rejected,
    Restoration,
    Saved,
    Space,
    ThreadHead,
)
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    append,
    checkpoint,
    head_of,
    needs,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.base import Storage

AGENT = Record(
    key="agent",
    rev=7,
    change_id="elsewhere",
    updated_at=1000.25,
    kind="cart",
    version=4,
    data='{"b":1,  "a": "\N{GRINNING FACE}"}',
    wake_at=3e9,
)
THREADS = {
    "whole": (0, 5),
    "trimmed": (2, 5),
    "one left": (4, 5),
    "wholly trimmed": (5, 5),
    "empty": (0, 0),
}


class RestoreContract(ContractKit):
    """What arrives is what left, and nothing that is there is harmed unless it is replaced."""

    @pytest.mark.parametrize("thread", [*THREADS, None])
    def test_agent_arrives_as_it_was(self, storage: Storage, thread: str | None) -> None:
        """Revision, times, kind, version, data, wake-up, head and entries (rule 14)."""
        record, entries = _agent(*THREADS[thread]) if thread else (AGENT, ())
        change = _restore(record, entries)

        assert storage.commit([change]) == [Saved(7, record.thread)]

        assert storage.read(["agent"]) == [replace(record, change_id=change.id)]
        assert _entries(storage, "agent#1") == entries
        assert storage.thread_head("agent#1") == record.thread
        assert storage.list_due(4e9) == [Due(Space.CHECKPOINTS, "agent", 3e9)]
        assert [found.key for found in all_pages(storage, Space.CHECKPOINTS)] == ["agent"]

    @pytest.mark.parametrize("thread", THREADS)
    def test_standalone_thread_arrives_as_it_was(self, storage: Storage, thread: str) -> None:
        """Head, entries and wake-up (rule 14)."""
        record, entries = _log(*THREADS[thread])
        change = _restore(record, entries)

        assert storage.commit([change]) == [Saved(record.rev, record.thread)]

        assert all_pages(storage, Space.THREADS) == [replace(record, change_id=change.id)]
        assert _entries(storage, "log") == entries
        assert head_of(storage, "log") == record.thread
        assert storage.list_due(4e9) == [Due(Space.THREADS, "log", 3e9)]

    @pytest.mark.parametrize("start", [0, 3])
    def test_long_thread_arrives_in_parts(self, storage: Storage, start: int) -> None:
        """Each change brings the next entries, under a head that covers them (rule 14)."""
        for record, entries in (_agent(start, 11), _log(start, 11)):
            for part in (_part(record, entries, 0, 4), _part(record, entries, 4, 5)):
                [outcome] = storage.commit([_restore(*part)])
                assert outcome == Saved(part[0].rev, part[0].thread)
            change = _restore(*_part(record, entries, 5, len(entries)))
            storage.commit([change])

            assert record.thread is not None
            assert head_of(storage, record.thread.id) == record.thread
            assert _entries(storage, record.thread.id) == entries

        [found] = storage.read(["agent"])
        assert isinstance(found, Record)
        assert replace(found, change_id="elsewhere") == _agent(start, 11)[0]

    def test_later_part_may_trim(self, storage: Storage) -> None:
        """A part whose head begins later removes what lies before it (rule 5, rule 14)."""
        storage.commit([_restore(*_agent(0, 4))])
        record, entries = _agent(3, 6)

        storage.commit([_restore(*_part(record, entries, 1, 3))])

        assert _entries(storage, "agent#1") == entries

    @pytest.mark.parametrize("expected_rev", [None, 0])
    def test_restoring_again_changes_nothing(
        self, storage: Storage, expected_rev: int | None
    ) -> None:
        """A restoration that was stored is answered as the first time (rule 3, rule 14)."""
        for record, entries in (_agent(1, 4), _log(1, 4)):
            change = _restore(record, entries, expected_rev=expected_rev)

            assert storage.commit([change]) == storage.commit([change])

            assert record.thread is not None
            assert _entries(storage, record.thread.id) == entries

    def test_what_is_there_conflicts(self, storage: Storage) -> None:
        """With ``expected_rev=0`` nothing is replaced (rule 2, rule 14)."""
        storage.commit([put("agent", "kept"), append("log", "kept")])
        storage.append_thread("empty", [], metadata={"kept": 1})
        agent = _restore(*_agent(0, 3), expected_rev=0)
        log = _restore(*_log(0, 3), expected_rev=0)
        empty = _restore(_named_log("empty"), (), expected_rev=0)

        assert storage.commit([agent, log, empty]) == [
            Conflict("agent", 0, 1),
            Conflict("log", 0, 1),
            Conflict("empty", 0, 0),
        ]

        assert head_of(storage, "empty").metadata == {"kept": 1}
        assert checkpoint(storage, "agent").value == "kept"
        assert storage.thread_head("agent#1") is None
        assert payloads(storage.load_thread("log")) == ["kept"]

    @pytest.mark.parametrize(
        ("begin", "end"), [(3, 5), (1, 2), (0, 5), (0, 2), (2, 2), (3, 3)], ids=str
    )
    def test_entries_must_join(self, storage: Storage, begin: int, end: int) -> None:
        """A gap behind the stored entries, or others in their place, is a conflict (rule 14)."""
        for record, entries in (_agent(0, 5), _log(0, 5)):
            storage.commit([_restore(*_part(record, entries, 0, 2))])
            part = _part(record, entries, begin, end)
            if (begin, end) == (2, 2):
                head = replace(_head_in(part[0]), last="another")
                part = (replace(part[0], thread=head), ())

            [outcome] = storage.commit([_restore(*part)])

            assert isinstance(outcome, Conflict)
            assert outcome.found == (7 if record.key == "agent" else 2)
            assert _entries(storage, _head_in(record).id) == entries[:2]

    def test_thread_must_begin(self, storage: Storage) -> None:
        """Where nothing of a thread is stored, its oldest entry has to come first (rule 14)."""
        outcomes = storage.commit(
            [
                _restore(*_part(*_agent(0, 5), 2, 5), expected_rev=0),
                _restore(*_part(*_log(1, 5), 2, 4), expected_rev=0),
            ]
        )

        assert outcomes == [Conflict("agent", 0, 0), Conflict("log", 0, 0)]
        assert storage.read(["agent"]) == [None]
        assert storage.thread_head("log") is None

    def test_another_thread_is_replaced(self, storage: Storage) -> None:
        """A restored agent has its own thread only; the old one goes (rule 6, rule 14)."""
        storage.commit([owned("agent", "agent#0", "old", "old", wake_at=1.0)])
        record, entries = _agent(1, 4)

        [outcome] = storage.commit([_restore(record, entries, expected_rev=1)])

        assert outcome == Saved(7, record.thread)
        assert storage.thread_head("agent#0") is None
        assert _entries(storage, "agent#1") == entries
        assert storage.list_due(2.0) == []
        storage.commit([owned("agent", "agent#0", "new")])
        assert payloads(storage.load_thread("agent#0")) == ["new"]

    def test_thread_is_taken_away(self, storage: Storage) -> None:
        """A record that is restored without a thread has none (rule 6, rule 14)."""
        storage.commit([owned("agent", "agent#1", "old")])

        storage.commit([_restore(replace(AGENT, wake_at=None), ())])

        assert checkpoint(storage, "agent").thread is None
        assert storage.load_thread("agent#1") is None
        assert storage.list_due(4e9) == []

    def test_revision_may_go_back(self, storage: Storage) -> None:
        """Of a record that is there or deleted, with the same thread too (rule 14)."""
        record, entries = _agent(0, 3)
        log, log_entries = _log(0, 3)
        for number in range(9):
            storage.commit([owned("agent", "agent#1", number), append("log", number)])
        storage.delete_checkpoint("agent")
        storage.delete_thread("log")

        storage.commit([_restore(record, entries), _restore(log, log_entries)])

        assert checkpoint(storage, "agent").rev == 7
        assert _entries(storage, "agent#1") == entries
        assert _entries(storage, "log") == log_entries
        assert head_of(storage, "log").rev == 3

    def test_life_goes_on(self, storage: Storage) -> None:
        """The next change counts on from what was restored (rule 4, rule 5, rule 14)."""
        for record, entries in (_agent(2, 5), _log(2, 5)):
            storage.commit([_restore(record, entries)])

        outcomes = storage.commit(
            [
                owned("agent", "agent#1", "next", expected_rev=7, trim_before=4),
                append("log", "next", expected_rev=5),
            ]
        )

        assert [outcome.rev for outcome in outcomes if isinstance(outcome, Saved)] == [8, 6]
        for thread_id, start in (("agent#1", 4), ("log", 2)):
            head = head_of(storage, thread_id)
            assert (head.start, head.rev, head.metadata) == (start, 6, {"made": "elsewhere"})
            thread = storage.load_thread(thread_id)
            assert [entry.seq for entry in thread or ()] == list(range(start, 6))
            assert payloads(thread)[-1] == "next"
        storage.delete_checkpoint("agent", expected_rev=8)
        assert storage.load_thread("agent#1") is None

    def test_mixed_batch(self, storage: Storage) -> None:
        """Restorations stand among other changes, each with its own outcome (rule 2, rule 14)."""
        storage.commit([put("there", 1), owned("owner", "owner#1", "a")])
        names = [f"agent {number}" for number in range(40)]
        record, entries = _agent(1, 4)

        outcomes = storage.commit(
            [
                put("plain", 1),
                *(_restore(_named(record, name), entries) for name in names),
                _restore(replace(AGENT, key="there"), (), expected_rev=0),
                _restore(_named_log("owner#1"), ()),
                _restore(*_log(0, 2)),
                Change(key="owner", delete=True, expected_rev=7),
                append("other", 1),
            ]
        )

        assert [type(outcome) for outcome in outcomes] == [
            Saved,
            *(Saved for _ in names),
            Conflict,
            Rejected,
            Saved,
            Conflict,
            Saved,
        ]
        refused = outcomes[len(names) + 2]
        assert isinstance(refused, Rejected)
        assert isinstance(refused.error, OwnedThreadError)
        assert checkpoint(storage, "there").value == 1
        for name in names:
            assert checkpoint(storage, name).rev == 7
            assert _entries(storage, f"{name}#1") == entries
        assert payloads(storage.load_thread("other")) == [1]

    def test_too_large_entry_is_rejected_alone(self, storage: Storage) -> None:
        """What the backend can't take is rejected, its neighbours are stored (rule 2, rule 14)."""
        storage.max_document_bytes = 1_000
        record, _ = _agent(0, 1)
        large = (Entry(kind="note", payload="x" * 1_000, at=1.0, id="entry 0", seq=0),)

        large_one, large_data, small = storage.commit(
            [
                _restore(record, large),
                _restore(replace(AGENT, key="b", data=f'"{"x" * 1_000}"'), ()),
                _restore(replace(AGENT, key="c"), ()),
            ]
        )

        for outcome in (large_one, large_data):
            assert isinstance(outcome, Rejected)
            assert isinstance(outcome.error, RecordTooLargeError)
        assert isinstance(small, Saved)
        assert [found.key for found in all_pages(storage, Space.CHECKPOINTS)] == ["c"]

    @needs("second_instance")
    def test_others_see_it(self, storage: Storage) -> None:
        """Another instance on the place reads what was restored (rule 13, rule 14)."""
        record, entries = _agent(2, 5)
        with self.opener(storage)() as other:
            assert other.get_checkpoint("agent") is None

            storage.commit([_restore(record, entries)])

            assert checkpoint(other, "agent").thread == record.thread
            assert _entries(other, "agent#1") == entries


def _agent(start: int, rev: int) -> tuple[Record, tuple[Entry, ...]]:
    """Return an agent whose thread has the entries from ``start`` to ``rev``."""
    return replace(AGENT, thread=_head("agent#1", start, rev)), _some_entries(start, rev)


def _log(start: int, rev: int) -> tuple[Record, tuple[Entry, ...]]:
    """Return a standalone thread with the entries from ``start`` to ``rev``."""
    record = Record(
        key="log",
        rev=rev,
        change_id="elsewhere",
        updated_at=1000.25,
        thread=_head("log", start, rev),
        wake_at=3e9,
    )
    return record, _some_entries(start, rev)


def _head(thread_id: str, start: int, rev: int) -> ThreadHead:
    return ThreadHead(
        id=thread_id,
        rev=rev,
        start=start,
        last=f"entry {rev - 1}" if rev else None,
        created_at=10.5,
        updated_at=999.75,
        metadata={"made": "elsewhere"},
    )


def _some_entries(start: int, rev: int) -> tuple[Entry, ...]:
    payloads: list[Any] = [{"text": "é\n"}, [1, None], 2.5, "\N{GRINNING FACE}"]
    return tuple(
        Entry(
            kind="note" if seq % 2 else "message",
            payload=payloads[seq % 4],
            refs={"reply": f"entry {seq - 1}"} if seq else {},
            at=100.0 + seq,
            id=f"entry {seq}",
            seq=seq,
        )
        for seq in range(start, rev)
    )


def _head_in(record: Record) -> ThreadHead:
    assert record.thread is not None
    return record.thread


def _named(record: Record, key: str) -> Record:
    return replace(record, key=key, thread=replace(_head_in(record), id=f"{key}#1"))


def _named_log(thread_id: str) -> Record:
    record, _ = _log(0, 0)
    return replace(record, key=thread_id, thread=replace(_head_in(record), id=thread_id))


def _part(
    record: Record, entries: Sequence[Entry], begin: int, end: int
) -> tuple[Record, tuple[Entry, ...]]:
    """Return ``record`` as far as entry number ``end`` of ``entries``, and those from ``begin``."""
    head = _head_in(record)
    some = tuple(entries[begin:end])
    rev = head.start + end
    head = replace(head, rev=rev, last=f"entry {rev - 1}" if rev else None)
    standalone = record.key == head.id
    return replace(record, thread=head, rev=rev if standalone else record.rev), some


def _restore(record: Record, entries: Sequence[Entry], **fields: Any) -> Change:
    standalone = record.thread is not None and record.thread.id == record.key
    return Change(
        key=record.key,
        space=Space.THREADS if standalone else Space.CHECKPOINTS,
        restore=Restoration(record=record, entries=tuple(entries)),
        **fields,
    )


def _entries(storage: Storage, thread_id: str) -> tuple[Entry, ...]:
    thread = storage.load_thread(thread_id)
    return thread.entries if thread else ()
