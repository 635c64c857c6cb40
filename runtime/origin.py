"""Why a turn runs that nobody called for: a durable message, a schedule, the runtime's own books.

Such a turn decides inside itself whether it is still wanted, and what it notes in the runtime's
section of the record is committed with whatever its handler did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torpor.deadletters import bury
from torpor.events import MessageFailed, ScheduleFailed
from torpor.outbox import MAX_FAILURES, TRANSIENT, describe, retry_in
from torpor.storage.errors import ScheduleError
from torpor.system import DeadMessage, Mark

if TYPE_CHECKING:
    from torpor.outbox import Outgoing
    from torpor.schedules import Schedule, Tick
    from torpor.storage import Entry
    from torpor.transaction import TransactionalActor

__all__ = ["Bookkeeping", "Delivered", "Fired", "Mailed", "Origin"]

REMEMBERED_SENDERS = 1000
REMEMBERED_SECONDS = 7 * 86400.0
"""Marks of the newest senders are kept, and all marks for a week.

So a message is applied once unless its sender was down for a week between its delivery and the
commit that takes it out of the outbox, while a thousand other agents wrote to the receiver.
"""

_REMEMBERED_IDS = 1000


class Origin:
    """Where a turn comes from. One object per call; the turn may run several times."""

    __slots__ = ()

    @property
    def quiet(self) -> bool:
        """Whether such a turn leaves the idle clock alone."""
        return False

    @property
    def may_bury(self) -> bool:
        """Whether ``failed`` may write to the storage: a dead letter's place."""
        return False

    def begin(self, actor: TransactionalActor) -> bool:
        """Take note of the turn that begins; False if its handler must not run."""
        del actor
        return True

    def failed(self, actor: TransactionalActor, error: BaseException) -> None:
        """Take note that the handler raised ``error``. The turn is rolled back; this is kept."""

    def refused(self, *, failed: bool) -> bool:
        """Take note that the storage can't take the turn; whether to run it as one that fails.

        ``failed``: its handler did fail, so it is what that left that can't be stored.
        """
        del failed
        return False


class Bookkeeping(Origin):
    """The runtime's own turn on the runtime's section; nothing on an agent that has none."""

    __slots__ = ()

    @property
    def quiet(self) -> bool:
        """Nobody has spoken to the agent."""
        return True

    def begin(self, actor: TransactionalActor) -> bool:
        """Run unless the agent has been deleted meanwhile."""
        return actor.system is not None


class Delivered(Origin):
    """A durable message of another agent: applied once, in the order of its sender.

    ``early`` says that an earlier one of the same sender has not been applied yet, ``applied``
    that this run of the turn applied it.
    """

    __slots__ = ("applied", "early", "message")

    def __init__(self, message: Outgoing) -> None:
        self.message = message
        self.early = self.applied = False

    def begin(self, actor: TransactionalActor) -> bool:
        """Set the mark of the sender; False if the message was applied, or comes too early."""
        message = self.message
        state = actor.runtime_state()
        mark = state.contents.inbox.get(message.sender)
        newest = mark.seq if mark is not None and mark.life == message.life else 0
        self.early = message.after is not None and newest < message.after
        self.applied = not self.early and newest < message.seq
        if not self.applied:
            return False
        now, inbox = actor.manager.clock.time(), state.edit().inbox
        inbox.pop(message.sender, None)  # the newest one stands last
        inbox[message.sender] = Mark(message.life, message.seq, now)
        while len(inbox) > REMEMBERED_SENDERS:
            oldest = next(iter(inbox))
            if inbox[oldest].at >= now - REMEMBERED_SECONDS:
                break
            del inbox[oldest]
        return True


class _Counted(Origin):
    """One whose failures are counted in the agent's own record.

    ``cramped``: a dead letter does not fit in there.
    """

    __slots__ = ("cramped",)

    def __init__(self) -> None:
        self.cramped = False

    @property
    def may_bury(self) -> bool:
        """After too many failures."""
        return True

    def refused(self, *, failed: bool) -> bool:
        """Count it like any other failure: first as usual, then without a dead letter."""
        if failed and self.cramped:
            return False
        self.cramped = failed
        return True


class Mailed(_Counted):
    """A durable message from outside: applied once, in the order of the receiver's journal.

    ``after`` is the ``seq`` of the one that must have been applied; ``applied`` says that the
    turn's last run applied this one.
    """

    __slots__ = ("after", "applied", "entry")

    def __init__(self, entry: Entry, after: int | None) -> None:
        super().__init__()
        self.entry = entry
        self.after = after
        self.applied = False

    def begin(self, actor: TransactionalActor) -> bool:
        """Move the cursor on; False if it stands behind this message, or before an earlier one."""
        seq, state = self.entry.seq, actor.runtime_state()
        mail = state.contents.mail
        early = self.after is not None and mail.cursor <= self.after
        self.applied = not early and mail.cursor <= seq
        if not self.applied:
            return False
        given = bool(self.entry.refs.get("given"))
        known = given and self.entry.id in mail.ids
        ids = (*mail.ids, self.entry.id)[-_REMEMBERED_IDS:] if given and not known else mail.ids
        state.edit().mail = replace(mail, cursor=seq + 1, failures=0, retry_at=None, ids=ids)
        self.applied = not known
        return self.applied

    def failed(self, actor: TransactionalActor, error: BaseException) -> None:
        """Put the message off, or give it up: then the next one is tried."""
        state, now = actor.runtime_state(), actor.manager.clock.time()
        mail = state.contents.mail
        failures = mail.failures + (not isinstance(error, TRANSIENT))
        self.applied = False
        target = f"agent:{actor.address}"
        letter = DeadMessage(
            id=self.entry.id,
            sender=None,
            target=target,
            payload=self.entry.payload,
            failures=failures,
            error=describe(error),
            sent_at=self.entry.at,
            died_at=now,
        )
        if failures >= MAX_FAILURES and not self.cramped and bury(actor, letter):
            mail = replace(mail, cursor=self.entry.seq + 1, failures=0, retry_at=None)
        else:
            retry_at = now + retry_in(max(failures, 1))
            mail = replace(mail, failures=failures, retry_at=retry_at)
            event = MessageFailed(actor.address, target, self.entry.id, error, failures, retry_at)
            actor.manager.tell_event(event)
        state.edit().mail = mail


class Fired(_Counted):
    """A schedule that is due. The turn that runs its handler moves it on in the same commit.

    Of the turn's last run: ``tick``, None if it was not due; ``missed``, how many ticks passed.
    """

    __slots__ = ("_quiet", "missed", "schedule_id", "tick")

    def __init__(self, schedule_id: str, *, quiet: bool) -> None:
        super().__init__()
        self.schedule_id = schedule_id
        self.tick: Tick | None = None
        self.missed = 0
        self._quiet = quiet

    @property
    def quiet(self) -> bool:
        """As the method says (``keeps_awake``)."""
        return self._quiet

    def begin(self, actor: TransactionalActor) -> bool:
        """Move the schedule on; False if it is not due (any more), or its tick is skipped."""
        self.tick, self.missed = None, 0
        state, now = actor.system, actor.manager.clock.time()
        schedule = state.contents.schedules.get(self.schedule_id) if state is not None else None
        if state is None or schedule is None or schedule.due_at > now:
            return False
        schedules = state.edit().schedules
        try:
            plan = schedule.plan(now)
        except ScheduleError as error:  # the time zone is not there now: it may come back
            put_off = schedules[self.schedule_id] = schedule.put_off(error, now)
            _tell_failure(actor, schedule, error, put_off.retry_at)
            return False
        if plan.after is None:
            del schedules[self.schedule_id]
        else:
            schedules[self.schedule_id] = plan.after
        self.tick, self.missed = plan.tick, plan.missed
        return plan.tick is not None

    def failed(self, actor: TransactionalActor, error: BaseException) -> None:
        """Put the tick off, or give it up: then a recurring schedule goes on with its next."""
        state, now = actor.runtime_state(), actor.manager.clock.time()
        schedule = state.contents.schedules.get(self.schedule_id)
        if schedule is None:
            return
        try:
            following = schedule.failed(error, now)
        except ScheduleError as unknown:
            following = schedule.put_off(unknown, now)
        if following is None:
            letter = _letter(actor, schedule, error, now)
            if self.cramped or not bury(actor, letter):
                following = schedule.put_off(error, now)
        schedules = state.edit().schedules
        if following is None:
            del schedules[schedule.id]
        else:
            schedules[schedule.id] = following
        retry_at = following.retry_at if following is not None else None
        _tell_failure(actor, schedule, error, retry_at)


def _tell_failure(
    actor: TransactionalActor, schedule: Schedule, error: BaseException, retry_at: float | None
) -> None:
    event = ScheduleFailed(
        actor.address, schedule.id, schedule.tick_id, error, schedule.failures + 1, retry_at
    )
    actor.manager.tell_event(event)


def _letter(
    actor: TransactionalActor, schedule: Schedule, error: BaseException, now: float
) -> DeadMessage:
    return DeadMessage(
        id=schedule.tick_id,
        sender=None,
        target=f"agent:{actor.address}",
        payload={"method": schedule.method, **schedule.arguments},
        failures=schedule.failures + 1,
        error=describe(error),
        sent_at=schedule.next_at,
        died_at=now,
    )
