"""What is peculiar to storage in memory."""

from __future__ import annotations

from typing import Any

import pytest

from torpor.storage import Change, Put, Rejected, Saved, Space, ThreadWrite, open_storage
from torpor.storage.errors import ConfigurationError
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing.kit import entries_of, head_of, put


def test_url() -> None:
    """``memory:`` opens a new, empty storage each time."""
    with open_storage("memory:") as one, open_storage("memory:") as other:
        assert isinstance(one, MemoryStorage)
        one.put_checkpoint("agent", 1)
        assert other.get_checkpoint("agent") is None


@pytest.mark.parametrize(
    ("url", "options"), [("memory:///place", {}), ("memory:", {"synchronous": "full"})]
)
def test_wrong_url_or_option(url: str, options: dict[str, Any]) -> None:
    """It has no place and no options, and says so."""
    with pytest.raises(ConfigurationError):
        open_storage(url, **options)


def test_says_what_it_is() -> None:
    """Nothing outlives it, and nothing is waited for."""
    with MemoryStorage() as storage:
        assert not storage.durable
        assert storage.timeout == 0


def test_nothing_is_shared_with_the_caller() -> None:
    """Who changes what was written, or what was read, does not change what is stored (rule 10)."""
    payload, metadata = {"list": [1]}, {"tags": ["a"]}
    with MemoryStorage() as storage:
        storage.commit(
            [
                Change(
                    key="log",
                    space=Space.THREADS,
                    thread=ThreadWrite(id="log", entries=entries_of([payload]), metadata=metadata),
                )
            ]
        )
        payload["list"].append(2)
        metadata["tags"].append("b")
        for _ in range(2):
            thread = storage.load_thread("log")
            assert thread is not None
            assert thread.entries[0].payload == {"list": [1]}
            assert thread.head.metadata == {"tags": ["a"]}
            thread.entries[0].payload["list"].append(3)
            head_of(storage, "log").metadata["tags"].append("c")


def test_text_without_utf8_is_rejected() -> None:
    """What no other storage could take is not taken here either (rule 2)."""
    with MemoryStorage() as storage:
        bad = Change(key="bad", put=Put(data='"\udc80"'))
        outcomes = storage.commit([put("before"), bad, put("after")])

        assert [type(outcome) for outcome in outcomes] == [Saved, Rejected, Saved]
        assert storage.get_checkpoint("bad") is None
