"""What users get to test their own storages with."""

from __future__ import annotations

import inspect
import re
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.project import ROOT, run
from torpor.storage import Space, Storage
from torpor.storage.memory import MemoryStorage
from torpor.storage.testing import StorageContract, StorageStateMachine
from torpor.storage.testing.kit import together

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = {
    name: getattr(StorageContract, name)
    for name in dir(StorageContract)
    if name.startswith("test_")
}

ABILITIES = {
    "ordered_listing": "test_keys_are_ordered",
    "second_instance": "test_second_instance_sees_what_is_saved",
    "second_process": "test_killed_process_leaves_whole_changes",
    "few_steps": "test_batch_takes_few_steps",
    "damageable": "test_damaged_entry_is_noticed",
    "severable": "test_lost_place_is_not_an_empty_one",
}

HOOKS: dict[str, tuple[Callable[[StorageContract, Storage], object], str]] = {
    "opener": (lambda contract, storage: contract.opener(storage), "second_instance"),
    "count_steps": (lambda contract, storage: contract.count_steps(storage, list), "few_steps"),
    "damage_record": (
        lambda contract, storage: contract.damage_record(storage, Space.THREADS, "log"),
        "damageable",
    ),
    "damage_entry": (
        lambda contract, storage: contract.damage_entry(storage, "log", 0),
        "damageable",
    ),
    "sever": (lambda contract, storage: contract.sever(storage), "severable"),
}


def test_importing_storage_needs_no_test_tools() -> None:
    """Everything but the testing modules works where pytest and hypothesis are not installed."""
    program = (
        "import sys\n"
        "sys.modules.update(pytest=None, hypothesis=None)\n"
        "from torpor.storage import open_storage\n"
        "from torpor.storage.faulty import FaultyStorage\n"
        "FaultyStorage(open_storage('memory:')).put_checkpoint('agent', 1)\n"
    )

    assert run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(("ability", "test"), ABILITIES.items())
def test_missing_ability_leaves_its_tests_out(ability: str, test: str) -> None:
    """What a storage declares that it can't do is not tested, all else is."""
    contract = type("Contract", (StorageContract,), {ability: False})

    assert getattr(contract, test) is None
    left_out = {name for name in TESTS if getattr(contract, name) is None}
    assert len(left_out) < 10
    assert left_out.isdisjoint(set(ABILITIES.values()) - {test})


def test_ability_may_come_back() -> None:
    """A subclass of a contract that lacks an ability may have it after all."""

    class Less(StorageContract):
        few_steps = False

    class More(Less):
        few_steps = True

    assert Less.test_batch_takes_few_steps is None
    assert More.test_batch_takes_few_steps is StorageContract.test_batch_takes_few_steps


def test_own_version_of_a_test_is_kept() -> None:
    """A test that a subclass defines itself is neither replaced nor left out."""

    class Own(StorageContract):
        few_steps = False

        def test_batch_takes_few_steps(self, storage: Storage) -> None:
            """Do otherwise."""

    assert "test_batch_takes_few_steps" in vars(Own)
    assert Own.test_batch_takes_few_steps is not None


@pytest.mark.parametrize("hook", HOOKS)
def test_missing_hook_says_what_to_do(hook: str) -> None:
    """A hook that a storage lacks is told with the ability to declare as missing."""
    call, ability = HOOKS[hook]

    with MemoryStorage() as storage, pytest.raises(NotImplementedError) as caught:
        call(StorageContract(), storage)
    assert f"define {hook} or declare {ability} = False" in str(caught.value)


def test_every_rule_is_named() -> None:
    """Each test says what it shows, and together they name each rule of the contract."""
    named = {
        int(number)
        for test in TESTS.values()
        for number in re.findall(r"rule (\d+)", inspect.getdoc(test) or "")
    }

    assert all(inspect.getdoc(test) for test in TESTS.values())
    assert named == set(range(1, 15))


def test_machine_needs_a_storage() -> None:
    """The machine of a storage says how to make one."""
    with MemoryStorage() as storage:
        machine = StorageStateMachine()
        with pytest.raises(NotImplementedError):
            machine.make_storage()
        with pytest.raises(NotImplementedError):
            machine.reopen(storage)


def test_jobs_run_at_once() -> None:
    """Jobs that need each other end, and their results come in order."""
    both = threading.Barrier(2)

    def job(number: int) -> int:
        both.wait(10)
        return number

    assert together(lambda: job(1), lambda: job(2)) == [1, 2]


def test_error_of_a_job_is_raised() -> None:
    """What a job raises on its thread is raised where it was started."""

    def fail() -> None:
        msg = "from a thread"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="from a thread"):
        together(fail, lambda: None)
