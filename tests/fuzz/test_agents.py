"""Agents whose stored bytes are damaged: who calls is told, and nothing takes their place."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.damage import ANYTHING, changed, junk, mutated, text_of
from tests.fuzz.kit import AGENT, FEWER, fill, quiet
from tests.fuzz.test_file_store import LOGS, OWNED, RECORD, contents
from tests.fuzz.test_file_store import copied as copied_folder
from tests.fuzz.test_section import FIELDS, SECTION
from tests.fuzz.test_sqlite_store import Damage, copied, damage, damages, rows_of
from torpor import Agent, Runtime
from torpor.address import side_key
from torpor.storage import Change, Put
from torpor.storage.errors import AgentPausedError, ThawError, TorporError
from torpor.storage.file import FileStorage
from torpor.storage.memory import MemoryStorage
from torpor.storage.sqlite import SQLiteStorage
from torpor.system import join

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from torpor.storage import Storage


class Counter(Agent):
    """Counts, and keeps notes in its thread."""

    taken: ClassVar[list[Any]] = []

    count: int = 0
    name: str = ""

    def add(self, n: int = 1) -> int:
        """Add ``n``, and note it."""
        self.count += n
        self.thread.append("note", {"n": n})
        return self.count


class _Unexpected(logging.Handler):
    """Keeps what was logged of errors that are none of the tree."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, TorporError):
            self.errors.append(error)


@contextmanager
def calm() -> Generator[None]:
    """See that no thread of the runtime meets what it does not know."""
    handler, logger = _Unexpected(), logging.getLogger("torpor")
    logger.addHandler(handler)
    logger.propagate = False  # each example tells that it cannot be thawed
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
    if handler.errors:
        raise handler.errors[0]
    quiet()


def call(storage: Storage) -> bool:
    """Do with the agent all that can be done with one; return whether it can be thawed."""
    with calm(), Runtime(storage, agents=[Counter], wake_interval=None, timeout=20) as runtime:
        agent = runtime.get(Counter, "a", initial={"count": 100})
        assert agent.address == AGENT
        runtime.manager.waker.tick(AGENT, mail=True)
        thawed = True
        try:
            assert agent.ask(Counter.add) != 101
        except ThawError:
            thawed = False
        except AgentPausedError:
            pass
        for use in (
            lambda: agent.ask(Counter.add),
            lambda: agent.send(Counter.add, 3),
            agent.schedules,
            agent.dead_letters,
            lambda: list(runtime.dead_letters()),
            lambda: runtime.thaw(Counter, "a"),
            lambda: agent.cancel_schedule("s1"),
            agent.replay_dead_letters,
            agent.status,
            agent.resume,
            agent.hibernate,
        ):
            with suppress(TorporError):
                use()
    return thawed


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file that the product has made."""
    path = tmp_path_factory.mktemp("agents") / "sound"
    with SQLiteStorage(path, synchronous="off") as storage:
        fill(storage)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file store that the product has made."""
    path = tmp_path_factory.mktemp("agents") / "sound"
    with FileStorage(path, fsync=False) as storage:
        fill(storage)
    return path


def without_mail(rows: list[Any]) -> list[Any]:
    """Return rows without those of the mail that ``call`` sends."""
    return [[row for row in table if b"$mail" not in str(row).encode()] for table in rows]


@FEWER
@given(data=st.data(), sealed=st.booleans())
def test_agent_of_a_damaged_row(sound: Path, data: st.DataObject, *, sealed: bool) -> None:
    """It is as it was, or a ``ThawError``, and then every row stays as it is (PE-34, W-10)."""
    what: Damage = data.draw(damages(sound), "damage")
    with copied(sound) as path:
        damage(path, what, sealed=sealed)
        before = without_mail(rows_of(path))
        with SQLiteStorage(path, synchronous="off") as storage:
            thawed = call(storage)
        assert thawed or without_mail(rows_of(path)) == before or what.column == "key"


@FEWER
@given(data=st.data())
def test_agent_of_damaged_files(folder: Path, data: st.DataObject) -> None:
    """The same of a file store: each file stays as it is."""
    name = data.draw(st.sampled_from([RECORD, OWNED, LOGS[0]]), "file")
    content = data.draw(mutated((folder / name).read_bytes()), "content")
    with copied_folder(folder) as path:
        (path / name).write_bytes(content)
        before = contents(path)
        with FileStorage(path, fsync=False) as storage:
            thawed = call(storage)
        after = contents(path)
        assert thawed or {name: after[name] for name in before} == before


def put(storage: Storage, data: str) -> None:
    """Store data as an agent's, whatever it is."""
    [outcome] = storage.commit(
        [Change(key=AGENT, put=Put(data=data, kind="counter"), wake_at=1.0, at=1.0)]
    )
    assert type(outcome).__name__ == "Saved"


STATES = st.one_of(
    changed(json.loads(SECTION)).map(lambda section: join(text_of(section), FIELDS)),
    mutated(join(SECTION, '{"count":5}').encode()).map(
        lambda data: data.decode("utf-8", "replace")
    ),
    changed({"count": 5, "name": "x"}).map(text_of),
    ANYTHING.map(text_of),
    junk.map(lambda data: data.decode("utf-8", "replace")),
)


@given(data=STATES)
def test_agent_of_strange_data(data: str) -> None:
    """What was saved by other means thaws, or is a ``ThawError`` and stays (W-10, W-14)."""
    with MemoryStorage() as storage:
        put(storage, data)
        before = storage.get_checkpoint(AGENT)
        if not call(storage):
            assert storage.get_checkpoint(AGENT) == before
        quiet()


LETTER = {"method": "add", "args": [2], "kwargs": {}, "initial": {"count": 3}}


@given(letter=changed(LETTER) | ANYTHING, refs=changed({"given": True}))
def test_strange_letter(letter: Any, refs: Any) -> None:
    """A letter that no method takes is put off; the agent goes on, and loses nothing (TH-32)."""
    with MemoryStorage() as storage:
        put(storage, FIELDS)
        place = side_key("mail", AGENT)
        with suppress(TorporError):
            entry = {"payload": letter, "refs": refs, "id": "m1"}
            storage.append_thread(place, entry, metadata={"agent": AGENT}, wake_at=1.0)
        assert call(storage)


@FEWER
@given(hit=changed({"agent": AGENT}) | ANYTHING, receiver=ANYTHING)
def test_strange_indexes(hit: Any, receiver: Any) -> None:
    """What says whose dead letters and whose mail there are may be anything."""
    with MemoryStorage() as storage:
        put(storage, join(SECTION, FIELDS))
        for key in (side_key("dead", AGENT), side_key("dead", "nobody")):
            storage.commit([Change(key=key, put=Put(data=text_of(hit)))])
        with suppress(TorporError):
            metadata = {"agent": receiver}
            storage.append_thread("$mail/#1", {"payload": LETTER}, metadata=metadata, wake_at=1.0)
        with calm(), Runtime(storage, agents=[Counter], wake_interval=0.02) as runtime:
            with suppress(TorporError):
                assert len(list(runtime.dead_letters())) <= 2
            assert runtime.get(Counter, "c").ask(Counter.add) == 1
