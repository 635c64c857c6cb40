"""What the runtime itself keeps in an agent's record: schedules, outbox, inbox marks, a pause.

It is saved in the same document as the fields, so it commits with the turn: a non-empty section
is spliced in front, ``{"$torpor":{…},<fields>}``, where a prefix test finds it. Agents without
one pay nothing. A turn that fails takes back what it did here.
"""

from __future__ import annotations

import json
import threading
from copy import copy
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from torpor.outbox import LEASE, MAX_WAITING, OutboxMessage, lanes
from torpor.pauses import Pause
from torpor.schedules import Schedule
from torpor.storage import codec
from torpor.storage.errors import CorruptRecordError, MailboxFullError, SchemaVersionError
from torpor.storage.records import new_id
from torpor.stored import built

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torpor.storage import Record

__all__ = ["Contents", "DeadMessage", "MailPlace", "Mark", "SystemState", "join", "split"]

T = TypeVar("T")
N = TypeVar("N", int, str)
Named = TypeVar("Named", "DeadMessage", Schedule)

KEY = "$torpor"
VERSION = 1

_PREFIX = f'{{"{KEY}":'
_decoder = json.JSONDecoder()


def split(data: str, key: str) -> tuple[str | None, str]:
    """Return the runtime's section of the ``data`` of the record ``key``, and the fields.

    None if there is no section; ``CorruptRecordError`` if its end cannot be found. Whoever makes
    another agent of a record (a fork) stores the fields alone: a copied section would send the
    same messages again. Whoever sets an agent's fields back joins the newest section to them.
    """
    if not data.startswith(_PREFIX):
        return None, data
    try:
        _, end = _decoder.raw_decode(data, len(_PREFIX))
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"its {KEY} section: {error}") from error
    rest = data[end:]
    return data[len(_PREFIX) : end], "{" + rest.removeprefix(",")


def join(section: str | None, fields: str) -> str:
    """Return the document of a section and the fields, which are a JSON object."""
    if section is None:
        return fields
    return f"{_PREFIX}{section}{'' if fields == '{}' else ','}{fields[1:]}"


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest message of one sender that was applied."""

    life: str
    seq: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMessage:
    """A durable message that was given up; ``target`` and ``payload`` as they were sent.

    ``sender`` is the address of the agent that sent it, None if it was sent from outside.
    """

    id: str
    sender: str | None
    target: str
    payload: Any
    failures: int
    error: str
    sent_at: float
    died_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPlace:
    """How far an agent has applied its mail, and what became of the next message.

    ``cursor`` is the ``seq`` of that next one; ``ids`` are the newest that senders chose.
    """

    cursor: int = 0
    failures: int = 0
    retry_at: float | None = None
    ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Contents:
    """The section, decoded. ``sent`` is the last sequence number given, in this ``life``."""

    life: str = ""
    sent: int = 0
    outbox: dict[int, OutboxMessage] = field(default_factory=dict[int, OutboxMessage])
    inbox: dict[str, Mark] = field(default_factory=dict[str, Mark])
    dead: dict[str, DeadMessage] = field(default_factory=dict[str, DeadMessage])
    mail: MailPlace = MailPlace()
    schedules: dict[str, Schedule] = field(default_factory=dict[str, Schedule])
    pause: Pause | None = None

    def copy(self) -> Contents:
        """Return a copy whose collections can be changed."""
        other = copy(self)
        other.outbox, other.inbox = dict(self.outbox), dict(self.inbox)
        other.dead, other.schedules = dict(self.dead), dict(self.schedules)
        return other

    def wake_at(self) -> float | None:
        """Return when the runtime has something to do here, None if never."""
        return min(self._times(), default=None)

    def _times(self) -> Iterator[float]:
        for lane in lanes(self.outbox.values()).values():
            yield lane[0].due
        rest = 0.0 if self.pause is None else self.pause.until
        if rest is None:  # whoever resumes it saves it, and wakes it
            return
        for schedule in self.schedules.values():
            yield max(schedule.due_at, rest)

    def encode(self) -> str:
        """Return the section as JSON."""
        document: dict[str, Any] = {"v": VERSION}
        if self.life:
            document |= {"life": self.life, "sent": self.sent}
        if self.outbox:
            document["outbox"] = [_plain(message) for message in self.outbox.values()]
        if self.inbox:
            document["inbox"] = {
                sender: [mark.life, mark.seq, mark.at] for sender, mark in self.inbox.items()
            }
        if self.schedules:
            document["schedules"] = [_plain(schedule) for schedule in self.schedules.values()]
        if self.mail != MailPlace():
            document["mail"] = _plain(self.mail)
        if self.pause is not None:
            document["pause"] = asdict(self.pause)
        if self.dead:
            document["dead"] = [_plain(letter) for letter in self.dead.values()]
        return codec.dumps(document, "the runtime's section")

    @classmethod
    def decode(cls, section: str, key: str) -> Contents:
        """Return what ``encode`` wrote into the record ``key``."""
        try:
            document: dict[str, Any] = codec.loads(section)
            version = document.pop("v")
            if type(version) is int and version > VERSION:
                place = f"the runtime's section of {key!r}"
                raise SchemaVersionError(place, found=version, supported=VERSION)
            if version != VERSION:
                msg = f"it has version {version!r}"
                raise ValueError(msg)
            return built(cls, _parts(**document))
        except codec.UNDECODABLE as error:
            raise CorruptRecordError(key, f"its {KEY} section: {error}") from error


def _parts(  # noqa: PLR0913 - what is not named here would be lost with the next save
    *,
    life: str = "",
    sent: int = 0,
    outbox: Any = (),
    inbox: Any = None,
    schedules: Any = (),
    mail: Any = None,
    pause: Any = None,
    dead: Any = (),
) -> dict[str, Any]:
    """Return what a document's parts are, as ``Contents`` has them."""
    place: dict[str, Any] = {**({} if mail is None else mail)}
    messages = [built(OutboxMessage, message) for message in outbox]
    if any(message.seq > sent for message in messages):
        msg = "a message waits that was not sent yet"
        raise ValueError(msg)
    return {
        "life": life,
        "sent": sent,
        "outbox": _by([message.seq for message in messages], messages),
        "inbox": {} if inbox is None else {who: _mark(*mark) for who, mark in inbox.items()},
        "dead": _by_id([built(DeadMessage, letter) for letter in dead]),
        "schedules": _by_id([built(Schedule, schedule) for schedule in schedules]),
        "pause": None if pause is None else built(Pause, pause),
        "mail": built(MailPlace, place | {"ids": tuple(place.get("ids", ()))}),
    }


def _mark(life: str, seq: int, at: float) -> Mark:
    return built(Mark, {"life": life, "seq": seq, "at": at})


def _by_id(values: list[Named]) -> dict[str, Named]:
    return _by([value.id for value in values], values)


def _by(names: list[N], values: list[T]) -> dict[N, T]:
    found = dict(zip(names, values, strict=True))
    if len(found) != len(values):
        msg = "two of its parts have one name"
        raise ValueError(msg)
    return found


def _plain(value: OutboxMessage | DeadMessage | MailPlace | Schedule) -> dict[str, Any]:
    """Return the fields of ``value`` that differ from their defaults."""
    return {
        item.name: content
        for item in fields(value)
        for content in [getattr(value, item.name)]
        if content is not item.default and content != item.default
    }


class SystemState:
    """The section of one live agent, as the running turn sees it.

    ``finished`` is what finished turns left, and is not changed any more: the first ``edit`` of
    a turn goes to a copy, which ``close_turn`` keeps and ``roll_back_turn`` drops. ``durable``
    is what the record holds.
    """

    __slots__ = ("_address", "_lock", "_saving", "contents", "durable", "finished")

    def __init__(self, address: str, contents: Contents | None = None) -> None:
        self._address = address
        self._lock = threading.Lock()
        self.contents = self.finished = self.durable = self._saving = contents or Contents()

    @classmethod
    def detach(cls, record: Record) -> tuple[SystemState | None, Record]:
        """Return the section of a record, None if it has none, and the record without it."""
        if record.data is None or not record.data.startswith(_PREFIX):
            return None, record
        section, data = split(record.data, record.key)
        assert section is not None
        contents = Contents.decode(section, record.key)
        return cls(record.key, contents), replace(record, data=data)

    @property
    def life(self) -> str:
        """What tells the messages of this agent from those of one deleted before it."""
        return self.durable.life

    def edit(self) -> Contents:
        """Return the contents for the running turn to change."""
        with self._lock:
            return self._edit()

    def _edit(self) -> Contents:
        if self.contents is self.finished:
            self.contents = self.finished.copy()
        return self.contents

    @property
    def turn_dirty(self) -> bool:
        """Whether the running turn has changed something."""
        return self.contents is not self.finished

    def roll_back_turn(self) -> None:
        """Forget what the running turn changed."""
        self.contents = self.finished

    def close_turn(self) -> None:
        """Count the running turn among the finished ones."""
        self.finished = self.contents

    def save(self) -> tuple[str, float | None]:
        """Return the section that finished turns left, to be saved now, and its ``wake_at``."""
        self._saving = self.finished
        return self._saving.encode(), self._saving.wake_at()

    def saved(self) -> None:
        """Take note that what ``save`` returned is durable."""
        self.durable = self._saving

    def waiting(self) -> list[OutboxMessage]:
        """Return the durable messages that are still wanted, in order."""
        durable = self.durable.outbox
        return [message for seq, message in self.finished.outbox.items() if seq in durable]

    def send(self, target: str, payload: Any, now: float) -> str:
        """Put a message into the outbox and return its id."""
        with self._lock:
            contents = self._edit()
            if len(contents.outbox) >= MAX_WAITING:
                detail = f"{len(contents.outbox)} messages of its own wait to be delivered"
                raise MailboxFullError(self._address, detail)
            contents.life = contents.life or new_id()
            contents.sent += 1
            contents.outbox[contents.sent] = OutboxMessage(
                seq=contents.sent, target=target, payload=payload, at=now, due=now + LEASE
            )
            return f"{contents.life}-{contents.sent}"
