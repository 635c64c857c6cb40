"""The part of ``StorageContract`` about single checkpoints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage.errors import ConflictError, UnserializableError
from torpor.storage.records import Change, Put, Saved
from torpor.storage.testing.kit import ContractKit, checkpoint, put

if TYPE_CHECKING:
    from torpor.storage.base import Storage

JSON_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**53 + 1,
    1.5,
    -0.1,
    1e300,
    "",
    'line\nquote"back\\slash\ttab',
    "ünïcödé \N{SNOWMAN} \N{GRINNING FACE} \u2028 \x7f \x01",
    [],
    {},
    [[], [[]], {}],
    {"a": {"b": {"c": [None, {"d": None}]}}, "": "empty name", "ü": 1},
]

NOT_JSON: list[Any] = [
    b"bytes",
    {1},
    object,
    float("nan"),
    float("inf"),
    {1: "a key that is no text"},
    {"deep": [{"down": {None: 1}}]},
    "\ud800",
    {"\udfff": 1},
]


class CheckpointContract(ContractKit):
    """One record at a time: put, get, delete, revisions, values."""

    def test_missing_checkpoint_is_none(self, storage: Storage) -> None:
        """A key without a record is None, not an error (rule 8, CP-2)."""
        assert storage.get_checkpoint("missing") is None
        assert storage.read(["missing", "also missing"]) == [None, None]

    def test_get_returns_what_was_put(self, storage: Storage) -> None:
        """A record comes back with all that was given to put (CP-2)."""
        before = time.time()

        rev = storage.put_checkpoint(
            "agent", {"count": 1}, kind="counter", version=3, wake_at=1234.5
        )

        found = checkpoint(storage, "agent")
        assert (found.key, found.rev, found.value) == ("agent", rev, {"count": 1})
        assert (found.kind, found.version, found.wake_at) == ("counter", 3, 1234.5)
        assert found.thread is None
        assert before <= found.updated_at <= time.time()

    def test_data_comes_back_byte_for_byte(self, storage: Storage) -> None:
        """The JSON text itself is kept, also its spaces and order (rule 10, CP-6, W-39)."""
        data = '{ "b":1,\n"a" : [1.0, 1e2, "\\u00e9", "é"] }'

        storage.commit([Change(key="agent", put=Put(data=data))])

        found = checkpoint(storage, "agent")
        assert found.data == data

    def test_put_replaces_the_whole_record(self, storage: Storage) -> None:
        """The second put wins, and nothing of the first is left (CP-3, W-37)."""
        storage.put_checkpoint("agent", {"a": 1}, kind="old", version=2, wake_at=5.0)

        storage.put_checkpoint("agent", {"b": 2})

        found = checkpoint(storage, "agent")
        assert found.value == {"b": 2}
        assert (found.kind, found.version, found.wake_at) == ("", 1, None)

    def test_each_put_has_a_new_revision(self, storage: Storage) -> None:
        """Revisions go up by one from 1, also when nothing else changes (rule 4)."""
        revs = [storage.put_checkpoint("agent", "same") for _ in range(3)]

        assert revs == [1, 2, 3]
        found = checkpoint(storage, "agent")
        assert found.rev == 3

    def test_matching_expected_rev_is_saved(self, storage: Storage) -> None:
        """0 creates, n replaces exactly revision n (rule 2)."""
        assert storage.put_checkpoint("agent", "first", expected_rev=0) == 1
        assert storage.put_checkpoint("agent", "second", expected_rev=1) == 2

    @pytest.mark.parametrize("expected", [0, 1, 3, 2**40])
    def test_other_expected_rev_conflicts(self, storage: Storage, expected: int) -> None:
        """A stale or invented revision conflicts and the record stays as it was (rule 2, W-19)."""
        storage.put_checkpoint("agent", "first")
        storage.put_checkpoint("agent", "second", kind="kept", wake_at=7.0)
        before = storage.get_checkpoint("agent")

        with pytest.raises(ConflictError) as caught:
            storage.put_checkpoint("agent", "late", expected_rev=expected)

        assert (caught.value.key, caught.value.expected, caught.value.found) == (
            "agent",
            expected,
            2,
        )
        assert caught.value.outcome == "not_applied"
        assert storage.get_checkpoint("agent") == before

    def test_expected_rev_of_nothing_conflicts(self, storage: Storage) -> None:
        """Revision n of a key that has none conflicts and creates nothing (rule 2)."""
        with pytest.raises(ConflictError) as caught:
            storage.put_checkpoint("agent", "late", expected_rev=1)

        assert caught.value.found == 0
        assert storage.get_checkpoint("agent") is None

    def test_deleted_checkpoint_is_none(self, storage: Storage) -> None:
        """After delete there is no record (rule 4, CP-4)."""
        storage.put_checkpoint("agent", 1)

        storage.delete_checkpoint("agent")

        assert storage.get_checkpoint("agent") is None
        assert storage.read(["agent"]) == [None]

    def test_deleting_nothing_is_no_error(self, storage: Storage) -> None:
        """Delete is idempotent, for keys that never existed too (rule 8, CP-4)."""
        storage.delete_checkpoint("never")
        storage.delete_checkpoint("never", expected_rev=0)
        storage.put_checkpoint("agent", 1)
        storage.delete_checkpoint("agent", expected_rev=1)
        storage.delete_checkpoint("agent")

        assert storage.get_checkpoint("agent") is None

    def test_stale_delete_conflicts(self, storage: Storage) -> None:
        """A delete of another revision removes nothing (rule 2)."""
        storage.put_checkpoint("agent", 1)
        storage.put_checkpoint("agent", 2)

        with pytest.raises(ConflictError):
            storage.delete_checkpoint("agent", expected_rev=1)

        found = checkpoint(storage, "agent")
        assert found.value == 2

    def test_revisions_go_on_after_delete(self, storage: Storage) -> None:
        """No revision is used twice: a writer from before the delete conflicts (rule 4, HC-30)."""
        storage.put_checkpoint("agent", 1)
        storage.put_checkpoint("agent", 2)
        storage.delete_checkpoint("agent")

        assert storage.put_checkpoint("agent", 3, expected_rev=0) == 3

        for stale in (1, 2):
            with pytest.raises(ConflictError):
                storage.put_checkpoint("agent", "late", expected_rev=stale)

    def test_deleted_record_has_no_revision_to_expect(self, storage: Storage) -> None:
        """After delete only 0 matches, not the last revision (rule 2, rule 4)."""
        storage.put_checkpoint("agent", 1)
        storage.delete_checkpoint("agent")

        with pytest.raises(ConflictError) as caught:
            storage.put_checkpoint("agent", 2, expected_rev=1)

        assert caught.value.found == 0

    @pytest.mark.parametrize("value", JSON_VALUES)
    def test_json_values_come_back(self, storage: Storage, value: Any) -> None:
        """Every JSON value comes back equal and of the same type (rule 10, CP-6)."""
        storage.put_checkpoint("agent", value)

        found = checkpoint(storage, "agent")
        assert found.value == value
        assert type(found.value) is type(value)

    @pytest.mark.parametrize("value", NOT_JSON, ids=repr)
    def test_other_values_are_refused(self, storage: Storage, value: Any) -> None:
        """What is not JSON is an error at the call, and nothing is stored (rule 10, CP-6)."""
        with pytest.raises(UnserializableError):
            storage.put_checkpoint("agent", value)
        with pytest.raises(UnserializableError):
            storage.put_checkpoint("agent", {"deep": [value]})

        assert storage.get_checkpoint("agent") is None

    def test_tuples_become_lists(self, storage: Storage) -> None:
        """Values are JSON, and JSON has no tuples (CP-6)."""
        storage.put_checkpoint("agent", {"pair": (1, (2, 3))})

        found = checkpoint(storage, "agent")
        assert found.value == {"pair": [1, [2, 3]]}

    def test_large_values_come_back(self, storage: Storage) -> None:
        """A megabyte of text and a list of 10,000 come back whole (CP-7)."""
        value = {"text": "0123456789abcdé\x00" * 62_500, "list": list(range(10_000))}

        storage.put_checkpoint("agent", value)

        found = checkpoint(storage, "agent")
        assert found.value == value

    def test_stored_value_is_a_copy(self, storage: Storage) -> None:
        """Neither the writer's nor a reader's object is connected with what is stored."""
        value = {"list": [1]}
        storage.put_checkpoint("agent", value)
        value["list"].append(2)
        found = checkpoint(storage, "agent")
        found.value["list"].append(3)

        again = checkpoint(storage, "agent")
        assert again.value == {"list": [1]}

    def test_many_are_read_in_order(self, storage: Storage) -> None:
        """A read of many keys answers each in its place, the missing ones with None (rule 8)."""
        for key in "abc":
            storage.put_checkpoint(key, key)
        storage.delete_checkpoint("b")

        found = storage.read(["c", "missing", "b", "a"])

        assert [getattr(record, "data", None) for record in found] == ['"c"', None, None, '"a"']
        assert storage.read([]) == []

    def test_commit_answers_the_stored_revision(self, storage: Storage) -> None:
        """The revision of the outcome is the one that readers see (rule 4)."""
        for number in range(3):
            [outcome] = storage.commit([put("agent", number)])

            assert outcome == Saved(checkpoint(storage, "agent").rev)
