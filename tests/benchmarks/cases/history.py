"""What a long thread costs its agent: one with a million entries beside one with 10.

Both have one KB of state, live in one SQLite file at full durability and are called by turns.
``append`` is a turn of an agent in memory that appends an entry; ``thaw`` asks a hibernated
agent for an int; ``hibernate`` saves an agent with one new entry and lets it go (durability
"hibernate": its turn has not saved it). The oldest entry is removed for each that is appended,
unmeasured, so that both threads stay as long as they are. Medians.

The run also counts what SQLite does, and ends with an error unless both agents cost as many rows
and bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.agents import Diary
from tests.benchmarks.case import TORPOR, Bar, Case, Figures, Lab, Unit
from tests.benchmarks.effort import Effort
from tests.benchmarks.together import pipelined
from torpor import Runtime
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor import AgentRef
    from torpor.storage import Storage

SHORT, LONG = 10, 1_000_000
AT_ONCE = 1_000
CALLS = 1_000
COUNTED = 21


@dataclass(frozen=True)
class Work:
    """Something to do with an agent, and what must come before it, unmeasured."""

    name: str
    prepare: Callable[[AgentRef[Diary]], object]
    do: Callable[[AgentRef[Diary]], object]

    def figure(self, length: int) -> str:
        """Return the name of its figure for an agent with so many entries."""
        return f"{self.name} at {length:,}"


def _write_unsaved(diary: AgentRef[Diary]) -> None:
    diary.ask(Diary.forget)
    diary.hibernate()
    diary.ask(Diary.write, 1)


APPEND = Work(
    "append", lambda diary: diary.ask(Diary.forget), lambda diary: diary.ask(Diary.write, 1)
)
THAW = Work("thaw", lambda diary: diary.hibernate(), lambda diary: diary.ask(Diary.read))
HIBERNATE = Work("hibernate", _write_unsaved, lambda diary: diary.hibernate())
ALL = [APPEND, THAW, HIBERNATE]


def torpor(lab: Lab) -> Figures:
    """Write both diaries; then have them do the same by turns."""
    lengths = {SHORT: SHORT, LONG: lab.count(LONG)}
    figures: Figures = {}
    with open_storage(f"sqlite:///{lab.folder}/store.db") as storage:
        with Runtime(storage) as runtime:
            for name, length in lengths.items():
                _fill(runtime.get(Diary, f"{name}"), length)
        with Runtime(storage, wake_interval=None) as runtime:
            diaries = {name: runtime.get(Diary, f"{name}") for name in lengths}
            figures |= _compare(APPEND, lab, storage, diaries)
            figures |= _compare(THAW, lab, storage, diaries)
        with Runtime(storage, wake_interval=None, durability="hibernate") as runtime:
            diaries = {name: runtime.get(Diary, f"{name}") for name in lengths}
            figures |= _compare(HIBERNATE, lab, storage, diaries)
            for name, length in lengths.items():
                assert diaries[name].ask(Diary.forget) == length - 1
    return figures


def _fill(diary: AgentRef[Diary], length: int) -> None:
    patient = diary.options(timeout=300)
    sizes = [AT_ONCE] * (length // AT_ONCE) + [length % AT_ONCE]
    numbers = range(len(sizes))
    answers = pipelined(lambda i: patient.submit(Diary.write, sizes[i]), numbers, in_flight=4)
    assert max(answers) == length


def _compare(
    work: Work, lab: Lab, storage: Storage, diaries: dict[int, AgentRef[Diary]]
) -> Figures:
    """Return the median microseconds of ``work`` for each; assert that it costs both the same."""
    times: dict[int, list[float]] = {name: [] for name in diaries}
    calls = lab.count(CALLS)
    for _ in range(2 * calls):
        for name, diary in diaries.items():
            work.prepare(diary)
            begin = time.perf_counter()
            work.do(diary)
            times[name].append(time.perf_counter() - begin)
    efforts: dict[int, list[Effort]] = {name: [] for name in diaries}
    for _ in range(COUNTED):
        for name, diary in diaries.items():
            work.prepare(diary)
            efforts[name].append(Effort.of(storage, partial(work.do, diary)))
    short, long = Effort.median(efforts[SHORT]), Effort.median(efforts[LONG])
    assert long.same_as(short), f"{work.name}: {short} becomes {long}"
    return {work.figure(name): median(found[calls:]) * 1e6 for name, found in times.items()}


CASE = Case(
    name="history",
    rows="P11",
    title="an agent with 1,000,000 entries beside one with 10",
    figures={work.figure(n): Unit.MICROSECONDS for work in ALL for n in (LONG, SHORT)},
    contenders={TORPOR: torpor},
    bars=[Bar(figure=work.figure(LONG), than=work.figure(SHORT), at_most=1.5) for work in ALL],
    runs=3,
)
