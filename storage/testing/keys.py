"""The part of ``StorageContract`` about keys: which there are, and that none is another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from torpor.storage.errors import InvalidKeyError
from torpor.storage.records import Saved, Space
from torpor.storage.testing.kit import (
    ContractKit,
    all_pages,
    append,
    checkpoint,
    payloads,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.storage.base import Storage

# Families in which each member could be taken for another, or for something else altogether.
KEYS = [
    # letter case, spaces, Unicode forms, look-alikes
    *("key", "KEY", "Key", "key ", " key", "key\t", "key\n", "key.", "k\u200bey"),
    *("\u00e9", "e\u0301", "E\u0301", "\u212b", "\u00c5", "ß", "ss", "\u0131", "i", "I", "İ"),
    # file systems
    *("/", "//", "/etc/passwd", "a/b", "a//b", "a/./b", "a\\b", ".", "..", "../..", "../key"),
    *("~", "CON", "nul", "key.json", "a:b", "C:\\key", "file://key", "-rf", "%2e%2e", "%2F"),
    # queries, patterns, formats
    *("'", '"', "`", "''", "'; DROP TABLE checkpoints; --", "%", "_", "*", "?", "[a-z]", "{0}"),
    *("$key", "${HOME}", "{{key}}", "a,b", "a|b", "a;b", "a&b=c", "?q=1", "#", "a#b", "a#", "#b"),
    *("null", "None", "true", "0", "00", "0.0", "1e3", "-1", "[]", "{}"),
    # code points at the edges of encodings and of orders
    *("\x01", "\x1f", "\x7f", "\x80", "\ud7ff", "\ue000", "\ufeffkey", "\ufffd", "\uffff"),
    *("\U00010000", "\U0010ffff", "\N{GRINNING FACE}", "\u202ekey", "ключ", "鍵", "مفتاح"),
    # sizes: exactly as long as allowed, counted in bytes
    *("k" * 512, "k" * 511, "é" * 256, "\N{GRINNING FACE}" * 128),
]

NOT_KEYS: list[Any] = [
    "",
    "nul\0l",
    "\0",
    "k" * 577,
    "é" * 289,
    "\ud800",
    "a\udfffb",
    None,
    7,
    b"bytes",
    ("a", "tuple"),
]


def _name(key: object) -> str:
    return ascii(key) if not isinstance(key, str) or len(key) < 20 else f"{key[0]}*{len(key)}"


class KeyContract(ContractKit):
    """Any text is a key, in two separate spaces."""

    def test_any_text_names_a_checkpoint(self, storage: Storage) -> None:
        """A checkpoint is written, found, listed and deleted under any key (rule 9, CP-5)."""
        for key in KEYS:
            storage.put_checkpoint(key, key)

            assert checkpoint(storage, key).key == key
            assert [record.key for record in all_pages(storage, Space.CHECKPOINTS)] == [key]
            assert [record.key for record in all_pages(storage, Space.CHECKPOINTS, key)] == [key]
            storage.delete_checkpoint(key)
            assert storage.get_checkpoint(key) is None

    def test_any_text_names_a_thread(self, storage: Storage) -> None:
        """A thread is written, found, listed and deleted under any id (rule 9, CP-5, TH-33)."""
        for key in KEYS:
            storage.append_thread(key, {"payload": key})

            assert payloads(storage.load_thread(key)) == [key]
            assert [record.key for record in all_pages(storage, Space.THREADS, key)] == [key]
            storage.delete_thread(key)
            assert storage.load_thread(key) is None

    def test_no_two_keys_collide(self, storage: Storage) -> None:
        """Keys that look alike are kept apart as checkpoints and as threads (rule 9, CP-5)."""
        for make in (put, append):
            outcomes = storage.commit([make(key, key, expected_rev=0) for key in KEYS])
            assert [type(outcome) for outcome in outcomes] == [Saved] * len(KEYS)

        assert [checkpoint(storage, key).value for key in KEYS] == KEYS
        assert [payloads(storage.load_thread(key)) for key in KEYS] == [[key] for key in KEYS]
        for space in Space:
            listed = [record.key for record in all_pages(storage, space, limit=7)]
            assert sorted(listed) == sorted(KEYS)

    def test_checkpoints_and_threads_are_apart(self, storage: Storage) -> None:
        """One key names a checkpoint and a thread that know nothing of each other (CP-9)."""
        storage.put_checkpoint("key1", "checkpoint")
        storage.append_thread("key1", {"payload": "entry"}, expected_rev=0)

        storage.delete_checkpoint("key1")
        assert payloads(storage.load_thread("key1")) == ["entry"]

        storage.put_checkpoint("key1", "again")
        storage.delete_thread("key1")
        assert checkpoint(storage, "key1").value == "again"

    @pytest.mark.parametrize("key", NOT_KEYS, ids=_name)
    def test_other_keys_are_refused(self, storage: Storage, key: Any) -> None:
        """What is no key is an error everywhere, and nothing is stored (rule 9, TH-33)."""
        calls = [
            lambda: storage.get_checkpoint(key),
            lambda: storage.put_checkpoint(key, 1),
            lambda: storage.delete_checkpoint(key),
            lambda: storage.thread_head(key),
            lambda: storage.load_thread(key),
            lambda: storage.append_thread(key, {"payload": 1}),
            lambda: storage.trim_thread(key, 1),
            lambda: storage.delete_thread(key),
        ]

        refused = [_is_refused(call) for call in calls]

        assert all(refused), refused
        assert all(all_pages(storage, space) == [] for space in Space)

    def test_keys_have_at_most_512_bytes(self, storage: Storage) -> None:
        """One byte more is refused, as a checkpoint and as a standalone thread (rule 9)."""
        for key in ("k" * 513, "é" * 256 + "k"):
            for call in (
                partial(storage.get_checkpoint, key),
                partial(storage.put_checkpoint, key, 1),
                partial(storage.append_thread, key, {}),
                partial(storage.delete_thread, key),
            ):
                assert _is_refused(call)


def _is_refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except InvalidKeyError:
        return True
    return False
