"""Transactions of the SQL backend: on whose connections, how long, and what is tried again."""

from __future__ import annotations

import os
import time
import weakref
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import event, exc
from sqlalchemy.pool import QueuePool

from torpor.storage.retry import backoff
from torpor.storage.sql.drivers import within
from torpor.storage.sql.errors import RaceLostError, is_lost_race, translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["Database"]

T = TypeVar("T")


class Database:
    """An engine with transactions of bounded length.

    A transaction that met another one is done again, and so is one whose connection turns out
    to be dead, as one is that was idle for long, unless it was being committed. A forked child
    begins with connections of its own, if the engine is ours.
    """

    def __init__(self, engine: Engine, *, place: str, timeout: float, owned: bool) -> None:
        self.engine = engine
        self.place = place
        self.opening = True
        """Until it is known that the database can be used: what is missing is to be configured."""
        self._timeout = timeout
        self._owned = owned
        locks_rows = engine.dialect.name != "sqlite"
        # In REPEATABLE READ a batch would decide by the past, and MySQL lock what is not there.
        self._writing = (
            engine.execution_options(isolation_level="READ COMMITTED")
            if locks_rows and not owned
            else engine
        )
        # Without a transaction around it a statement takes one round trip instead of three.
        self._reading = (
            engine.execution_options(isolation_level="AUTOCOMMIT")
            if engine.dialect.name == "postgresql"
            else engine
        )
        self._closed = False
        if owned:
            _ours.add(self)
            event.listen(engine, "checkin", self._returned)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run statements that change nothing; return what ``work`` returned."""
        with within(self._timeout) as deadline:
            return self._run(lambda: self._read(work), deadline)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction; return what it returned when that is committed.

        ``work`` may be run more than once. Whatever is raised, the transaction is rolled back,
        unless it was committed already.
        """
        with within(self._timeout) as deadline:
            return self._run(lambda: self._write(work), deadline)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection:
            return work(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self._writing.connect() as connection, connection.begin() as transaction:
            result = work(connection)
            try:
                transaction.commit()
            except exc.SQLAlchemyError as error:  # it may have been committed: never done again
                raise self._translated(error) from _driver_error(error)
        return result

    def _run(self, attempt: Callable[[], T], deadline: float) -> T:
        failures = 0
        while True:
            try:
                return attempt()
            except RaceLostError:
                if time.monotonic() >= deadline:
                    raise
            except exc.SQLAlchemyError as error:
                again = is_lost_race(error) or (failures == 0 and _was_dead(error))
                if not again or time.monotonic() >= deadline:
                    raise self._translated(error) from _driver_error(error)
            failures += 1
            time.sleep(backoff(failures))

    def _translated(self, error: exc.SQLAlchemyError) -> Exception:
        return translate(error, self.place, opening=self.opening)

    def forget_parent(self) -> None:
        """Begin anew in a forked child, and leave the parent its connections."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close the connections, if the engine is ours; those in use when they are free."""
        if self._owned:
            self._closed = True
            self._await_returns()
            self.engine.dispose()

    def _await_returns(self) -> None:
        """Let connections get back that were on their way: disposed of before, they would leak.

        Those that stay out are closed when they come.
        """
        pool = self.engine.pool
        deadline = time.monotonic() + _ON_THE_WAY
        while isinstance(pool, QueuePool) and pool.checkedout() and time.monotonic() < deadline:
            time.sleep(0.001)

    def _returned(self, _connection: object, record: ConnectionPoolEntry) -> None:
        if self._closed:  # the pool that it returns to was emptied before
            record.close()


def _was_dead(error: exc.SQLAlchemyError) -> bool:
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _driver_error(error: exc.SQLAlchemyError) -> BaseException:
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    return original or error


_ON_THE_WAY = 0.25
_ours: weakref.WeakSet[Database] = weakref.WeakSet()


def _forget_parents() -> None:
    for database in list(_ours):
        database.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
