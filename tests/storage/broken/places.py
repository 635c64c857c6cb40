"""Storages whose place is lost, damaged, or shared, which they do not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.storage.broken.kit import Broken
from tests.storage.memory_kit import Alone
from torpor.storage import Change, Record, Space, Storage
from torpor.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.storage.records import Entry, Outcome

__all__ = ["RemembersReads", "SavesNothing", "TakesFailureForAbsence", "VerifiesNothing"]


class SavesNothing(Broken):
    """Says that it saved, and has nothing when it is opened again."""

    rule = 3

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Opens the place again."""

        second_instance = True

        def opener(self, storage: Storage) -> Callable[[], Storage]:
            """Open an empty one."""
            return type(storage)


class TakesFailureForAbsence(Broken):
    """Says that a key is missing when its place can't be reached."""

    rule = 8
    lost = False

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        return [None] * len(keys) if self.lost else super()._read(space, keys)

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Takes the place away."""

        severable = True

        def sever(self, storage: Storage) -> None:
            """Let it be lost."""
            assert isinstance(storage, TakesFailureForAbsence)
            storage.lost = True


class VerifiesNothing(Broken):
    """Returns damaged bytes as if they were sound."""

    rule = 10

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Damages what is stored."""

        damageable = True

        def damage_record(self, storage: Storage, space: Space, key: str) -> None:
            """Write something else in its place."""
            if space is Space.CHECKPOINTS:
                storage.put_checkpoint(key, "damaged")

        def damage_entry(self, storage: Storage, thread_id: str, seq: int) -> None:
            """Change nothing."""


class RemembersReads(Broken):
    """Shares its place with others, and does not look again at what it has read once."""

    rule = 13

    def __init__(self, place: MemoryStorage | None = None) -> None:
        super().__init__()
        self.place = MemoryStorage() if place is None else place
        self._seen: dict[tuple[Space, str], Record | None] = {}

    def _read(self, space: Space, keys: Sequence[str]) -> Sequence[Record | None]:
        for key in keys:
            if (space, key) not in self._seen:
                [self._seen[space, key]] = self.place._read(space, [key])
        return [self._seen[space, key] for key in keys]

    def _read_entries(self, *args: Any, **options: Any) -> Sequence[Entry]:
        return self.place._read_entries(*args, **options)

    def _commit(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        for change in changes:
            self._seen.pop((change.space, change.key), None)
        return self.place._commit(changes)

    class contract(Alone):  # noqa: N801 - the attribute of every storage here
        """Opens the place again."""

        second_instance = True

        def opener(self, storage: Storage) -> Callable[[], Storage]:
            """Open another one on the shared place."""
            assert isinstance(storage, RemembersReads)
            return lambda: RemembersReads(storage.place)
