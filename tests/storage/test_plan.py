"""What one change makes of one stored record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from torpor.storage import (
    Change,
    Conflict,
    Entry,
    Put,
    Record,
    Restoration,
    Saved,
    Space,
    ThreadHead,
    ThreadWrite,
)
from torpor.storage.plan import Write, plan

HEAD = ThreadHead(
    id="a#1", rev=3, start=1, last="e2", created_at=1.0, updated_at=5.0, metadata={"m": 1}
)
STORED = Record(
    key="a", rev=7, change_id="c7", updated_at=5.0, kind="old", data="1", thread=HEAD, wake_at=9.0
)
LOG_HEAD = replace(HEAD, id="log")
LOG = Record(key="log", rev=3, change_id="c3", updated_at=5.0, thread=LOG_HEAD, wake_at=9.0)
TOMBSTONE = Record(key="a", rev=7, change_id="c8", updated_at=6.0, deleted=True)
LOG_TOMBSTONE = replace(TOMBSTONE, key="log", rev=3)


def entries(*ids: str) -> tuple[Entry, ...]:
    """Return entries with these ids and a wrong ``seq``."""
    return tuple(Entry(kind="note", at=0.0, id=entry_id, seq=99) for entry_id in ids)


def put(**fields: Any) -> Change:
    """Return a put of "a"."""
    return Change(key="a", put=Put(data="2", kind="new", version=4), at=8.0, id="new", **fields)


def append(*ids: str, trim_before: int | None = None, **fields: Any) -> Change:
    """Return an append to "log"."""
    write = ThreadWrite(id="log", entries=entries(*ids), metadata={"n": 2}, trim_before=trim_before)
    return Change(key="log", space=Space.THREADS, thread=write, at=8.0, id="new", **fields)


def written(change: Change, stored: Record | None) -> Write:
    """Return the write that must come out."""
    decision = plan(change, stored)
    assert isinstance(decision, Write)
    return decision


class TestRevisions:
    """Comparing and counting."""

    @pytest.mark.parametrize(
        ("stored", "expected", "found"),
        [
            (None, 1, 0),
            (STORED, 0, 7),
            (STORED, 6, 7),
            (STORED, 8, 7),
            (TOMBSTONE, 7, 0),
            (TOMBSTONE, 1, 0),
        ],
    )
    def test_other_revision_conflicts(
        self, stored: Record | None, expected: int, found: int
    ) -> None:
        """A revision that is not the stored one conflicts; a deleted record has 0 (rule 2)."""
        conflict = Conflict("a", expected, found)

        assert plan(put(expected_rev=expected), stored) == conflict
        assert plan(Change(key="a", delete=True, expected_rev=expected), stored) == conflict

    @pytest.mark.parametrize(
        ("stored", "expected", "rev"),
        [
            (None, None, 1),
            (None, 0, 1),
            (STORED, None, 8),
            (STORED, 7, 8),
            (TOMBSTONE, None, 8),
            (TOMBSTONE, 0, 8),
        ],
    )
    def test_next_revision(self, stored: Record | None, expected: int | None, rev: int) -> None:
        """A put goes on from the last revision, that of a tombstone too (rule 2, rule 4)."""
        assert written(put(expected_rev=expected), stored).record.rev == rev

    def test_put_replaces_the_record(self) -> None:
        """Everything but the thread is the new change's."""
        write = written(put(), STORED)

        assert write.record == Record(
            key="a",
            rev=8,
            change_id="new",
            updated_at=8.0,
            kind="new",
            version=4,
            data="2",
            thread=HEAD,
        )
        assert (write.entries, write.drop_thread, write.trim_before) == ((), None, None)
        assert write.outcome == Saved(8, HEAD)


class TestResend:
    """A change whose id is stored was applied already."""

    @pytest.mark.parametrize(
        ("change", "stored"),
        [
            (put(expected_rev=0), replace(STORED, change_id="new")),
            (append("e9", expected_rev=0), replace(LOG, change_id="new")),
            (
                Change(key="a", delete=True, expected_rev=6, id="new"),
                replace(TOMBSTONE, change_id="new"),
            ),
        ],
        ids=["put", "append", "delete"],
    )
    def test_resend_is_saved(self, change: Change, stored: Record) -> None:
        """It is answered as the first time, whatever it expects (rule 3)."""
        assert plan(change, stored) == Saved(stored.rev, stored.thread)


class TestDelete:
    """Deleting records and threads."""

    @pytest.mark.parametrize("stored", [None, TOMBSTONE])
    def test_nothing_to_delete(self, stored: Record | None) -> None:
        """What is not there is not written again (rule 8)."""
        rev = 0 if stored is None else 7

        assert plan(Change(key="a", delete=True), stored) == Saved(rev)

    def test_tombstone_keeps_the_revision(self) -> None:
        """Only key, revision and change are left, and the thread goes too (rule 4, rule 6)."""
        write = written(Change(key="a", delete=True, at=8.0, id="new"), STORED)

        assert write.record == Record(key="a", rev=7, change_id="new", updated_at=8.0, deleted=True)
        assert write.drop_thread == "a#1"
        assert write.outcome == Saved(7)


class TestStandaloneThread:
    """Appending, trimming, beginning again."""

    def test_new_thread(self) -> None:
        """The first append makes the head (rule 5)."""
        write = written(append("e0", "e1"), None)

        assert write.record.thread == ThreadHead(
            id="log", rev=2, start=0, last="e1", created_at=8.0, updated_at=8.0, metadata={"n": 2}
        )
        assert write.record.rev == 2
        assert [(entry.id, entry.seq) for entry in write.entries] == [("e0", 0), ("e1", 1)]

    def test_append(self) -> None:
        """Later ones go on; metadata and time of creation stay (rule 5)."""
        write = written(append("e3"), LOG)

        assert write.record.thread == replace(LOG_HEAD, rev=4, last="e3", updated_at=8.0)
        assert [entry.seq for entry in write.entries] == [3]
        assert write.record.wake_at is None

    def test_updated_at_never_goes_back(self) -> None:
        """An append by a clock that is behind does not make the thread older (TH-23)."""
        write = written(replace(append("e3"), at=2.0), LOG)

        assert write.record.thread is not None
        assert write.record.thread.updated_at == 5.0

    def test_append_of_nothing(self) -> None:
        """No entries change nothing of the head (TH-29)."""
        assert written(append(), LOG).record.thread == LOG_HEAD

    def test_recreated_thread_goes_on(self) -> None:
        """The new thread counts on from the old, and begins there (rule 4, rule 5)."""
        write = written(append("new"), LOG_TOMBSTONE)

        assert write.record.thread is not None
        assert (write.record.thread.rev, write.record.thread.start) == (4, 3)
        assert write.record.rev == 4
        assert [entry.seq for entry in write.entries] == [3]

    @pytest.mark.parametrize(
        ("mark", "start"), [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (99, 4)]
    )
    def test_trim(self, mark: int, start: int) -> None:
        """The start goes to the mark, never back and never beyond the end (rule 5)."""
        write = written(append("e3", trim_before=mark), LOG)

        assert write.record.thread is not None
        assert (write.record.thread.start, write.record.thread.rev) == (start, 4)
        assert write.trim_before == mark


class TestOwnedThread:
    """A thread that lives in its owner's record."""

    def test_new_thread_begins_at_zero(self) -> None:
        """Also where the record is not new (rule 6)."""
        write = written(put(thread=ThreadWrite(id="a#2", entries=entries("x"))), TOMBSTONE)

        assert write.record.rev == 8
        assert write.record.thread is not None
        assert (write.record.thread.rev, write.record.thread.last) == (1, "x")
        assert write.drop_thread is None

    def test_append_through_the_owner(self) -> None:
        """Record and head go on together (rule 6)."""
        write = written(put(thread=ThreadWrite(id="a#1", entries=entries("e3", "e4"))), STORED)

        assert write.record.rev == 8
        assert write.record.thread == replace(HEAD, rev=5, last="e4", updated_at=8.0)
        assert [entry.seq for entry in write.entries] == [3, 4]
        assert write.drop_thread is None

    def test_another_thread_replaces_it(self) -> None:
        """The old one is to be removed (rule 6, PE-28)."""
        write = written(put(thread=ThreadWrite(id="a#2", metadata={"k": 1})), STORED)

        assert write.record.thread == ThreadHead(
            id="a#2", created_at=8.0, updated_at=8.0, metadata={"k": 1}
        )
        assert write.drop_thread == "a#1"


def restore(record: Record, *ids: str, space: Space = Space.CHECKPOINTS, **fields: Any) -> Change:
    """Return the restoration of ``record`` with the entries that end with its thread's newest."""
    stop = record.thread.rev if record.thread else 0
    brought = tuple(
        replace(entry, seq=seq) for seq, entry in enumerate(entries(*ids), start=stop - len(ids))
    )
    restoration = Restoration(record=record, entries=brought)
    return Change(key=record.key, space=space, restore=restoration, id="new", **fields)


class TestRestoration:
    """Records that are stored as they stood elsewhere."""

    @pytest.mark.parametrize("stored", [None, TOMBSTONE])
    def test_verbatim(self, stored: Record | None) -> None:
        """All is as it was but the id of the change (rule 14)."""
        change = restore(STORED, "e1", "e2", expected_rev=0)

        write = written(change, stored)

        assert write.record == replace(STORED, change_id="new")
        assert [(entry.id, entry.seq) for entry in write.entries] == [("e1", 1), ("e2", 2)]
        assert (write.drop_thread, write.trim_before) == (None, 1)
        assert write.outcome == Saved(7, HEAD)

    def test_standalone_thread(self) -> None:
        """The same for a thread that nobody owns (rule 14)."""
        write = written(restore(LOG, "e1", "e2", space=Space.THREADS), LOG_TOMBSTONE)

        assert write.record == replace(LOG, change_id="new")
        assert write.outcome == Saved(3, LOG_HEAD)

    def test_resend(self) -> None:
        """A change that is stored is not stored again (rule 3)."""
        change = restore(STORED, "e1", "e2", expected_rev=0)

        assert plan(change, replace(STORED, change_id="new")) == Saved(7, HEAD)

    @pytest.mark.parametrize(("expected", "found"), [(0, 9), (7, 9)])
    def test_other_revision_conflicts(self, expected: int, found: int) -> None:
        """It compares revisions as every change does (rule 2)."""
        change = restore(replace(STORED, thread=None), expected_rev=expected)

        assert plan(change, replace(STORED, rev=9)) == Conflict("a", expected, found)

    def test_empty_thread_is_there(self) -> None:
        """A thread that never had an entry has revision 0, and is not absent (rule 2)."""
        empty = replace(LOG_HEAD, rev=0, start=0, last=None)
        record = replace(LOG, rev=0, thread=empty)

        conflict = plan(restore(record, space=Space.THREADS, expected_rev=0), record)

        assert conflict == Conflict("log", 0, 0)
        assert isinstance(plan(restore(record, space=Space.THREADS), record), Write)

    def test_next_part(self) -> None:
        """Entries that go on from the stored ones are added to them (rule 14)."""
        longer = replace(STORED, thread=replace(HEAD, rev=5, start=2, last="e4"))

        write = written(restore(longer, "e3", "e4", expected_rev=7), STORED)

        assert [entry.seq for entry in write.entries] == [3, 4]
        assert (write.drop_thread, write.trim_before) == (None, 2)

    def test_no_new_entries(self) -> None:
        """The rest of a record may be replaced under the same thread (rule 14)."""
        write = written(restore(replace(STORED, rev=2)), STORED)

        assert (write.record.rev, write.entries, write.drop_thread) == (2, (), None)

    @pytest.mark.parametrize(
        ("head", "ids", "stored"),
        [
            (replace(HEAD, rev=5, last="e4"), ("e4",), STORED),
            (HEAD, ("e1", "e2"), STORED),
            (replace(HEAD, rev=2, last="e1"), (), STORED),
            (replace(HEAD, start=0, rev=4, last="e3"), ("e3",), STORED),
            (replace(HEAD, last="another"), (), STORED),
            (HEAD, ("e2",), None),
            (replace(HEAD, id="a#2"), ("e2",), STORED),
        ],
        ids=["gap", "overlap", "shorter", "older start", "other newest", "no begin", "new thread"],
    )
    def test_entries_must_join(
        self, head: ThreadHead, ids: tuple[str, ...], stored: Record | None
    ) -> None:
        """What would leave a gap or replace entries is a conflict (rule 14)."""
        change = restore(replace(STORED, thread=head), *ids)

        assert plan(change, stored) == Conflict("a", None, 7 if stored else 0)

    @pytest.mark.parametrize("thread", [None, replace(HEAD, id="a#2")])
    def test_another_thread_replaces_it(self, thread: ThreadHead | None) -> None:
        """The old one is to be removed (rule 6, rule 14)."""
        ids = ("e1", "e2") if thread else ()

        write = written(restore(replace(STORED, thread=thread), *ids), STORED)

        assert write.drop_thread == "a#1"

    @pytest.mark.parametrize(
        "change",
        [
            {"key": "b"},
            {"space": Space.THREADS},
            {"put": Put(data="1")},
            {"delete": True},
            {"thread": ThreadWrite(id="a#1")},
            {"restore": Restoration(record=TOMBSTONE)},
            {"restore": Restoration(record=replace(STORED, data=None))},
            {"restore": Restoration(record=replace(STORED, thread=replace(HEAD, id="b#1")))},
            {"restore": Restoration(record=STORED, entries=entries("e2"))},
            {"restore": Restoration(record=STORED, entries=(replace(*entries("e1"), seq=2),))},
            {"restore": Restoration(record=replace(STORED, thread=replace(HEAD, start=4)))},
            {
                "restore": Restoration(
                    record=replace(STORED, thread=replace(HEAD, start=3)),
                    entries=(replace(*entries("e2"), seq=2),),
                )
            },
        ],
        ids=[
            "other key",
            "other space",
            "put",
            "delete",
            "append",
            "tombstone",
            "no data",
            "other's thread",
            "no seq",
            "wrong seq",
            "start behind end",
            "entry before start",
        ],
    )
    def test_what_is_no_restoration(self, change: dict[str, Any]) -> None:
        """Another key's, a tombstone's, one of two things at once, entries out of place."""
        restoration: dict[str, Any] = {"key": "a", "restore": Restoration(record=STORED)}

        assert Change(**restoration)
        with pytest.raises(ValueError, match="its own record"):
            Change(**restoration | change)
