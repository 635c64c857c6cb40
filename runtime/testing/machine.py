"""The whole runtime beside a model of it, over random sequences of what may happen to it.

Two runtimes share one storage, which fails before a write, after it, in the middle of a batch,
claims conflicts and goes away; agents hibernate, are deleted, and their runtime "crashes". The
model is a dictionary: for each agent the states that it may rightly be in, more than one while a
call ended with an unknown outcome.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from torpor.agent import Agent
from torpor.runtime import Runtime
from torpor.storage.errors import (
    ConflictError,
    StopError,
    StorageError,
    StorageUnavailableError,
    TorporError,
)
from torpor.storage.faulty import FaultyStorage

if TYPE_CHECKING:
    from torpor.calls import Reply
    from torpor.ref import AgentRef
    from torpor.storage import Storage

__all__ = ["RuntimeStateMachine"]

State = tuple[str, ...]

KEYS = "ab"
RUNTIMES = (0, 1)
SOON = 0.05
"""Seconds after which a call is given up while the storage is away."""

MOST_FAULTS = 3
"""How many faults may wait in the life of one runtime."""

_keys = st.sampled_from(KEYS)
_runtimes = st.sampled_from(RUNTIMES)
_faults = st.sampled_from(["before", "after", "torn", "conflict"])


class Account(Agent, kind="torpor_machine_account"):
    """Keeps each token in its state and in its thread."""

    tokens: State = ()

    def book(self, token: str) -> State:
        """Keep ``token``; return all."""
        self.tokens = (*self.tokens, token)
        self.thread.append("booked", token)
        return self.read()

    def fail(self, token: str) -> None:
        """Keep ``token``, and fail."""
        self.book(token)
        raise LookupError(token)

    async def book_async(self, token: str) -> State:
        """Keep ``token`` in an async handler; return all."""
        self.tokens = (*self.tokens, token)
        self.thread.append("booked", token)
        return self.tokens

    def read(self) -> State:
        """Return all, as state and thread agree on them."""
        journal = tuple(entry.payload for entry in self.thread.entries())
        assert journal == self.tokens, f"thread {journal}, state {self.tokens}"
        return self.tokens


class RuntimeStateMachine(RuleBasedStateMachine):
    """Does to two runtimes on one storage what may happen, and compares with the model.

    Subclass it, define ``make_storage``, and give pytest the ``TestCase`` of the subclass::

        class MyRuntimeMachine(RuntimeStateMachine):
            def make_storage(self):
                return MyStorage(tempfile.mkdtemp())

        TestMyRuntimeMachine = MyRuntimeMachine.TestCase

    Time is real, and short: an outage lasts a twentieth of a second.
    """

    def make_storage(self) -> Storage:
        """Return a new, empty storage; it is closed at the end."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Start two runtimes on nothing."""
        self.storage = self.make_storage()
        self.faulty: dict[int, FaultyStorage] = {}
        self.faults: dict[int, int] = {}
        self.runtimes: dict[int, Runtime] = {}
        self.crashed: list[Runtime] = []
        for number in RUNTIMES:
            self._start(number)
        self.possible: dict[str, set[State]] = {key: {()} for key in KEYS}
        self.ever: dict[str, set[State]] = {key: {()} for key in KEYS}
        self.unknown: dict[str, set[str]] = {key: set() for key in KEYS}
        self.numbers = itertools.count()

    def teardown(self) -> None:
        """Stop all, and compare what is stored with the model."""
        if not hasattr(self, "numbers"):
            return
        for runtime in [*self.runtimes.values(), *self.crashed]:
            with suppress(StopError):
                runtime.stop()
        with Runtime(self.storage) as runtime:
            for key in KEYS:
                found = runtime.get(Account, key).ask(Account.read)
                assert found in self.possible[key], f"{key} holds {found}"
        self.storage.close()

    # -- calls --------------------------------------------------------------------------------

    @rule(number=_runtimes, key=_keys, way=st.sampled_from(["ask", "submit", "async", "tell"]))
    def book(self, number: int, key: str, way: Literal["ask", "submit", "async", "tell"]) -> None:
        """Change an agent in one of the ways there are."""
        account, token = self._account(number, key), self._token()
        try:
            if way == "ask":
                found = account.ask(Account.book, token)
            elif way == "submit":
                found = account.submit(Account.book, token).get()
            elif way == "async":
                found = account.ask(Account.book_async, token)
            else:
                account.tell(Account.book, token)
                found = account.ask(Account.read)
        except StorageError as error:
            self._failed(error, key, token)
            return
        assert found in {(*state, token) for state in self.possible[key]}, f"{key}: {found}"
        self._is(key, found)

    @rule(number=_runtimes, key=_keys)
    def fail(self, number: int, key: str) -> None:
        """Have a handler raise: nothing of its turn stays."""
        with suppress(LookupError, StorageError):
            self._account(number, key).ask(Account.fail, self._token())

    @rule(number=_runtimes, key=_keys)
    def read(self, number: int, key: str) -> None:
        """Read what may be an older state, if the other runtime has changed it since."""
        with suppress(StorageUnavailableError, ConflictError):
            found = self._account(number, key).ask(Account.read)
            assert found in self.ever[key], f"{key} was never {found}"

    @rule(number=_runtimes, key=_keys)
    def read_fresh(self, number: int, key: str) -> None:
        """Read what is stored."""
        with suppress(StorageUnavailableError, ConflictError):
            found = self._account(number, key).options(fresh=True).ask(Account.read)
            assert found in self.possible[key], f"{key}: {found}"

    @rule(key=_keys, order=st.lists(_runtimes, min_size=2, max_size=12))
    def race(self, key: str, order: list[int]) -> None:
        """Have both runtimes change one agent at once: each call counts once, in order."""
        sent: list[tuple[int, str, Reply[State]]] = []
        for number in order:
            token = self._token()
            with suppress(StorageUnavailableError):
                reply = self._account(number, key).submit(Account.book, token)
                sent.append((number, token, reply))
        saved = {token for _, token, reply in sent if _saved(token, reply)}
        try:
            found = self._account(order[0], key).options(fresh=True).ask(Account.read)
        except StorageUnavailableError:
            found = self._account(1 - order[0], key).options(fresh=True).ask(Account.read)
        before = [state for state in self.possible[key] if _begins(found, state, saved)]
        assert before, f"{key} holds {found}, after {self.possible[key]}"
        news = found[len(before[0]) :]
        assert saved <= set(news), f"{key} lost {saved - set(news)}"
        for number in RUNTIMES:
            mine = [token for sender, token, _ in sent if sender == number and token in news]
            assert [token for token in news if token in mine] == mine, f"{key}: {news}"
        self.ever[key] |= {found[:length] for length in range(len(found))}
        if news:  # whatever was unknown before is in it, or came too late
            self._is(key, found)
        for _, token, _ in sent:
            if token not in news:  # it may yet be saved, if nothing else comes first
                self._may_be(key, token)

    # -- life ---------------------------------------------------------------------------------

    @rule(number=_runtimes, key=_keys)
    def hibernate(self, number: int, key: str) -> None:
        """Put an agent to sleep, unless it cannot be saved now."""
        with suppress(TorporError):
            self._account(number, key).options(timeout=SOON).hibernate()

    @rule(number=_runtimes, key=_keys)
    def delete(self, number: int, key: str) -> None:
        """Delete an agent: it begins anew."""
        try:
            self._account(number, key).delete()
        except ConflictError:
            self.possible[key].add(())
            self.ever[key].add(())
        except StorageUnavailableError:
            return  # refused: an earlier change of this agent is not saved yet
        else:
            self._is(key, ())
            # An unknown change to an agent that was absent fits again, if it comes only now.
            for token in tuple(self.unknown[key]):
                self._may_be(key, token)

    @rule(number=_runtimes)
    def crash(self, number: int) -> None:
        """Have a runtime vanish: whatever it does from now on reaches no storage."""
        self.faulty[number].disconnect()
        self.crashed.append(self.runtimes[number])
        self._start(number)

    @rule(number=_runtimes)
    def restart(self, number: int) -> None:
        """Stop a runtime in good order and start another."""
        with suppress(StopError):
            self.runtimes[number].stop()
        self._start(number)

    # -- faults -------------------------------------------------------------------------------

    @rule(number=_runtimes, fault=_faults)
    def break_next_commit(self, number: int, fault: str) -> None:
        """Let the next commit go wrong; the runtime sends it again."""
        storage = self.faulty[number]
        if not self._may_break(number):
            return
        if fault == "torn":
            storage.tear_next(1)
        elif fault == "conflict":
            storage.conflict_next()
        else:
            storage.fail_next("commit", after=fault == "after")

    @rule(number=_runtimes)
    def break_next_read(self, number: int) -> None:
        """Let the next read of a record fail; it is tried again."""
        if self._may_break(number):
            self.faulty[number].fail_next("read")

    @rule(number=_runtimes, key=_keys)
    def change_during_an_outage(self, number: int, key: str) -> None:
        """Change an agent while the storage is away: what becomes of it may stay unknown."""
        token = self._token()
        with self.faulty[number].disconnected():
            try:
                found = self._account(number, key).options(timeout=SOON).ask(Account.book, token)
            except TorporError as error:
                self._failed(error, key, token)
            else:
                assert found[-1] != token, "saved while there was no storage"

    def _may_break(self, number: int) -> bool:
        """Whether so few faults wait that a call survives them all."""
        self.faults[number] += 1
        return self.faults[number] <= MOST_FAULTS

    # -- the model ----------------------------------------------------------------------------

    def _start(self, number: int) -> None:
        self.faulty[number] = FaultyStorage(self.storage)
        self.faults[number] = 0
        self.runtimes[number] = Runtime(self.faulty[number], drain_timeout=SOON)

    def _account(self, number: int, key: str) -> AgentRef[Account]:
        return self.runtimes[number].get(Account, key)

    def _token(self) -> str:
        return f"t{next(self.numbers)}"

    def _is(self, key: str, state: State) -> None:
        self.possible[key] = {state}
        self.ever[key].add(state)

    def _failed(self, error: TorporError, key: str, token: str) -> None:
        """Take note of what a call's error says of ``token``; without an outcome: refused."""
        if getattr(error, "outcome", "not_run") == "unknown":
            self._may_be(key, token)

    def _may_be(self, key: str, token: str) -> None:
        self.unknown[key].add(token)
        self.possible[key] |= {(*state, token) for state in self.possible[key]}
        self.ever[key] |= self.possible[key]


def _saved(token: str, reply: Reply[State]) -> bool:
    """Whether a call was acknowledged; False if that is unknown, or it was refused."""
    try:
        return reply.get()[-1] == token
    except TorporError:
        return False


def _begins(found: State, state: State, saved: set[str]) -> bool:
    """Whether ``found`` goes on from ``state`` by what was sent together with ``saved``."""
    return found[: len(state)] == state and saved <= set(found[len(state) :])
