"""Processes killed in the middle of conversations: nothing is lost, no tool runs twice.

What a killed process had acknowledged is known from what it reported, what its tools did from a
file outside of any storage.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pytest

from tests.conversation.kit import call, calls
from tests.processes import PATIENCE, child
from torpor import Runtime, thaw
from torpor.conversation import Conversation, ConversationAgent, tool
from torpor.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from torpor.conversation import Message, Progress, Tool
    from torpor.storage import Entry

PEOPLE = ("ada", "bob", "eve")


class Report(NamedTuple):
    """What a process acknowledged: ``what`` of the message or the call ``id`` of ``person``."""

    person: str
    what: str
    id: str


@tool
def look(about: str) -> str:
    """Look something up: an ordinary tool."""
    return f"looked {about} up"


@tool(needs_approval=True)
def act(about: str) -> str:
    """Do something that must not be done twice; it leaves a line outside."""
    file = os.open(Clerk.effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{about}\n".encode())
    finally:
        os.close(file)
    Clerk.report("", "acting", about)
    return f"did {about}"


class Rules:
    """A model that looks up and acts on whatever the user says, then is done."""

    async def reply(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Message | str:
        """Reply by rule."""
        del tools
        if messages[-1].role != "user":
            return "done"
        about = messages[-1].text
        return calls(call("look", about=about), call("act", about=about))


class Clerk(ConversationAgent):
    """Acts when it may."""

    effects: ClassVar[str] = ""
    report: ClassVar[Callable[[str, str, str], None]] = staticmethod(lambda *_: None)
    model = Rules()
    tools = (look, act)


full = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("place", "kills"),
    [
        ("sqlite", 5),
        pytest.param("sqlite", 30, marks=full),
        pytest.param("postgresql", 10, marks=full),
    ],
)
def test_conversations_survive_kills(
    empty_place: Callable[[str], str], tmp_path: Path, place: str, kills: int
) -> None:
    """No message and no decision is lost, no approved tool runs twice (W-25, HC-8, HC-27)."""
    url, effects = empty_place(place), tmp_path / "effects"
    effects.touch()
    chance = random.Random(f"{place} {kills}")
    told: set[Report] = set()
    for life in range(kills):
        told |= _live_and_die(url, str(effects), life, chance)
        _check(url, effects, told)
    _finish(url, str(effects))
    _check(url, effects, told)
    _check_finished(url, effects)
    assert {report.what for report in told} == {"said", "accept", "reject", "acting"}


def _live_and_die(url: str, effects: str, life: int, chance: random.Random) -> set[Report]:
    """Kill a process at a random moment of its work; return what it acknowledged."""
    told: set[Report] = set()
    seed = chance.random()
    with child(work_until_killed, url, effects, life, seed) as (process, receiver):
        patience, in_the_act = chance.randrange(1, 40), chance.random() < 0.5
        report = Report("", "", "")
        while patience > 0 or (in_the_act and report.what != "acting"):
            assert receiver.poll(PATIENCE), "the process acknowledged nothing"
            report = receiver.recv()
            told.add(report)
            patience -= 1
        if not in_the_act:
            process.join(chance.uniform(0, 0.02))
        process.kill()
        with suppress(EOFError, OSError):  # it may be killed while it tells
            while True:
                told.add(receiver.recv())
    return told


def work_until_killed(url: str, effects: str, life: int, seed: float, reports: Connection) -> None:
    """Talk as several people at once, for ever; report what was acknowledged."""
    Clerk.effects = effects
    one_at_a_time = threading.Lock()

    def report(person: str, what: str, name: str) -> None:
        with one_at_a_time:
            reports.send(Report(person, what, name))

    def talk(person: str) -> None:
        chance = random.Random(f"{seed} {person}")
        ref = runtime.get(Clerk, person)
        chat = Conversation(ref)
        _decide(chat, chat.wait(), chance, report)
        for n in range(1_000_000):
            message_id = f"{life} {person} {n}"
            ref.ask(Clerk.say, message_id, message_id=message_id)
            report(person, "said", message_id)
            _decide(chat, chat.wait(), chance, report)

    Clerk.report = report
    with Runtime(url, idle_timeout=0.001) as runtime:
        threads = [threading.Thread(target=talk, args=(person,)) for person in PEOPLE]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _decide(
    chat: Conversation[Clerk],
    progress: Progress,
    chance: random.Random,
    report: Callable[[str, str, str], None],
) -> None:
    """Decide at random about what waits, until nothing does; what may have run is not retried."""
    ref = chat.ref
    while progress.interrupts:
        for interrupt in progress.interrupts:
            call_id = interrupt.call_id
            if interrupt.reason == "unknown_outcome":
                ref.ask(Clerk.resolve, call_id, "fail", by="tester")
            elif chance.random() < 0.8:
                ref.ask(Clerk.accept, call_id, by="tester")
                report(ref.key, "accept", call_id)
            else:
                ref.ask(Clerk.reject, call_id, by="tester")
                report(ref.key, "reject", call_id)
        progress = chat.wait()


def _finish(url: str, effects: str) -> None:
    """Let every conversation come to its end."""
    Clerk.effects = effects
    with Runtime(url) as runtime:
        for person in PEOPLE:
            chat = Conversation(runtime.get(Clerk, person))
            _decide(chat, chat.wait(), random.Random(1), _keep_quiet)


def _keep_quiet(person: str, what: str, name: str) -> None:
    """Report to nobody."""


def _journals(url: str) -> Iterator[tuple[str, list[Entry]]]:
    with open_storage(url) as storage:
        for person in PEOPLE:
            clerk = thaw(storage, Clerk, person)
            yield person, clerk.thread.entries() if clerk is not None else []


def _check(url: str, effects: Path, told: set[Report]) -> None:
    """Compare the journals with what was acknowledged, and with what was done."""
    done = Counter(effects.read_text().splitlines())
    assert set(done.values()) <= {1}, "a tool ran twice"
    approved: set[str] = set()
    for person, entries in _journals(url):
        ids = Counter(entry.id for entry in entries)
        assert all(ids[r.id] == 1 for r in told if (r.person, r.what) == (person, "said"))
        decisions = {
            (e.payload["action"], e.refs["call_id"]) for e in entries if e.kind == "decision"
        }
        assert {
            (r.what, r.id) for r in told if r.person == person and r.what != "said"
        } <= decisions
        for entry in entries:
            if entry.kind == "interrupt" and ("accept", entry.refs["call_id"]) in decisions:
                approved.add(entry.payload["tool_args"]["about"])
    assert set(done) <= approved, "a tool ran without approval"


def _check_finished(url: str, effects: Path) -> None:
    """Each approved call was carried out once, unless its run was cut off and reported."""
    done = set(effects.read_text().splitlines())
    for person, entries in _journals(url):
        by_id: dict[str, set[str]] = {}
        for entry in entries:
            if "call_id" in entry.refs:
                what = entry.payload.get("action", entry.kind)
                by_id.setdefault(entry.refs["call_id"], set()).add(what)
        for entry in entries:
            if entry.kind != "interrupt":
                continue
            what = by_id[entry.refs["call_id"]]
            about = entry.payload["tool_args"]["about"]
            assert ("accept" in what) != ("reject" in what)
            if "reject" in what:
                assert about not in done
            elif "outcome_unknown" not in what:
                assert about in done, f"{person}: {about} was approved and not carried out"
        asked = [entry for entry in entries if entry.payload.get("role") == "user"]
        answered = [entry for entry in entries if entry.payload.get("content") == "done"]
        assert len(asked) == len(answered), "a message was not answered"
