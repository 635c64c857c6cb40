"""Exports and storages that are damaged: it is noticed, and goes no further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.kit import entry, exported, grow, imported, lines_of, stored_keys
from torpor.storage import Space, Storage, open_storage
from torpor.storage.errors import (
    CorruptExportError,
    CorruptRecordError,
    InvalidKeyError,
    SchemaVersionError,
    StorageError,
    StorageUnavailableError,
)
from torpor.storage.faulty import FaultyStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.transfer import copy
from torpor.storage.transfer.lines import seal

if TYPE_CHECKING:
    from collections.abc import Callable


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
