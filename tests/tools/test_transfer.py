"""What arrives is what left: export and import between storages."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.places.registry import PLACES
from tests.tools.kit import LONG, entry, exported, fill, grow, imported, lines_of, stored_keys
from torpor.storage import Change, Record, Space, Storage, open_storage
from torpor.storage.errors import (
    ConflictError,
    CorruptExportError,
    CorruptRecordError,
    InvalidKeyError,
    RecordTooLargeError,
    SchemaVersionError,
    StorageError,
    StorageUnavailableError,
)
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import checkpoint
from torpor.storage.transfer import Export, Totals, copy
from torpor.storage.transfer.lines import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torpor.storage import Entry

BACKENDS = ["memory", "file", "sqlite", "postgresql"]
RECORDS = 12
"""How many ``fill`` leaves."""


@pytest.fixture
def source() -> Iterator[Storage]:
    """Return a storage with some of everything."""
    with MemoryStorage() as storage:
        fill(storage)
        yield storage


@pytest.fixture
def target() -> Iterator[Storage]:
    """Return an empty storage."""
    with MemoryStorage() as storage:
        yield storage


@pytest.mark.parametrize(("first", "second"), list(itertools.product(BACKENDS, repeat=2)))
def test_export_is_the_same_everywhere(
    source: Storage, empty_place: Callable[[str], str], first: str, second: str
) -> None:
    """From each backend to each: byte for byte, and what is there is not written again."""
    with open_storage(empty_place(first)) as storage:
        copy(source, storage)
        left = exported(storage)
    assert left == exported(source)
    url = empty_place(second)
    with open_storage(f"{url}-2" if second in {"file", "sqlite"} else url) as storage:
        result = imported(storage, left)

        assert (result.imported, result.present, result.replaced) == (RECORDS, 0, 0)
        assert exported(storage) == left
        again = imported(storage, left)
        assert (again.imported, again.present) == (0, RECORDS)
        assert exported(storage) == left


@pytest.mark.parametrize("name", sorted(PLACES.keys() - set(BACKENDS)))
def test_every_other_backend(source: Storage, empty_place: Callable[[str], str], name: str) -> None:
    """Into it and out of it: the same content, in whatever order it lists."""
    wanted = Export(source)
    assert list(wanted)
    with open_storage(empty_place(name)) as storage, MemoryStorage() as target:
        copy(source, storage)
        again = copy(source, storage)
        result = copy(storage, target)

        assert again.present == RECORDS
        assert result.totals == wanted.totals
        assert exported(target) == exported(source)


class TestFormat:
    """What stands in the lines."""

    def test_documented_lines(self, target: Storage) -> None:
        """The members of each line are those of the documentation."""
        grow(target, "cart/1", entry(0, {"n": 1}), data='{"a": 1}', wake_at=5, metadata={"m": 1})
        target.append_thread("log", [])

        header, agent, entries, log, end = map(json.loads, lines_of(target))

        assert all(len(line.pop("sha256")) == 64 for line in (header, agent, entries, log, end))
        assert header == {"format": "torpor export", "version": 1}
        assert agent == {
            "space": "checkpoints",
            "key": "cart/1",
            "rev": 1,
            "updated_at": 1000.25,
            "wake_at": 5.0,
            "kind": "cart",
            "version": 1,
            "thread": {
                "id": "cart/1#1",
                "rev": 1,
                "start": 0,
                "last": "entry 0",
                "created_at": 1000.25,
                "updated_at": 1000.25,
                "metadata": {"m": 1},
            },
            "data": '{"a": 1}',
        }
        assert entries == {
            "entries": [
                {
                    "seq": 0,
                    "id": "entry 0",
                    "kind": "note",
                    "at": 100.5,
                    "payload": {"n": 1},
                    "refs": {},
                }
            ]
        }
        assert (log["space"], log["key"], log["thread"]["rev"]) == ("threads", "log", 0)
        assert end["end"].items() >= {"checkpoints": 1, "threads": 1, "entries": 1}.items()

    def test_counts(self, source: Storage) -> None:
        """An export knows what it held, and so does the import of it."""
        export = Export(source)
        lines = list(export)

        with MemoryStorage() as target:
            result = imported(target, lines)

        assert (export.totals.checkpoints, export.totals.threads) == (8, 4)
        assert export.totals.entries == 4 + 3 + LONG + 2 + 1 + LONG
        assert result.totals == export.totals
        assert json.loads(lines[-1])["end"]["digest"] == export.totals.digest_text

    def test_digest_does_not_depend_on_order(self, source: Storage) -> None:
        """A backend that lists in another order exports other lines with the same digest."""

        class Backwards(MemoryStorage):
            def _list_keys(
                self, space: Space, after: str | None, limit: int, *, tombstones: bool
            ) -> Sequence[str]:
                keys = super()._list_keys(space, None, 10**6, tombstones=tombstones)[::-1]
                return [key for key in keys if after is None or key < after][:limit]

        with Backwards() as backwards:
            copy(source, backwards)
            export, other = Export(source), Export(backwards)

            assert list(export) != list(other)
            assert export.totals == other.totals

    def test_digest_tells_what_differs(self, source: Storage) -> None:
        """The smallest change is another digest."""
        before = Export(source)
        assert list(before)

        source.put_checkpoint("plain", {"a": [1, 2.5, 0]})
        after = Export(source)
        assert list(after)

        assert before.totals.digest != after.totals.digest

    def test_tombstones_stay(self, source: Storage, target: Storage) -> None:
        """What was deleted is not exported: its key begins again elsewhere."""
        assert b'"gone"' not in exported(source)
        copy(source, target)

        assert target.put_checkpoint("gone", 1, expected_rev=0) == 1
        assert source.put_checkpoint("gone", 1, expected_rev=0) == 2

    def test_nothing(self, target: Storage) -> None:
        """An empty storage exports two lines, which can be imported."""
        lines = lines_of(target)

        assert len(lines) == 2
        assert imported(target, lines).totals == Totals()


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
_agents = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
    st.tuples(_json, st.lists(_json, max_size=5), st.integers(0, 5), st.floats(0, 1e10)),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(agents=_agents, line=st.integers(1, 4))
def test_anything_travels(agents: dict[str, Any], line: int) -> None:
    """Whatever is stored is exported, imported and exported again as it was."""
    with (
        MemoryStorage() as source,
        MemoryStorage() as target,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("torpor.storage.transfer.exporting._ENTRIES_TO_A_LINE", line)
        for key, (value, payloads, start, at) in agents.items():
            entries = [entry(seq, payload, at=at) for seq, payload in enumerate(payloads)]
            grow(source, key, *entries, data=json.dumps(value), trim_before=start, wake_at=at)

        result = copy(source, target)

        assert result.imported == len(agents)
        assert exported(target) == exported(source)
        assert target.read(list(agents)) == [
            replace(record, change_id=copied.change_id)
            for record, copied in zip(
                source.read(list(agents)), target.read(list(agents)), strict=True
            )
            if isinstance(record, Record) and isinstance(copied, Record)
        ]


class TestDamagedFiles:
    """Whatever was changed is noticed before it is stored."""

    def test_every_cut_is_noticed(self, source: Storage) -> None:
        """A file that ends early, at a line's end or within one, is refused."""
        lines = lines_of(source)
        for count in range(len(lines)):
            for rest in (b"", lines[count][:-40]):
                with MemoryStorage() as target, pytest.raises(CorruptExportError):
                    imported(target, [*lines[:count], rest] if rest else lines[:count])

    def test_every_missing_line_is_noticed(self, source: Storage) -> None:
        """So is a line that was taken out, and one that stands twice."""
        lines = lines_of(source)
        for place in range(len(lines)):
            for others in ([], [lines[place], lines[place]]):
                with MemoryStorage() as target, pytest.raises(CorruptExportError):
                    imported(target, [*lines[:place], *others, *lines[place + 1 :]])

    def test_swapped_entries_are_noticed(self, source: Storage, target: Storage) -> None:
        """Lines of one thread have their order."""
        lines = lines_of(source)
        place = next(i for i, line in enumerate(lines) if b'"entries":[{"seq":500,' in line)
        lines[place], lines[place + 1] = lines[place + 1], lines[place]

        with pytest.raises(CorruptExportError) as caught:
            imported(target, lines)

        assert caught.value.line == place + 1

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_every_changed_byte_is_noticed(self, data: st.DataObject) -> None:
        """A change anywhere is refused, and what was stored before it is what it was."""
        with MemoryStorage() as source, MemoryStorage() as target:
            grow(source, "a", entry(0), entry(1))
            grow(source, "b", entry(0))
            grow(source, "c")
            export = bytearray(exported(source))
            place = data.draw(st.integers(0, len(export) - 1), "place")
            new = data.draw(st.integers(0, 255).filter(lambda byte: byte != export[place]), "byte")
            if place == len(export) - 1 and new in b"\r\n":
                return
            export[place] = new

            with pytest.raises((CorruptExportError, SchemaVersionError)):
                imported(target, bytes(export))

            assert set(lines_of(target)[1:-1]) <= set(lines_of(source))

    def test_what_is_no_export(self, target: Storage) -> None:
        """Another file, an empty one, a newer format."""
        for lines in ([], [b"hello\n"], [b'{"format":"torpor export"}\n'], [seal({"a": 1})[0]]):
            with pytest.raises(CorruptExportError, match="line 1"):
                imported(target, lines)
        with pytest.raises(SchemaVersionError, match="upgrade"):
            imported(target, [seal({"format": "torpor export", "version": 2})[0]])

    @pytest.mark.parametrize(
        "fields",
        [
            {"key": 5},
            {"key": None},
            {"rev": "1"},
            {"rev": 0},
            {"rev": True},
            {"data": None},
            {"data": {}},
            {"wake_at": "soon"},
            {"thread": {}},
            {"space": "nowhere"},
            {"more": 1},
            {"thread": {"id": "another#1", "rev": 0, "start": 0, "last": None}},
            {"thread": {"id": "a#1", "rev": 1, "start": 2, "last": None}},
            {"thread": {"id": "a#1", "rev": -1, "start": 0, "last": None}},
        ],
        ids=str,
    )
    def test_lines_that_make_no_sense(self, target: Storage, fields: dict[str, Any]) -> None:
        """A line that somebody wrote, with a right checksum, is refused all the same."""
        target.put_checkpoint("a", 1)
        header, line, _ = lines_of(target)
        document = json.loads(line) | fields
        del document["sha256"]
        if document["thread"]:
            times: dict[str, Any] = {"created_at": 0, "updated_at": 0, "metadata": {}}
            document["thread"] = document["thread"] | times

        with pytest.raises(CorruptExportError, match="line 2"):
            imported(target, [header, seal(document)[0]])

    def test_illegal_key_is_refused(self, target: Storage) -> None:
        """As everywhere else."""
        target.put_checkpoint("a", 1)
        lines = [line.replace(b'"a"', b'"a\\u0000"') for line in lines_of(target)]
        document = json.loads(lines[1])
        del document["sha256"]

        with pytest.raises(InvalidKeyError):
            imported(target, [lines[0], seal(document)[0], seal({"end": _end(document)})[0]])


def _end(document: dict[str, Any]) -> dict[str, Any]:
    _, digest = seal(document)
    return {"checkpoints": 1, "threads": 0, "entries": 0, "digest": f"{digest:064x}"}


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


class TestDamagedStorages:
    """Damage is never exported, nor silently left out."""

    def test_damage_is_raised(self, empty_place: Callable[[str], str]) -> None:
        """A record that can't be decoded ends the export, or is told to who asked for that."""
        url = empty_place("sqlite")
        told: list[tuple[Space, str, StorageError]] = []
        with open_storage(url) as storage, MemoryStorage() as target:
            for key in "abc":
                grow(storage, key, entry(0))
            _damage(url, "UPDATE checkpoints SET data = '[]' WHERE key = 'b'")

            with pytest.raises(CorruptRecordError, match="'b'"):
                lines_of(storage)

            def tell(space: Space, key: str, error: StorageError) -> None:
                told.append((space, key, error))

            copy(storage, target, on_damage=tell)

            assert stored_keys(target) == ["a", "c"]
            [(space, key, error)] = told
            assert (space, key, type(error)) == (Space.CHECKPOINTS, "b", CorruptRecordError)

    def test_damaged_entries_are_raised(self, empty_place: Callable[[str], str]) -> None:
        """The record of a thread with a damaged entry is not exported without it."""
        url = empty_place("sqlite")
        with open_storage(url) as storage, MemoryStorage() as target:
            grow(storage, "a", *(entry(seq) for seq in range(3)))
            _damage(url, "DELETE FROM entries WHERE seq = 1")

            with pytest.raises(CorruptRecordError, match="a#1"):
                copy(storage, target)

            assert stored_keys(target) == []

    def test_unreachable_storage(self, source: Storage) -> None:
        """A backend that fails is not taken for an empty one."""
        faulty = FaultyStorage(source)
        faulty.disconnect()

        with pytest.raises(StorageUnavailableError):
            lines_of(faulty)


def _damage(url: str, statement: str) -> None:
    import sqlite3  # noqa: PLC0415 - for damage alone
    from contextlib import closing  # noqa: PLC0415

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(statement)
