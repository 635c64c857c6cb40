"""Records of repositories that cannot be: what fuzzing found."""

from __future__ import annotations

import pytest

from tests.fuzz.kit import tampered
from torpor.repositories import Repositories
from torpor.storage.errors import CorruptRecordError
from torpor.storage.memory import MemoryStorage


def test_record_under_the_key_of_another() -> None:
    """It is neither taken for that one, nor written over."""
    with MemoryStorage() as storage:
        containers = Repositories(storage).containers
        for name in ("a", "b"):
            containers.create(name)
        other = storage.get_checkpoint("container:b")
        assert other is not None
        tampered(storage, "container:a", other.data)

        with pytest.raises(CorruptRecordError, match="'b'"):
            containers.get("a")
        with pytest.raises(CorruptRecordError):
            containers.update("a", lambda container: container)
        assert containers.get("b").container_id == "b"
