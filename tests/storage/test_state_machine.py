"""Every backend does what a model of it in plain dictionaries does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import settings

from tests.places.registry import PLACES
from torpor.storage import open_storage
from torpor.storage.testing import StorageStateMachine

if TYPE_CHECKING:
    import unittest

    from torpor.storage import Storage


class PlaceMachine(StorageStateMachine):
    """The machine on the place of a backend."""

    backend: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    """How it is opened: a local one forgets nothing here, for no machine is switched off."""

    def make_storage(self) -> Storage:
        """Return a storage on an empty place."""
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-machine-"))
        self.url = PLACES[self.backend].empty(self.folder)
        return open_storage(self.url, **self.options)

    def reopen(self, storage: Storage) -> Storage:  # noqa: ARG002 - there is one place
        """Open the place again."""
        return open_storage(self.url, **self.options)

    def teardown(self) -> None:
        """Remove the folder."""
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


def _test_of(
    backend: str, *, share: float = 0.1, ordered: bool = True, **options: Any
) -> type[unittest.TestCase]:
    """Return the tests of a backend.

    Args:
        backend: Its name in ``PLACES``.
        share: How much of the usual search it gets: little if each step is a round trip.
        ordered: Whether its listings are in order.
        options: How it is opened.
    """
    attributes = {
        "backend": backend,
        "options": options,
        "can_reopen": PLACES[backend].shared,
        "ordered_listing": ordered,
    }
    machine: Any = type("Machine", (PlaceMachine,), attributes)
    case: type[Any] = machine.TestCase
    usual = settings()
    case.settings = settings(
        max_examples=max(1, round(usual.max_examples * share)),
        stateful_step_count=usual.stateful_step_count // (1 if share == 1 else 2),
    )
    pytest.mark.usefixtures("all_places")(case)
    return case


TestMemory = _test_of("memory", share=1)
TestSQLite = _test_of("sqlite", share=1, synchronous="off")
TestFile = _test_of("file", share=1, fsync=False)
TestSQLiteThroughSQLAlchemy = _test_of("sqlalchemy-sqlite")
TestPostgreSQL = _test_of("postgresql")
TestMariaDB = _test_of("mariadb")
TestMongoDB = _test_of("mongodb", share=0.1)
TestRedis = _test_of("redis", share=0.3)
TestDynamoDB = _test_of("dynamodb", share=0.05)
