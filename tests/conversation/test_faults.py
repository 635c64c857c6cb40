"""A storage that fails, hides what it did, and shows other writers: no tool runs twice."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.conversation.kit import Script, Shop, call, calls, effects
from torpor import ConversationError, Runtime, StorageError, ThawError, TorporError
from torpor.conversation import Conversation
from torpor.storage.faulty import FaultyStorage
from torpor.storage.sqlite import SQLiteStorage

if TYPE_CHECKING:
    from pathlib import Path

    from torpor.conversation import Progress
    from torpor.storage.faults import FaultKind

RATES: dict[FaultKind, float] = {"fail": 0.1, "fail_after": 0.1, "conflict": 0.1, "torn": 0.1}
ORDERS = 4


@pytest.mark.parametrize("seed", range(8))
def test_faults_run_no_tool_twice(tmp_path: Path, model: Script, seed: int) -> None:
    """Whatever each commit meets, an approved call runs once or is reported, never twice (W-25)."""
    chance = random.Random(seed)
    model.replies.append(calls(*(call("refund", order=n) for n in range(ORDERS))))
    with SQLiteStorage(tmp_path / "s.db") as inner:
        with Runtime(inner) as runtime:
            asked = Conversation(runtime.get(Shop, "ada")).say("refund all").interrupts
        reported = _decide_among_faults(inner, f"{seed}", chance)
        with Runtime(inner) as runtime:
            ref = runtime.get(Shop, "ada")
            progress = Conversation(ref).wait()
            for interrupt in progress.interrupts:
                if interrupt.reason == "unknown_outcome":
                    reported.add(interrupt.tool_args["order"])
                    ref.ask(Shop.resolve, interrupt.call_id, "fail", by="bob")
                else:
                    ref.ask(Shop.accept, interrupt.call_id, by="bob")
            assert Conversation(ref).wait().status == "idle"

    done = Counter(effects)
    assert len(asked) == ORDERS
    assert set(done.values()) <= {1}
    assert {f"refund {n} 1.0" for n in range(ORDERS) if n not in reported} <= set(done)


def _decide_among_faults(inner: SQLiteStorage, seed: str, chance: random.Random) -> set[int]:
    """Accept what waits, as far as the storage lets; return the orders reported as unknown."""
    reported: set[int] = set()
    for life in range(3):
        with (
            FaultyStorage.seeded(inner, f"{seed} {life}", RATES) as storage,
            suppress(TorporError),
            Runtime(storage, drain_timeout=1) as runtime,
        ):
            ref = runtime.get(Shop, "ada")
            for _ in range(6):
                with suppress(StorageError, ConversationError, ThawError):
                    progress: Progress = ref.ask(Shop.proceed)
                    for interrupt in progress.interrupts:
                        if interrupt.reason == "unknown_outcome":
                            reported.add(interrupt.tool_args["order"])
                        elif chance.random() < 0.5:
                            ref.ask(Shop.accept, interrupt.call_id, by="bob")
    return reported
