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
from tests.tools.kit import LONG, RECORDS, entry, exported, grow, imported, lines_of
from torpor.storage import Record, Space, Storage, open_storage
from torpor.storage.memory import MemoryStorage
from torpor.storage.transfer import Export, Totals, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BACKENDS = ["memory", "file", "sqlite", "postgresql"]


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
