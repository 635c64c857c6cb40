"""``StorageContract`` fails for a storage that breaks a rule, and for no other."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.storage.broken.commits import ForgetsChanges, LastWriterWins, SpoilsTheBatch
from tests.storage.broken.every import broken_storages
from tests.storage.broken.records import (
    FoldsCase,
    ForgetsDeletedKeys,
    ReformatsDocuments,
    TakesPrefixForPattern,
    VacuumsTooMuch,
)
from tests.storage.broken.threads import LosesThePointer, RenamesEntries, TakesLaterMetadata
from tests.storage.broken.wake_ups import ForgetsThreadsWakeUps, NeverMovesWakeUps, WakesTooLate
from tests.storage.memory_kit import Alone
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing import StorageStateMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.storage.broken.kit import Broken
    from torpor.storage import Storage
    from torpor.storage.testing import StorageContract

RULES = range(1, 15)


@pytest.mark.parametrize("broken", broken_storages(), ids=lambda broken: broken.__name__)
def test_broken_rule_is_noticed(broken: type[Broken]) -> None:
    """A test that names the broken rule fails."""
    assert any(_failures(broken.contract(), broken.rule, broken))


@pytest.mark.parametrize("rule", RULES)
def test_kept_rule_is_not_complained_about(rule: int) -> None:
    """The same tests pass for a storage that keeps the rule."""
    assert list(_failures(Alone(), rule, MemoryStorage)) == []


def test_every_rule_is_broken_once() -> None:
    """There is a broken storage for each rule of the contract."""
    assert {broken.rule for broken in broken_storages()} == set(RULES)


@pytest.mark.parametrize(
    "broken",
    [
        LastWriterWins,
        SpoilsTheBatch,
        ForgetsChanges,
        ForgetsDeletedKeys,
        VacuumsTooMuch,
        TakesLaterMetadata,
        RenamesEntries,
        LosesThePointer,
        FoldsCase,
        TakesPrefixForPattern,
        ReformatsDocuments,
        NeverMovesWakeUps,
        WakesTooLate,
        ForgetsThreadsWakeUps,
    ],
)
def test_machine_notices(broken: type[Broken]) -> None:
    """The state machine finds out by itself what a broken storage does wrong."""

    class Machine(StorageStateMachine):
        def make_storage(self) -> Storage:
            return broken()

    search = settings(
        max_examples=300, derandomize=True, database=None, phases=[Phase.generate], deadline=None
    )

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=search)


def _failures(
    contract: StorageContract, rule: int, make_storage: Callable[[], Storage]
) -> Iterator[str]:
    """Yield the names of the tests that name ``rule`` and fail."""
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        named = re.findall(r"rule (\d+)", test.__doc__ or "")
        if name.startswith("test_") and str(rule) in named:
            for arguments in _parametrized(test):
                with make_storage() as storage, pytest.MonkeyPatch.context() as monkeypatch:
                    fixtures = {"storage": storage, "monkeypatch": monkeypatch}
                    wanted = inspect.signature(test).parameters.keys() & fixtures.keys()
                    try:
                        test(**arguments, **{fixture: fixtures[fixture] for fixture in wanted})
                    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - any
                        yield f"{name}: {error!r}"


def _parametrized(test: Any) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each run of a parametrized test."""
    choices: list[list[dict[str, Any]]] = []
    for mark in getattr(test, "pytestmark", []):
        names, values = mark.args
        if isinstance(names, str):
            choices.append([{names: value} for value in values])
        else:
            choices.append([dict(zip(names, value, strict=True)) for value in values])
    for chosen in itertools.product(*choices):
        yield {name: value for choice in chosen for name, value in choice.items()}
