"""A storage beside a model of it, over random sequences of operations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from torpor.storage import codec
from torpor.storage.records import Change, Due, Entry, Put, Record, Space, ThreadWrite, new_id
from torpor.storage.testing.kit import all_pages
from torpor.storage.testing.model import StorageModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.storage.base import Storage

__all__ = ["StorageStateMachine"]

AGENTS = ["a", "A", "a#", "é/%"]
LOGS = ["a", "log", "log ", "a##"]
KINDS = ["note", "message", "\x1e\x1f\n\N{GRINNING FACE}"]
WAKE_TIMES = [None, None, 1, 2.5, 3e9]
TICK = 1000.0  # between two changes, so that a vacuum's moment can fall between them

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # any text but lone surrogates, which have no UTF-8 form
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
_numbers = st.integers(0, 6)


class StorageStateMachine(RuleBasedStateMachine):
    """Does the same to a storage and to a ``StorageModel`` and compares all that can be read.

    Subclass it, define ``make_storage``, and give pytest the ``TestCase`` of the subclass::

        class MyStorageMachine(StorageStateMachine):
            def make_storage(self):
                return MyStorage(tempfile.mkdtemp())

        TestMyStorageMachine = MyStorageMachine.TestCase

    With ``can_reopen`` also define ``reopen``.
    """

    can_reopen: ClassVar[bool] = False
    ordered_listing: ClassVar[bool] = True

    def make_storage(self) -> Storage:
        """Return a new, empty storage; it is closed at the end."""
        raise NotImplementedError

    def reopen(self, storage: Storage) -> Storage:
        """Return another storage on the place of ``storage``, which has been closed."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Start with nothing."""
        self.storage = self.make_storage()
        self.model = StorageModel()
        self.sent: list[Change] = []
        self.now = 0.0

    def teardown(self) -> None:
        """Close the storage."""
        if hasattr(self, "storage"):
            self.storage.close()

    # -- writing ------------------------------------------------------------------------------

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """Write to some keys at once."""
        agents = data.draw(st.lists(st.sampled_from(AGENTS), unique=True), "agents")
        logs = data.draw(st.lists(st.sampled_from(LOGS), unique=True), "threads")
        changes = [self._change_agent(data, key) for key in agents]
        changes += [self._change_log(data, key) for key in logs]
        self._commit(data.draw(st.permutations(changes), "batch"))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), count=st.integers(1, 3))
    def send_again(self, data: st.DataObject, count: int) -> None:
        """Write what was written before, be it just now or long ago."""
        places: dict[tuple[Space, str], Change] = {}
        for _ in range(count):
            position = data.draw(st.integers(1, len(self.sent)), "how long ago")
            change = self.sent[-position]
            places[change.space, change.key] = change
        self._commit(list(places.values()))

    def _commit(self, changes: Sequence[Change]) -> None:
        expected = [self.model.apply(change) for change in changes]
        assert self.storage.commit(changes) == expected
        self.sent += changes

    def _change_agent(self, data: st.DataObject, key: str) -> Change:
        fields = self._fields(data, Space.CHECKPOINTS, key)
        if data.draw(st.integers(0, 4), "0 = delete") == 0:
            return Change(key=key, delete=True, **fields)
        put = Put(
            data=codec.dumps(data.draw(_values, "value")),
            kind=data.draw(st.sampled_from(KINDS), "kind"),
            version=data.draw(_numbers, "version"),
        )
        thread_id = f"{key}#{data.draw(st.sampled_from('111112'), 'thread')}"
        thread = data.draw(st.none() | st.just(thread_id), "with thread")
        return Change(
            key=key,
            put=put,
            thread=None if thread is None else self._write(data, thread_id),
            wake_at=data.draw(st.sampled_from(WAKE_TIMES), "wake_at"),
            **fields,
        )

    def _change_log(self, data: st.DataObject, key: str) -> Change:
        fields = self._fields(data, Space.THREADS, key)
        if data.draw(st.integers(0, 4), "0 = delete") == 0:
            return Change(key=key, delete=True, **fields)
        return Change(
            key=key,
            thread=self._write(data, key),
            wake_at=data.draw(st.sampled_from(WAKE_TIMES), "wake_at"),
            **fields,
        )

    def _fields(self, data: st.DataObject, space: Space, key: str) -> dict[str, Any]:
        self.now += TICK
        stored = self.model.records.get((space, key))
        rev = 0 if stored is None else stored.rev
        expected = st.sampled_from([None, None, rev, rev, 0, rev + 1, max(0, rev - 1)])
        return {"space": space, "at": self.now, "expected_rev": data.draw(expected, "expected")}

    def _write(self, data: st.DataObject, thread_id: str) -> ThreadWrite:
        entry = st.builds(
            Entry,
            kind=st.sampled_from(KINDS),
            payload=_values,
            refs=st.dictionaries(st.sampled_from("rs"), _values, max_size=1),
            at=st.floats(0, 1e10) | st.integers(0, 9),
            id=st.builds(new_id),
            seq=st.integers(-1, 9),
        )
        return ThreadWrite(
            id=thread_id,
            entries=tuple(data.draw(st.lists(entry, max_size=3), "entries")),
            metadata=data.draw(
                st.none() | st.dictionaries(st.sampled_from("mn"), _values, max_size=2), "metadata"
            ),
            trim_before=data.draw(st.none() | st.none() | st.integers(-1, 12), "trim_before"),
        )

    @rule(ticks=st.integers(0, 5))
    def vacuum(self, ticks: int) -> None:
        """Forget the tombstones that are older than some changes."""
        moment = self.now - (ticks - 0.5) * TICK
        assert self.storage.vacuum(time.time() - moment) == self.model.vacuum(moment)

    @precondition(lambda self: self.can_reopen)
    @rule()
    def close_and_reopen(self) -> None:
        """Close the storage and go on with another one on its place."""
        self.storage.close()
        self.storage = self.reopen(self.storage)

    # -- reading ------------------------------------------------------------------------------

    @rule(
        after=st.none() | st.integers(-1, 12),
        tail=st.none() | _numbers,
        limit=st.none() | _numbers,
        kinds=st.none() | st.lists(st.sampled_from(KINDS), max_size=2),
    )
    def load_parts(
        self, after: int | None, tail: int | None, limit: int | None, kinds: list[str] | None
    ) -> None:
        """Load some entries of every thread."""
        for thread_id, journal in self.model.journals().items():
            wanted = [
                entry
                for entry in journal.entries
                if (after is None or entry.seq > after) and (kinds is None or entry.kind in kinds)
            ]
            if tail is not None:
                wanted = wanted[max(0, len(wanted) - tail) :]
            elif limit is not None:
                wanted = wanted[:limit]
            thread = self.storage.load_thread(
                thread_id, after=after, tail=tail, limit=limit, kinds=kinds
            )
            assert list(thread or ()) == wanted

    @rule(space=st.sampled_from(Space), prefix=st.sampled_from(["", "a", "lo", "é", "%", "_", "*"]))
    def list_keys(self, space: Space, prefix: str) -> None:
        """List live keys in pages of 1, 2 and all."""
        live = self.model.live(space)
        expected = sorted(key for key in live if key.startswith(prefix))
        for limit in (1, 2, 100):
            found = all_pages(self.storage, space, prefix, limit)
            keys = [record.key for record in found]
            assert (keys if self.ordered_listing else sorted(keys)) == expected
            assert all(record.rev == live[record.key].rev for record in found)

    @rule(before=st.sampled_from([0, 1, 2, 2.5, 1e12]), limit=st.integers(1, 9))
    def list_due(self, before: float, limit: int) -> None:
        """List what is due; of equal times any may come first."""
        due = {
            Due(space, key, record.wake_at)
            for space in Space
            for key, record in self.model.live(space).items()
            if record.wake_at is not None and record.wake_at <= before
        }
        found = list(self.storage.list_due(before, limit))
        assert [item.wake_at for item in found] == sorted(item.wake_at for item in due)[:limit]
        assert set(found) <= due
        assert len(set(found)) == len(found)

    @invariant()
    def everything_is_as_modelled(self) -> None:
        """Compare each record and each thread, and that nothing else is there."""
        live = self.model.live(Space.CHECKPOINTS)
        for key, found in zip(AGENTS, self.storage.read(AGENTS), strict=True):
            expected = live.get(key)
            if expected is None:
                assert found is None
                assert self.storage.get_checkpoint(key) is None
                continue
            assert isinstance(found, Record), found
            assert found == Record(
                key=key,
                rev=expected.rev,
                change_id=expected.change_id,
                updated_at=expected.at,
                kind=expected.kind,
                version=expected.version,
                data=expected.data,
                thread=expected.journal.head if expected.journal else None,
                wake_at=expected.wake_at,
            )
        journals = self.model.journals()
        for thread_id in [*LOGS, *(f"{key}#{number}" for key in AGENTS for number in "12")]:
            journal = journals.get(thread_id)
            assert self.storage.thread_head(thread_id) == (journal.head if journal else None)
            thread = self.storage.load_thread(thread_id)
            if journal is None or journal.head.rev == 0:
                assert thread is None
            else:
                assert thread is not None
                assert list(thread) == journal.entries
