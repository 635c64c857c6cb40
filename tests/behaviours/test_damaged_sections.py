"""What fuzzing found in what the runtime keeps in records: each of it a defect once."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.behaviours.kit import Counter, Watch
from tests.fuzz.test_section import CONTENTS, FIELDS, SECTION
from tests.schedules.kit import Planner
from torpor import Runtime
from torpor.agent import spec_of
from torpor.cron import next_cron
from torpor.events import MessageDelivered, MessageFailed, ScheduleFired
from torpor.outbox import retry_in
from torpor.repositories import Repositories
from torpor.schedules import Schedule
from torpor.storage import Change, Put
from torpor.storage.errors import (
    CorruptRecordError,
    InvalidArgumentsError,
    ScheduleError,
    SchemaVersionError,
    ThawError,
)
from torpor.storage.memory import MemoryStorage
from torpor.system import Contents, join, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Storage


@pytest.fixture
def storage() -> Iterator[Storage]:
    """Return a storage that never fails."""
    with MemoryStorage() as storage:
        yield storage


def put(storage: Storage, key: str, data: str, kind: str = "counter") -> None:
    """Store any text as a record's data."""
    storage.commit([Change(key=key, put=Put(data=data, kind=kind))])


def test_sound_section() -> None:
    """What follows damages something that is taken as it is."""
    assert Contents.decode(SECTION, "counter/a") == CONTENTS


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["unknown"], {"a": 1}),
        (["sent"], 8),
        (["sent"], "9"),
        (["outbox", 0, "seq"], 9),
        (["outbox", 0, "due"], "soon"),
        (["outbox", 0, "due"], math.inf),
        (["outbox", 0, "failures"], 10**400),
        (["outbox", 0, "held"], 1),
        (["inbox", "counter/b"], ["l2", "3", 2.5]),
        (["inbox"], []),
        (["mail", "ids"], 7),
        (["mail", "cursor"], None),
        (["schedules", 0, "every"], 0),
        (["schedules", 0, "misfire"], "never"),
        (["schedules", 0, "arguments"], []),
        (["schedules", 1, "id"], "s1"),
        (["pause"], []),
        (["v"], "1"),
        (["v"], None),
        (["v"], 0),
    ],
    ids=str,
)
def test_section_that_cannot_be(place: list[Any], value: Any) -> None:
    """It is refused as a whole: a part that is not understood would be lost with the next save."""
    document: Any = json.loads(SECTION)
    within = document
    for step in place[:-1]:
        within = within[step]
    within[place[-1]] = value

    with pytest.raises(CorruptRecordError, match="counter/a"):
        Contents.decode(json.dumps(document), "counter/a")


def test_section_of_a_newer_version() -> None:
    """It is told as what it is."""
    with pytest.raises(SchemaVersionError):
        Contents.decode('{"v":2}', "counter/a")


@pytest.mark.parametrize("data", ['{"$torpor":', '{"$torpor":{"v":1', '{"$torpor": {}}', "[" * 9])
def test_section_without_an_end(storage: Storage, data: str) -> None:
    """Whoever looks into it gets an error of the tree, not one of a JSON parser."""
    put(storage, "counter/a", data)
    branches = Repositories(storage).branches

    if data.startswith("{"):
        with pytest.raises(CorruptRecordError):
            split(data, "counter/a")
    with pytest.raises(CorruptRecordError):
        branches.fork("counter/a", "b")
    with Runtime(storage) as runtime:
        ref = runtime.get(Counter, "a")
        with pytest.raises(ThawError):
            ref.ask(Counter.read)
        if data.startswith("{"):
            with pytest.raises(CorruptRecordError):
                ref.schedules()
            with pytest.raises(CorruptRecordError):
                ref.dead_letters()


def test_rewind_to_what_is_no_object(storage: Storage) -> None:
    """The section of an agent is not spliced into anything but an object."""
    put(storage, "counter/a", join(SECTION, FIELDS))
    branches = Repositories(storage).branches
    branches.snapshot("counter/a", "s")
    put(storage, "snapshot:counter%2Fa/s", "[1]", "snapshot/counter")

    with pytest.raises(CorruptRecordError, match="no object"):
        branches.rewind("counter/a", "s")
    checkpoint = storage.get_checkpoint("counter/a")
    assert checkpoint is not None
    assert checkpoint.data == join(SECTION, FIELDS)


def test_time_to_wait_after_thousands_of_failures() -> None:
    """2 ** 1024 is no float; where the dead are full, a message fails as often as that."""
    assert [retry_in(failures) for failures in (1, 2, 10, 5000)] == [1, 2, 300, 300]


@pytest.mark.parametrize("at", [-1e18, -1e11])
def test_schedule_before_all_years(storage: Storage, at: float) -> None:
    """A time that no calendar names is long past: the call is made, and is not made again."""
    with Runtime(storage) as runtime:
        watch = Watch(runtime)
        planner = runtime.get(Planner, "a")
        planner.ask(Planner.plan, {"at": at, "misfire": "once"}, "rung")
        watch.wait(ScheduleFired)

        assert planner.ask(Planner.rung) == ["rung"]
        assert planner.schedules() == []


def test_interval_of_next_to_nothing() -> None:
    """As many ticks as there are no numbers for are missed at once."""
    plan = Schedule(id="s", method="m", next_at=0.0, every=5e-324).plan(1e9)

    assert plan.missed > 0
    assert plan.after is not None


def test_cron_outside_of_all_years() -> None:
    """A tick that no calendar names has none after it that one could."""
    with pytest.raises(ScheduleError):
        next_cron("0 9 * * 1", None, -1e18)


@pytest.mark.parametrize("document", [{"args": 5}, {"args": {}}, {"kwargs": []}, {"args": None}])
def test_arguments_that_are_none(document: Any) -> None:
    """They fit no method, and that is told."""
    command = spec_of(Counter).find_name("add")
    with pytest.raises(InvalidArgumentsError):
        command.json.load("counter/a", document)


@pytest.mark.parametrize("letter", [None, 5, "add", [], {}, {"method": 7}, {"method": ["add"]}])
def test_letter_that_is_none(storage: Storage, letter: Any) -> None:
    """It is put off like any that fails; the agent goes on, and so does who wakes it."""
    place = "$mail/counter/a"
    storage.append_thread(place, {"payload": letter}, metadata={"agent": "counter/a"}, wake_at=1.0)

    runtime = Runtime(storage, wake_interval=0.01)
    watch = Watch(runtime)
    runtime.get(Counter, "b")  # from now on agents of its class are woken
    with runtime:
        failed = watch.wait(MessageFailed)[0]
        assert runtime.get(Counter, "a").ask(Counter.add) == 1

    assert failed.agent == "counter/a"
    assert storage.load_thread(place) is not None


@pytest.mark.parametrize(
    "data", ["5", "{}", '{"agent":7}', '{"agent":""}', "{", '{"agent":"\\ud800"}']
)
def test_dead_letter_index_that_names_nobody(storage: Storage, data: str) -> None:
    """Whoever lists dead letters is told which record it is."""
    put(storage, "$dead/counter/a", data, "")

    with Runtime(storage) as runtime, pytest.raises(CorruptRecordError, match="dead/counter"):
        list(runtime.dead_letters())


def test_mail_of_nobody(storage: Storage) -> None:
    """Mail whose head names no receiver wakes nobody, and keeps nobody from being woken."""
    metadata = {"agent": 7}
    storage.append_thread("$mail/#1", {"payload": 1}, metadata=metadata, wake_at=1.0)
    letter = {"method": "add", "args": [4]}
    storage.append_thread(
        "$mail/counter/a", {"payload": letter}, metadata={"agent": "counter/a"}, wake_at=2.0
    )

    runtime = Runtime(storage, wake_interval=0.01)
    watch = Watch(runtime)
    runtime.get(Counter, "b")  # from now on agents of its class are woken
    with runtime:
        watch.wait(MessageDelivered)
        assert runtime.get(Counter, "a").ask(Counter.read) == 4
