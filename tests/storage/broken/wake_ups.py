"""Storages that wake too late, at the wrong time, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.storage.broken.kit import Broken
from torpor.storage import Change, Due, Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.records import Outcome

__all__ = ["ForgetsThreadsWakeUps", "NeverMovesWakeUps", "WakesTooLate"]


class NeverMovesWakeUps(Broken):
    """Keeps the first wake-up time of each key in its index."""

    rule = 12

    def __init__(self) -> None:
        super().__init__()
        self._index: dict[tuple[Space, str], float] = {}

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            if change.wake_at is not None:
                self._index.setdefault((change.space, change.key), change.wake_at)
        return super()._commit(changes)

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        due = [Due(*place, at) for place, at in self._index.items() if at <= before]
        return sorted(due, key=lambda item: item.wake_at)[:limit]


class WakesTooLate(Broken):
    """Leaves out what is due at this very moment."""

    rule = 12

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        return [due for due in super()._list_due(before, limit) if due.wake_at < before]


class ForgetsThreadsWakeUps(Broken):
    """Indexes the wake-up times of checkpoints only."""

    rule = 12

    def _list_due(self, before: float, limit: int) -> Sequence[Due]:
        due = super()._list_due(before, 10**6)
        return [item for item in due if item.space is Space.CHECKPOINTS][:limit]
