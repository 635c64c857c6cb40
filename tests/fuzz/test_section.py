"""The runtime's section of a record, stored schedules and arguments, damaged and taken apart."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, SCALARS, changed, junk, mutated, object_of, text_of
from tests.fuzz.kit import quiet
from torpor import Agent
from torpor.agent import spec_of
from torpor.cron import next_cron
from torpor.outbox import OutboxMessage, retry_in
from torpor.pauses import Pause
from torpor.schedules import Schedule
from torpor.storage import Record
from torpor.storage.errors import (
    CorruptRecordError,
    InvalidArgumentsError,
    ScheduleError,
    SchemaVersionError,
)
from torpor.system import Contents, DeadMessage, MailPlace, Mark, SystemState, join, split

ADDRESS = "counter/a"
CONTENTS = Contents(
    life="l1",
    sent=9,
    outbox={
        seq: OutboxMessage(
            seq=seq,
            target="agent:counter/b",
            payload={"method": "add", "args": [1]},
            at=1.5,
            due=9.5,
            held=seq > 8,
            failures=seq,
            error="E: x",
        )
        for seq in (8, 9)
    },
    inbox={"counter/b": Mark("l2", 3, 2.5)},
    dead={
        "d1": DeadMessage(
            id="d1",
            sender=None,
            target="agent:counter/a",
            payload=None,
            failures=10,
            error="E",
            sent_at=1.0,
            died_at=2.0,
        )
    },
    mail=MailPlace(cursor=4, failures=1, retry_at=5.5, ids=("m1", "m2")),
    schedules={
        "s1": Schedule(id="s1", method="add", arguments={"args": [2]}, next_at=7.0, every=5.0),
        "s2": Schedule(id="s2", method="add", next_at=7.0, cron="0 9 * * 1", tz="Europe/Paris"),
        "s3": Schedule(id="s3", method="add", next_at=7.0, failures=2, retry_at=8.0, error="E"),
    },
    pause=Pause(since=1.0, until=2.0, failures=3, error="E"),
)
SECTION = CONTENTS.encode()
FIELDS = '{"count":5}'


def use(contents: Contents) -> None:
    """Do with a section what the runtime does with it."""
    assert Contents.decode(contents.encode(), ADDRESS) == contents
    wake_at = contents.wake_at()
    assert wake_at is None or wake_at < 1e400
    for message in contents.outbox.values():
        assert message.put_off(LookupError("x"), 10.0).due >= 11
        assert message.renewed(10.0).due > 10
        assert isinstance(message.target.partition(":"), tuple)
    for mark in contents.inbox.values():
        assert mark.seq + mark.at < 1e400
    assert contents.mail.cursor + contents.mail.failures + (contents.mail.retry_at or 0) < 1e400
    if contents.pause is not None:
        contents.pause.holds(10.0)
    for schedule in contents.schedules.values():
        assert isinstance(schedule.tick_id, str)
        with suppress(ScheduleError):
            schedule.plan(max(10.0, schedule.due_at))
        with suppress(ScheduleError):
            schedule.failed(LookupError("x"), 10.0)


@given(section=changed(json.loads(SECTION)).map(text_of) | ANYTHING.map(text_of))
def test_section(section: str) -> None:
    """Any JSON in place of it: what can be worked with, or a typed error (W-10)."""
    with suppress(CorruptRecordError, SchemaVersionError):
        use(Contents.decode(section, ADDRESS))
    quiet()


@given(data=mutated(join(SECTION, FIELDS).encode()) | junk)
def test_record_with_a_section(data: bytes) -> None:
    """Any bytes in place of a record's data: section and fields, or a typed error."""
    text = data.decode("utf-8", "replace")
    with suppress(CorruptRecordError, SchemaVersionError):
        section, fields = split(text, ADDRESS)
        assert section is None or text.startswith(f'{{"$torpor":{section}')
        assert section is not None or fields == text
        record = Record(key=ADDRESS, rev=1, change_id="c", updated_at=1.0, data=text)
        state, rest = SystemState.detach(record)
        assert rest.data == fields
        assert (state is None) == (section is None)


@given(failures=st.integers(0, 10**6))
def test_pauses_grow_no_more(failures: int) -> None:
    """However often something failed, there is a time to wait (a message may wait for years)."""
    assert 1 <= retry_in(failures) <= 300


FIELD = st.text("0123456789*/,-?LW#@ abcJANMON²", max_size=8) | st.sampled_from(["*", "0", "*/5"])


@given(
    expression=st.lists(FIELD, min_size=4, max_size=7).map(" ".join) | st.text(max_size=20),
    tz=st.none()
    | st.sampled_from(["Europe/Paris", "../../etc/passwd", "\0", "x" * 300, "America"]),
    after=st.floats(-1e18, 1e18) | st.floats(0, 4e9),
)
def test_stored_cron(expression: str, tz: str | None, after: float) -> None:
    """Whatever a cron expression and a time zone say: a later time, or a typed error."""
    with suppress(ScheduleError):
        assert next_cron(expression, tz, after) > after


class Taker(Agent):
    """Takes arguments of every shape."""

    def take(self, n: int, *rest: str, named: dict[str, float] | None = None, **more: Any) -> None:
        """Take them."""


ARGUMENTS: dict[str, Any] = {
    "args": [1, "a"],
    "kwargs": {"named": {"x": 1.5}, "other": [1, {"y": None}]},
}


@given(document=changed(ARGUMENTS))
def test_stored_arguments(document: Any) -> None:
    """Any JSON object in place of arguments: those of a call, or a typed error."""
    document = object_of(document) or {"args": document, "kwargs": document}
    command = spec_of(Taker).find_name("take")
    with suppress(InvalidArgumentsError):
        args, kwargs = command.json.load(ADDRESS, document)
        assert isinstance(args[0] if args else kwargs["n"], int)


@given(value=SCALARS)
def test_interval_that_is_none(value: Any) -> None:
    """An interval of a schedule is a number above 0, or there is none."""
    document = json.loads(SECTION)
    document["schedules"][0]["every"] = value
    with suppress(CorruptRecordError):
        every = Contents.decode(text_of(document), ADDRESS).schedules["s1"].every
        assert every is None or 0 < every < 1e400
