"""The part of ``StorageContract`` about listings: what there is, what is due, what is rubbish."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from torpor.storage.errors import ConflictError
from torpor.storage.records import Change, Due, Space
from torpor.storage.testing.keys import KEYS
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    append,
    head_of,
    needs,
    owned,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.base import Storage


class ListingContract(ContractKit):
    """Pages of keys by prefix."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
    @pytest.mark.parametrize("space", list(Space))
    def test_pages_hold_each_key_once(self, storage: Storage, space: Space, limit: int) -> None:
        """Pages are full but the last, and end with no cursor (rule 4, W-36)."""
        keys = [f"key {number}" for number in range(7)]
        _fill(storage, space, keys)
        listing = storage.list_checkpoints if space is Space.CHECKPOINTS else storage.list_threads

        sizes: list[int] = []
        found: list[str] = []
        cursor: str | None = None
        while not sizes or cursor is not None:
            page = listing(cursor=cursor, limit=limit)
            sizes.append(len(page))
            found += [record.key for record in page]
            cursor = page.cursor

        assert sorted(found) == keys
        assert sizes == [limit] * (7 // limit) + [7 % limit] * bool(7 % limit)

    def test_nothing_to_list(self, storage: Storage) -> None:
        """An empty storage has one empty page (rule 8)."""
        for listing in (storage.list_checkpoints, storage.list_threads):
            page = listing()
            assert (page.items, page.cursor) == ((), None)

    @needs("ordered_listing")
    @pytest.mark.parametrize("space", list(Space))
    def test_keys_are_ordered(self, storage: Storage, space: Space) -> None:
        """A listing goes by code points, as ``sorted`` does, across its pages (rule 9)."""
        _fill(storage, space, KEYS)

        found = [record.key for record in all_pages(storage, space, limit=10)]

        assert found == sorted(KEYS)

    @pytest.mark.parametrize("space", list(Space))
    def test_prefix_is_taken_literally(self, storage: Storage, space: Space) -> None:
        """No character of a prefix has a meaning but its own (rule 9)."""
        _fill(storage, space, KEYS)
        prefixes = {key[:length] for key in KEYS for length in (0, 1, 2)} | {"absent", "KEY%"}

        for prefix in sorted(prefixes):
            found = [record.key for record in all_pages(storage, space, prefix)]
            assert sorted(found) == sorted(key for key in KEYS if key.startswith(prefix)), prefix

    def test_deleted_keys_are_not_listed(self, storage: Storage) -> None:
        """Tombstones are invisible, between pages too (rule 4)."""
        keys = [f"key {number}" for number in range(9)]
        for space in Space:
            _fill(storage, space, keys)
        for key in keys[::2]:
            storage.delete_checkpoint(key)
            storage.delete_thread(key)

        for space in Space:
            found = [record.key for record in all_pages(storage, space, limit=2)]
            assert sorted(found) == keys[1::2]

    @pytest.mark.parametrize("space", list(Space))
    def test_pages_survive_changes_between_them(self, storage: Storage, space: Space) -> None:
        """Keys there all the time come once, whatever comes and goes meanwhile (W-36)."""
        steady = [f"{number:02} steady" for number in range(10)]
        _fill(storage, space, steady + [f"{number:02} goes" for number in range(10)])
        listing = storage.list_checkpoints if space is Space.CHECKPOINTS else storage.list_threads

        page = listing(limit=3)
        found = [record.key for record in page]
        for number in range(10):
            _fill(storage, space, [f"{number:02} new"])
            storage.delete_checkpoint(f"{number:02} goes")
            storage.delete_thread(f"{number:02} goes")
            if page.cursor is not None:
                page = listing(cursor=page.cursor, limit=3)
                found += [record.key for record in page]
        while page.cursor is not None:
            page = listing(cursor=page.cursor, limit=3)
            found += [record.key for record in page]

        assert [key for key in sorted(found) if key in steady] == steady
        assert len(set(found)) == len(found)

    def test_listed_records_tell_all_but_data(self, storage: Storage) -> None:
        """A listing shows revision, kind, version, head and wake-up time (W-36)."""
        storage.put_checkpoint("agent", 1)
        storage.commit([owned("agent", "agent#1", "a", wake_at=7.0)])
        storage.append_thread("log", [{}, {}], metadata={"m": 1}, wake_at=8.0)
        storage.put_checkpoint("typed", 1, kind="counter", version=4)

        agent, typed = sorted(all_pages(storage, Space.CHECKPOINTS), key=lambda item: item.key)
        [log] = all_pages(storage, Space.THREADS)

        assert (agent.rev, agent.wake_at, agent.thread) == (2, 7.0, head_of(storage, "agent#1"))
        assert (typed.kind, typed.version, typed.deleted) == ("counter", 4, False)
        assert typed.updated_at > 0
        assert (log.rev, log.wake_at, log.thread) == (2, 8.0, head_of(storage, "log"))

    @pytest.mark.parametrize("limit", [0, -1])
    def test_page_has_at_least_one_item(self, storage: Storage, limit: int) -> None:
        """A page of nothing would never end (ValueError)."""
        with pytest.raises(ValueError, match="at least 1"):
            storage.list_checkpoints(limit=limit)
        with pytest.raises(ValueError, match="at least 1"):
            storage.list_threads(limit=limit)

    @pytest.mark.parametrize("cursor", ["!", "a", "ü", "/w==", "YQ==YQ==", "a b="])
    def test_invented_cursor_is_refused(self, storage: Storage, cursor: str) -> None:
        """A cursor comes from a page; anything else is the caller's error."""
        _fill(storage, Space.CHECKPOINTS, ["a", "b"])

        with pytest.raises(ValueError, match="cursor"):
            storage.list_checkpoints(cursor=cursor)


class DueContract(ContractKit):
    """Wake-up times and the list of what is due."""

    def test_due_records_come_earliest_first(self, storage: Storage) -> None:
        """What is due by a moment is listed, that moment included, in order (rule 12)."""
        storage.put_checkpoint("late", 1, wake_at=30.0)
        storage.put_checkpoint("early", 1, wake_at=10.0)
        storage.append_thread("middle", {}, wake_at=20.5)
        storage.put_checkpoint("never", 1)

        due = [
            Due(Space.CHECKPOINTS, "early", 10.0),
            Due(Space.THREADS, "middle", 20.5),
            Due(Space.CHECKPOINTS, "late", 30.0),
        ]
        assert list(storage.list_due(30.0)) == due
        assert list(storage.list_due(29.9)) == due[:2]
        assert list(storage.list_due(1e12, limit=1)) == due[:1]
        assert list(storage.list_due(9.9)) == []

    def test_wake_up_time_follows_each_write(self, storage: Storage) -> None:
        """The last write decides; a delete takes the time away (rule 12)."""
        for key in ("moved", "removed", "deleted", "conflicted"):
            storage.put_checkpoint(key, 1, wake_at=10.0)
            storage.append_thread(key, {}, wake_at=10.0)

        storage.put_checkpoint("moved", 2, wake_at=20.0)
        storage.append_thread("moved", {}, wake_at=20.0)
        storage.put_checkpoint("removed", 2)
        storage.append_thread("removed", {})
        storage.delete_checkpoint("deleted")
        storage.delete_thread("deleted")
        with pytest.raises(ConflictError):
            storage.put_checkpoint("conflicted", 2, wake_at=1.0, expected_rev=9)

        due = {(item.space, item.key, item.wake_at) for item in storage.list_due(100.0)}
        assert due == {(space, "moved", 20.0) for space in Space} | {
            (space, "conflicted", 10.0) for space in Space
        }

    def test_whole_seconds_are_times(self, storage: Storage) -> None:
        """An integer is a number of seconds too (rule 12)."""
        storage.put_checkpoint("agent", 1, wake_at=12)

        found = storage.get_checkpoint("agent")
        assert found is not None
        assert found.wake_at == 12
        assert [item.wake_at for item in storage.list_due(12)] == [12]

    @pytest.mark.parametrize("moment", [float("nan"), float("inf"), float("-inf")])
    def test_impossible_times_are_refused(self, storage: Storage, moment: float) -> None:
        """A moment that no clock shows is the caller's error (rule 10, rule 12)."""
        with pytest.raises(ValueError, match="wake_at"):
            storage.put_checkpoint("agent", 1, wake_at=moment)
        with pytest.raises(ValueError, match="wake_at"):
            storage.append_thread("log", {}, wake_at=moment)

        assert storage.get_checkpoint("agent") is None
        assert storage.thread_head("log") is None

    def test_many_are_due(self, storage: Storage) -> None:
        """The index keeps order and limit over many records (rule 12)."""
        keys = [f"agent {number * 7 % 300:03}" for number in range(300)]
        storage.commit([put(key, wake_at=float(key[-3:])) for key in keys])

        found = storage.list_due(250.0, limit=200)

        assert [item.key for item in found] == sorted(keys)[:200]


class VacuumContract(ContractKit):
    """What deleted keys leave behind, and its removal."""

    def test_vacuum_removes_old_tombstones(self, storage: Storage) -> None:
        """Deleted keys older than asked for are forgotten and counted (rule 4)."""
        _fill(storage, Space.CHECKPOINTS, ["gone", "kept"])
        _fill(storage, Space.THREADS, ["gone", "kept"])
        storage.delete_checkpoint("gone")
        storage.delete_thread("gone")

        assert storage.vacuum(3600) == 0
        assert storage.put_checkpoint("gone", 1, expected_rev=0) == 2
        storage.delete_checkpoint("gone")
        assert storage.vacuum(-60) == 2
        assert storage.vacuum(-60) == 0

        assert storage.put_checkpoint("gone", 1, expected_rev=0) == 1
        assert storage.append_thread("gone", {}, expected_rev=0).rev == 1

    def test_vacuum_keeps_what_lives(self, storage: Storage) -> None:
        """Live records, old ones too, and their threads stay as they are (rule 4)."""
        old = owned("old", "old#1", "a")
        storage.commit([Change(key="old", put=old.put, thread=old.thread, at=1.0)])
        storage.append_thread("log", {"payload": "b"})
        storage.delete_checkpoint("other")

        storage.vacuum(-60)

        assert [record.key for record in all_pages(storage, Space.CHECKPOINTS)] == ["old"]
        assert payloads(storage.load_thread("old#1")) == ["a"]
        assert payloads(storage.load_thread("log")) == ["b"]


def _fill(storage: Storage, space: Space, keys: Sequence[str]) -> None:
    make = put if space is Space.CHECKPOINTS else append
    storage.commit([make(key) for key in keys])
