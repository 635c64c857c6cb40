"""What an import finds there, where it goes on, and who writes meanwhile."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.tools.kit import LONG, RECORDS, entry, exported, grow, imported, lines_of, stored_keys
from torpor.storage import Change, Record, Storage
from torpor.storage.errors import ConflictError, RecordTooLargeError
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import checkpoint
from torpor.storage.transfer import copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage import Entry


class TestWhatIsThere:
    """An import never replaces what it was not told to."""

    def test_difference_is_refused(self, source: Storage, target: Storage) -> None:
        """A record that differs is left as it is; what came before it is stored."""
        target.put_checkpoint("cart/short", "mine")

        with pytest.raises(ConflictError) as caught:
            copy(source, target)

        assert (caught.value.key, caught.value.found) == ("cart/short", 1)
        assert checkpoint(target, "cart/short").value == "mine"

    @pytest.mark.parametrize("thread_id", ["cart/long#1", "cart/long#2"])
    def test_overwrite(self, source: Storage, target: Storage, thread_id: str) -> None:
        """With ``overwrite`` it is replaced, with its thread, of another id or of the same."""
        grow(target, "cart/long", *(entry(seq, "mine") for seq in range(LONG + 50)))
        if thread_id == "cart/long#2":
            [record] = source.read(["cart/long"])
            assert isinstance(record, Record)
            assert record.thread is not None
            entries = source.read_entries("cart/long#1", 0, LONG)
            with MemoryStorage() as other:
                other.commit([_renamed(record, thread_id, entries)])
                result = copy(other, target, overwrite=True)
                assert exported(target) == exported(other)
            assert target.thread_head("cart/long#1") is None
        else:
            target.append_thread("log", {"payload": "mine"})
            result = copy(source, target, overwrite=True)
            assert exported(target) == exported(source)
        assert result.replaced == (1 if thread_id == "cart/long#2" else 2)

    def test_others_stay(self, source: Storage, target: Storage) -> None:
        """What the export does not name is not touched."""
        target.put_checkpoint("mine", 1)

        copy(source, target, overwrite=True)

        assert target.get_checkpoint("mine") is not None

    def test_rejected_is_raised(self, source: Storage, target: Storage) -> None:
        """What the target can't take is an error that names it."""
        target.max_document_bytes = 20

        with pytest.raises(RecordTooLargeError) as caught:
            copy(source, target)

        assert caught.value.limit == 20


def _renamed(record: Record, thread_id: str, entries: Sequence[Entry]) -> Change:
    from torpor.storage import Restoration  # noqa: PLC0415 - for this one test

    assert record.thread is not None
    renamed = replace(record, thread=replace(record.thread, id=thread_id))
    return Change(key=record.key, restore=Restoration(record=renamed, entries=tuple(entries)))


class TestInterruptions:
    """What was begun can be ended."""

    def test_goes_on_from_every_commit(self, source: Storage, monkeypatch: Any) -> None:
        """Wherever an import was stopped, the next one stores the rest and nothing twice."""
        monkeypatch.setattr("torpor.storage.transfer.importing._PARTS_AT_ONCE", 3)
        lines = lines_of(source)
        stopped = 0
        for allowed in itertools.count():
            with MemoryStorage() as place:
                limited = _Stops(place, allowed)
                try:
                    imported(limited, lines)
                except _StopError:
                    stopped += 1
                    result = imported(place, lines)
                    assert result.imported + result.present == RECORDS
                    assert exported(place) == b"".join(lines)
                else:
                    break
        assert stopped >= 8

    def test_part_of_another_thread_is_refused(self, source: Storage, target: Storage) -> None:
        """A thread is only gone on with if its newest stored entry is the one of the export."""
        entries = [entry(seq, "x" * 40) for seq in range(LONG)]
        entries[699] = entry(699, "x" * 40, id="another")
        with MemoryStorage() as other:
            grow(other, "cart/long", *entries)
            with pytest.raises(_StopError):
                copy(other, _Stops(target, 2))
        head = target.thread_head("cart/long#1")
        assert head is not None
        assert head.rev == 1000

        with pytest.raises(ConflictError):
            copy(source, target)

    def test_failing_storage_is_tried_again(self, source: Storage, target: Storage) -> None:
        """A commit that fails for a moment, before or after it was done, is sent again."""
        faulty = FaultyStorage(target)
        faulty.fail_next("commit")
        faulty.fail_next("commit", after=True)

        copy(source, faulty)

        assert exported(target) == exported(source)

    def test_changed_while_importing(self, source: Storage, target: Storage) -> None:
        """Somebody who writes the same agent meanwhile is noticed."""

        class Interrupted(FaultyStorage):
            def _commit(self, changes: Sequence[Change]) -> Any:
                outcomes = super()._commit(changes)
                for change in changes:
                    if change.key == "cart/long" and change.expected_rev == 0:
                        target.put_checkpoint("cart/long", "mine")
                return outcomes

        with pytest.raises(ConflictError):
            copy(source, Interrupted(target))


class _StopError(Exception):
    """The import was stopped."""


class _Stops(FaultyStorage):
    """Lets some commits through, and then none."""

    def __init__(self, inner: Storage, commits: int) -> None:
        super().__init__(inner)
        self._left = commits

    def _commit(self, changes: Sequence[Change]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _StopError
        return super()._commit(changes)


class TestWhileInUse:
    """Each agent is consistent in itself, whoever writes meanwhile."""

    @pytest.mark.parametrize("at", [1, 3])
    def test_trimmed_meanwhile(self, target: Storage, at: int) -> None:
        """A thread that loses entries while they are read is read again, with its record."""
        with MemoryStorage() as place:
            grow(place, "a", *(entry(seq) for seq in range(LONG)))

            class Interrupted(FaultyStorage):
                calls_left = at

                def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
                    self.calls_left -= 1
                    if self.calls_left == 0:
                        grow(place, "a", entry(LONG), trim_before=LONG - 1, data='"new"')
                    return super()._read_entries(*args, **options)

            copy(Interrupted(place), target)

            assert exported(target) == exported(place)
            assert checkpoint(target, "a").value == "new"

    def test_deleted_meanwhile(self, target: Storage) -> None:
        """An agent that goes while it is read is left out."""
        with MemoryStorage() as place:
            grow(place, "a", *(entry(seq) for seq in range(10)))
            place.put_checkpoint("b", 1)

            class Interrupted(FaultyStorage):
                def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
                    place.delete_checkpoint("a")
                    return super()._read_entries(*args, **options)

            copy(Interrupted(place), target)

        assert stored_keys(target) == ["b"]

    def test_memory_is_bounded(self, target: Storage) -> None:
        """A line holds a part of a long thread, by number and by size."""
        grow(target, "many", *(entry(seq) for seq in range(1_100)))
        grow(target, "large", *(entry(seq, "x" * 300_000) for seq in range(10)))

        parts = [json.loads(line)["entries"] for line in lines_of(target) if b'"entries":[' in line]

        assert [len(part) for part in parts] == [3, 3, 3, 1, 500, 500, 100]
