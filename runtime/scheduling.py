"""How an agent plans calls of its own, and how they are run when they are due."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from torpor.bookkeeping import drop_schedule, refused
from torpor.calls import Call, Reply
from torpor.cron import next_cron, zone_of
from torpor.events import ScheduleFired, ScheduleMissed
from torpor.origin import Fired
from torpor.schedules import Misfire, Schedule
from torpor.storage.errors import (
    ConfigurationError,
    InvalidArgumentsError,
    ScheduleError,
    StorageError,
    UnknownMethodError,
)
from torpor.storage.records import new_id
from torpor.system import SystemState
from torpor.turn import current_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.agent import Agent
    from torpor.schedules import Tick
    from torpor.storage import Storage
    from torpor.thawing import ThawingActor
    from torpor.transaction import TransactionalActor

__all__ = ["add", "cancel", "current_tick", "firings", "planned", "stored_schedules"]


def current_tick() -> Tick | None:
    """Return the tick that the running handler was called for, None if a message called it.

    Its ``id`` is the same when the tick is tried again: pass it on to whatever must not do
    the same work twice.
    """
    turn = current_turn()
    origin = turn.call.origin if turn is not None else None
    return origin.tick if isinstance(origin, Fired) else None


def add(  # noqa: PLR0913 - see Agent.schedule
    agent: Agent,
    method: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    after: float | timedelta | None,
    at: float | datetime | None,
    every: float | timedelta | None,
    cron: str | None,
    tz: str | None,
    schedule_id: str | None,
    misfire: Misfire,
) -> str:
    """See ``Agent.schedule``."""
    actor = _own_turn(agent)
    spec, now = actor.registration.spec, actor.manager.clock.time()
    command = spec.find(method)
    bound = command.bind(actor.address, args, {})
    arguments = command.json.dump(actor.address, *bound)
    if misfire not in get_args(Misfire):
        msg = f"misfire is one of {', '.join(get_args(Misfire))}, not {misfire!r}"
        raise ScheduleError(msg)
    interval = None if every is None else _seconds("every", every)
    if interval is not None and interval <= 0:
        msg = f"every is more than 0 seconds, not {every!r}"
        raise ScheduleError(msg)
    schedule = Schedule(
        id=schedule_id or f"schedule-{new_id()}",
        method=command.name,
        arguments=arguments,
        next_at=_first(now, after=after, at=at, every=interval, cron=cron, tz=tz),
        every=interval,
        cron=cron,
        tz=tz or None,
        misfire=misfire,
    )
    actor.runtime_state().edit().schedules[schedule.id] = schedule
    return schedule.id


def cancel(agent: Agent, schedule_id: str) -> bool:
    """See ``Agent.cancel_schedule``."""
    return drop_schedule(_own_turn(agent), schedule_id)


def planned(agent: Agent) -> list[Schedule]:
    """See ``Agent.schedules``."""
    return _in_order(_own_turn(agent).system)


def stored_schedules(storage: Storage, address: str) -> list[Schedule]:
    """Return what an agent's record says is planned, the next one first."""
    [found] = storage.read([address])
    if isinstance(found, StorageError):
        raise found
    return _in_order(SystemState.detach(found)[0] if found is not None else None)


def _in_order(state: SystemState | None) -> list[Schedule]:
    found = state.contents.schedules.values() if state is not None else ()
    return sorted(found, key=lambda schedule: schedule.next_at)


def firings(actor: ThawingActor) -> list[Call]:
    """Return the turns of the schedules that are due, in order of their time."""
    state, now = actor.system, actor.manager.clock.time()
    if state is None:
        return []
    due = [schedule for schedule in state.finished.schedules.values() if schedule.due_at <= now]
    return [_firing(actor, schedule) for schedule in sorted(due, key=lambda one: one.due_at)]


def _firing(actor: ThawingActor, schedule: Schedule) -> Call:
    manager = actor.manager
    try:
        command = actor.registration.spec.find_name(schedule.method)
        args, kwargs = command.json.load(actor.address, schedule.arguments)
    except (UnknownMethodError, InvalidArgumentsError) as error:
        command, args, kwargs = refused(schedule.method, error)
    origin = Fired(schedule.id, quiet=not command.marks.keeps_awake)
    reply = Reply[object].of(manager)
    call = Call(actor.address, command, args, kwargs, reply_to=reply, origin=origin)

    def settled() -> None:
        if reply.error is not None:
            return
        if origin.missed:
            manager.tell_event(ScheduleMissed(actor.address, schedule.id, origin.missed))
        if origin.tick is not None:
            manager.tell_event(ScheduleFired(actor.address, schedule.id, origin.tick.id))

    reply.on_settled(settled)
    return call


def _own_turn(agent: Agent) -> TransactionalActor:
    turn = current_turn()
    if turn is None or turn.activation.agent is not agent:
        msg = f"a {type(agent).__name__} plans and sends inside its own turns only"
        raise ConfigurationError(msg)
    actor = turn.activation
    if actor.registration.options.durability == "none":
        msg = f"{actor.address} is never saved (durability='none'): it has no schedules"
        raise ConfigurationError(msg)
    return actor


def _first(  # noqa: PLR0913 - the ways to say when
    now: float,
    *,
    after: float | timedelta | None,
    at: float | datetime | None,
    every: float | None,
    cron: str | None,
    tz: str | None,
) -> float:
    """Return the first tick; ``ScheduleError`` unless it is said in one way."""
    zone = zone_of(tz)
    given = [after is not None, at is not None, cron is not None]
    if sum(given) > 1 or (cron is not None and every is not None) or not (any(given) or every):
        msg = "say when by one of after, at, every and cron; every may begin after or at a time"
        raise ScheduleError(msg)
    if cron is not None:
        return next_cron(cron, tz, now)
    if after is not None:
        return now + max(_seconds("after", after), 0.0)
    if at is None:
        assert every is not None
        return now + every
    if not isinstance(at, datetime):
        return _seconds("at", at)
    if at.tzinfo is None and tz is None:
        msg = f"at={at!r} has no time zone: give it one, or pass tz=…"
        raise ScheduleError(msg)
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp()


def _seconds(name: str, value: float | timedelta) -> float:
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        msg = f"{name} is a number of seconds, not {value!r}"
        raise ScheduleError(msg)
    return seconds
