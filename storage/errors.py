"""Every error that Torpor raises, in one tree.

TorporError
├── ConfigurationError            what was asked for cannot work: fix the call or the installation
│   ├── MissingDriverError            the storage needs a package that is not installed
│   ├── AgentDefinitionError          an agent class that cannot work (also a TypeError)
│   ├── DuplicateKindError            two classes claim one kind
│   ├── ScheduleError                 a schedule that says no time (also a ValueError)
│   └── SchemaVersionError            stored by a newer version than this code
├── InvalidKeyError               a key, kind or partition that cannot be used (also a ValueError)
├── UnserializableError           a value that is not JSON (also a TypeError)
├── StorageError                  the storage could not do what it was asked
│   ├── ConflictError                 somebody else wrote first
│   ├── StorageUnavailableError       not now: retried until the deadline, then raised
│   │   └── StorageFullError              no space left to write to
│   ├── StorageClosedError            used after close()
│   ├── CorruptRecordError            stored bytes that cannot be trusted; left as they are
│   ├── DecryptionError               encrypted with another key, changed, moved, or not readable
│   ├── CorruptExportError            an export that was changed or cut off, or is none
│   ├── RecordTooLargeError           larger than the backend takes
│   ├── OwnedThreadError              the thread belongs to an agent: send that agent a message
│   ├── IncompleteSnapshotError       the tail of a conversation, saved where the rest is not
│   ├── MissingThreadError            a checkpoint points at a thread that is gone
│   └── ThreadMismatchError           a checkpoint and its thread disagree
├── AgentError                    one agent, or one call to it
│   ├── UnknownMethodError            not a method that can be called by message
│   ├── InvalidArgumentsError         the call does not fit the method (also a TypeError)
│   ├── InvalidStateError             a turn left fields that could not be thawed again
│   ├── ThawError                     the stored agent cannot be brought back; nothing was changed
│   ├── SaveError                     a turn ran, and whether it was saved is not known
│   ├── CallTimeoutError              no reply in time (also a TimeoutError and pykka.Timeout)
│   ├── CallCycleError                agents that would wait for each other for ever
│   ├── BlockingCallError             a blocking call on an event loop's thread
│   ├── AgentPausedError              it failed too often, and refuses calls for a while
│   ├── MailboxFullError              too many messages wait for this agent
│   ├── UnknownKindError              no class of the stored kind is known to this runtime
│   ├── WorkersExhaustedError         too many handlers block at once
│   ├── TurnCancelledError            the handler was cancelled; its turn was rolled back
│   └── ConversationError             a conversation cannot do that, or not now
│       ├── ConversationBusyError         it answers another message, or waits for a human
│       ├── ModelFailedError              the model gave no answer; the message is kept
│       ├── ApprovalNotDurableError       a tool needs approval where approvals could be lost
│       ├── UnknownToolError              the conversation has no such tool
│       ├── UnknownInterruptError         nothing with this call id waits for a human
│       ├── AlreadyDecidedError           a human has decided otherwise
│       └── InterruptExpiredError         nobody decided in time
├── QueueError                    an event queue cannot do what it was asked
│   ├── EventGapError                 events that were to be read next have been removed
│   ├── InvalidCursorError            not a cursor of this topic (also a ValueError)
│   └── QueueClosedError              used after close()
├── NotFoundError                 nothing is stored under this id (also a LookupError)
├── RuntimeStoppedError           the runtime takes no new calls
└── StopError                     stop() could not save or stop everything

Facts are attributes. ``outcome``, where there is one, says what became of the call:
``"not_run"`` (it never started), ``"not_applied"`` (it ran, nothing of it was kept) or
``"unknown"`` (it may have been applied: read the state before you send it again).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pykka

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AgentDefinitionError",
    "AgentError",
    "AgentPausedError",
    "AlreadyDecidedError",
    "ApprovalNotDurableError",
    "BlockingCallError",
    "CallCycleError",
    "CallOutcome",
    "CallTimeoutError",
    "ConfigurationError",
    "ConflictError",
    "ConversationBusyError",
    "ConversationError",
    "CorruptExportError",
    "CorruptRecordError",
    "DecryptionError",
    "DuplicateKindError",
    "EventGapError",
    "IncompleteSnapshotError",
    "InterruptExpiredError",
    "InvalidArgumentsError",
    "InvalidCursorError",
    "InvalidKeyError",
    "InvalidStateError",
    "MailboxFullError",
    "MissingDriverError",
    "MissingThreadError",
    "ModelFailedError",
    "NotFoundError",
    "OwnedThreadError",
    "QueueClosedError",
    "QueueError",
    "RecordTooLargeError",
    "RuntimeStoppedError",
    "SaveError",
    "ScheduleError",
    "SchemaVersionError",
    "StopError",
    "StorageClosedError",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "ThawError",
    "ThreadMismatchError",
    "TorporError",
    "TurnCancelledError",
    "UnknownInterruptError",
    "UnknownKindError",
    "UnknownMethodError",
    "UnknownToolError",
    "UnserializableError",
    "WorkersExhaustedError",
]

CallOutcome = Literal["not_run", "not_applied", "unknown"]


class TorporError(Exception):
    """Base of every error that Torpor raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the class with self.args, which few of these take.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    cls: type[TorporError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> TorporError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(TorporError):
    """A URL, an option or an installation that cannot work. Fix it; retrying does not help."""


class MissingDriverError(ConfigurationError, ImportError):
    """The backend's driver is not installed. The message names the extra that brings it."""


class AgentDefinitionError(ConfigurationError, TypeError):
    """Raised while an agent class is defined: a reserved field name, a wrong option or kind."""


class DuplicateKindError(ConfigurationError):
    """Two classes of one runtime share a kind. Give one of them ``kind="…"``."""


class ScheduleError(ConfigurationError, ValueError):
    """A schedule that says no time: a wrong cron expression, time zone, date or interval.

    Raised where the schedule is made; what was planned under the same id stays as it is.
    """


class SchemaVersionError(ConfigurationError):
    """Written by a newer version (``found``) than the code reads (``supported``): upgrade it.

    Of a store: its schema and Torpor. Of a checkpoint: the agent class's ``version``.
    """

    def __init__(self, place: str, *, found: int, supported: int) -> None:
        super().__init__(
            f"{place} has version {found}, this code reads up to {supported}: upgrade the code"
        )
        self.place = place
        self.found = found
        self.supported = supported


class InvalidKeyError(TorporError, ValueError):
    """A key that no storage takes: empty, over 512 bytes of UTF-8, with NUL, or not text."""


class UnserializableError(TorporError, TypeError):
    """A value that has no JSON form. Raised at the call; nothing was stored."""


class StorageError(TorporError):
    """Base of what a storage raises. ``__cause__`` is the driver's own error, if there was one."""


class ConflictError(StorageError):
    """The stored revision is not the expected one: another writer came first.

    From a storage: read again and decide (``outcome`` is ``"not_applied"``). From a call: the
    runtime retried until the deadline, or the turn may not be run again; see ``outcome``.
    """

    def __init__(
        self,
        key: str,
        *,
        expected: int | None,
        found: int | None,
        outcome: CallOutcome = "not_applied",
    ) -> None:
        super().__init__(f"{key!r}: expected revision {expected}, found {found} ({outcome})")
        self.key = key
        self.expected = expected
        self.found = found
        self.outcome: CallOutcome = outcome


class StorageUnavailableError(StorageError):
    """The storage did not answer, or is locked, for now. Transient: safe to send again."""


class StorageClosedError(StorageError):
    """The storage was used after ``close()``."""


class StorageFullError(StorageUnavailableError):
    """No space is left to write to. Nothing was lost: free space, and the save is sent again."""


class _KeyedStorageError(StorageError):
    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"{key!r}: {detail}")
        self.key = key
        self.detail = detail


class CorruptRecordError(_KeyedStorageError):
    """Stored bytes fail their checksum or cannot be decoded. They are left as they are."""


class DecryptionError(_KeyedStorageError):
    """A document that this storage's codec cannot read, or must not: it is left as it is.

    The message says whether a key is missing, wrong, or no codec was given. Never names a secret.
    """


class CorruptExportError(StorageError):
    """A line of an export (``line``, from 1) is damaged, missing, or not such a line.

    What stood before it has been imported; import a sound copy, which goes on from there.
    """

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"line {line}: {detail}")
        self.line = line
        self.detail = detail


class RecordTooLargeError(_KeyedStorageError):
    """The document is larger (``size`` bytes) than the backend takes (``limit`` bytes)."""

    def __init__(self, key: str, *, size: int, limit: int) -> None:
        super().__init__(key, f"{size} bytes; this storage takes {limit}")
        self.size = size
        self.limit = limit


class OwnedThreadError(_KeyedStorageError):
    """The thread is an agent's own; only that agent's turns write it. Send it a message."""


class IncompleteSnapshotError(_KeyedStorageError):
    """A conversation loaded in part was saved where the messages before that part are not.

    Save it under the thread id that it was loaded from, or load it whole. Nothing was written.
    """


class MissingThreadError(_KeyedStorageError):
    """Damage: a checkpoint points at a thread that has no entries. Restore from a backup."""


class ThreadMismatchError(_KeyedStorageError):
    """Damage: the newest entry of a thread is not the one that its checkpoint names."""


class AgentError(TorporError):
    """One agent or one call to it. ``agent`` is its address: ``kind/key``."""

    def __init__(self, agent: str, detail: str) -> None:
        super().__init__(f"{agent}: {detail}")
        self.agent = agent
        self.detail = detail


class UnknownMethodError(AgentError):
    """Not a public method of the agent's class: a lambda, a private name, a hook, a field."""


class InvalidArgumentsError(AgentError, TypeError):
    """The arguments do not fit the method's signature or annotations. The call was not sent."""


class InvalidStateError(AgentError):
    """A turn left fields that could not be thawed again; it was rolled back.

    Also raised when a fresh agent lacks a required field: pass ``initial=…`` to ``get``.
    """


class ThawError(AgentError):
    """The stored agent cannot be brought back; ``__cause__`` says why. Nothing was changed."""


class SaveError(AgentError):
    """The turn ran, but its save was not confirmed before the deadline.

    Torpor goes on sending the same change; read the state before you repeat the call.
    """

    outcome: CallOutcome = "unknown"


class CallTimeoutError(AgentError, TimeoutError, pykka.Timeout):
    """No reply within the call's timeout. ``outcome`` says whether the call can be repeated."""

    def __init__(self, agent: str, detail: str, outcome: CallOutcome) -> None:
        super().__init__(agent, f"{detail} (outcome: {outcome})")
        self.outcome: CallOutcome = outcome


class CallCycleError(AgentError):
    """The call would close a ring of agents that wait for each other. ``chain`` lists them."""

    outcome: CallOutcome = "not_run"

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(chain[0], "call cycle: " + " -> ".join(chain))
        self.chain = tuple(chain)


class BlockingCallError(AgentError):
    """``ask``, ``Reply.get`` or a storage read on a thread with a running event loop.

    Use ``await ref.submit(…)``, ``await reply`` or the thread's async methods there.
    """

    outcome: CallOutcome = "not_run"


class AgentPausedError(AgentError):
    """The agent failed too often (``supervision``) and runs nothing. ``until``: None = for good.

    Find out why (the message names the last error), then wait, or call ``ref.resume()``.
    """

    outcome: CallOutcome = "not_run"

    def __init__(self, agent: str, detail: str, until: float | None) -> None:
        super().__init__(agent, detail)
        self.until = until


class MailboxFullError(AgentError):
    """The agent's mailbox holds its limit of waiting messages. Slow down, then send again."""

    outcome: CallOutcome = "not_run"


class UnknownKindError(AgentError):
    """No class of this kind, or no way to this target, is known to the runtime: name the class.

    ``Runtime(agents=[…])`` names the classes that may be woken. What waits goes on waiting.
    """


class WorkersExhaustedError(AgentError):
    """``max_workers`` handlers block at once. Raise the limit or use async handlers."""

    outcome: CallOutcome = "not_run"


class TurnCancelledError(AgentError):
    """An async handler was cancelled, by itself or by ``stop()``; its turn was rolled back."""

    outcome: CallOutcome = "not_applied"


class QueueError(TorporError):
    """Base of what an event queue raises, beside what its storage does."""


class EventGapError(QueueError):
    """``missed`` events that a reader of ``topic`` was to read next have been removed.

    They were older than its retention allows. Make good for them if need be, and go on behind
    the cursor ``resume``: ``subscription.seek(error.resume)``, ``queue.recover(topic, …)``.
    """

    def __init__(self, topic: str, *, missed: int, resume: str) -> None:
        super().__init__(f"{topic!r}: {missed} events are gone; go on behind {resume!r}")
        self.topic = topic
        self.missed = missed
        self.resume = resume


class InvalidCursorError(QueueError, ValueError):
    """Text that is no cursor, or the cursor of an event that the topic does not have yet."""


class QueueClosedError(QueueError):
    """The event queue was used after ``close()``."""


class NotFoundError(TorporError, LookupError):
    """There is no ``what`` (an image, a session, a message, a snapshot, …) with the id ``id``."""

    def __init__(self, what: str, id: str) -> None:  # noqa: A002 - what its users call it
        super().__init__(f"{what} not found: {id}")
        self.what = what
        self.id = id


class ConversationError(AgentError):
    """Base of what a conversation refuses. Nothing of the call was kept."""


class ConversationBusyError(ConversationError):
    """It answers an earlier message, or waits for humans to decide about ``call_ids`` first."""

    def __init__(self, agent: str, call_ids: Sequence[str]) -> None:
        waits = f"a human has to decide first about {', '.join(call_ids)}" if call_ids else ""
        super().__init__(agent, waits or "it is answering another message")
        self.call_ids = tuple(call_ids)


class ModelFailedError(ConversationError):
    """The model gave no answer. The user's message is kept: ``retry``, or say something else."""


class ApprovalNotDurableError(ConversationError):
    """``tools`` need approval, or run at most once, and that could be forgotten here.

    They don't run without a durable storage and ``durability="turn"``. In tests on memory set
    ``approvals_may_be_lost`` in the class.
    """

    def __init__(self, agent: str, tools: Sequence[str]) -> None:
        detail = "needs a durable storage and durability='turn'"
        super().__init__(agent, f"{', '.join(tools)}: {detail}")
        self.tools = tuple(tools)


class UnknownToolError(ConversationError):
    """The conversation has no tool called ``tool``. The interrupt still waits."""

    def __init__(self, agent: str, tool: str) -> None:
        super().__init__(agent, f"Tool '{tool}' not found")
        self.tool = tool


class _InterruptError(ConversationError):
    def __init__(self, agent: str, call_id: str, detail: str) -> None:
        super().__init__(agent, f"{call_id}: {detail}")
        self.call_id = call_id


class UnknownInterruptError(_InterruptError):
    """No tool call ``call_id`` waits for this; it may have been decided long ago."""

    def __init__(self, agent: str, call_id: str) -> None:
        super().__init__(agent, call_id, "no such interrupt is pending")


class AlreadyDecidedError(_InterruptError):
    """The interrupt ``call_id`` was decided otherwise: ``action``, by ``by``."""

    def __init__(self, agent: str, call_id: str, *, action: str, by: str | None) -> None:
        super().__init__(agent, call_id, f"already decided: {action} by {by}")
        self.action = action
        self.by = by


class InterruptExpiredError(_InterruptError):
    """The interrupt ``call_id`` was not decided in time; its tool was not run."""

    def __init__(self, agent: str, call_id: str) -> None:
        super().__init__(agent, call_id, "it has expired")


class RuntimeStoppedError(TorporError):
    """The runtime is stopping or has stopped. The call was not run."""

    outcome: CallOutcome = "not_run"


class StopError(TorporError):
    """``stop()`` ended with agents that could not be saved or handlers that would not end.

    ``unsaved`` maps addresses to the error of their last save; ``stuck`` lists addresses whose
    handler still runs (their state before that turn is saved; the turn's own save is refused).
    """

    def __init__(self, *, unsaved: dict[str, BaseException], stuck: Sequence[str]) -> None:
        parts: list[str] = []
        if unsaved:
            parts.append(f"{len(unsaved)} not saved: {', '.join(sorted(unsaved)[:5])}")
        if stuck:
            parts.append(f"{len(stuck)} still running: {', '.join(sorted(stuck)[:5])}")
        super().__init__("; ".join(parts))
        self.unsaved = unsaved
        self.stuck = tuple(stuck)
