"""What each of two processes does to the same agents."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import TYPE_CHECKING

from tests.proof.tally import Tally
from torpor import Runtime

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from torpor import Reply

__all__ = ["KEYS", "hammer"]

KEYS = [f"tally {number}" for number in range(20)]


def hammer(url: str, calls: int, seed: int, start: Barrier, done: Connection) -> None:
    """Count random tallies in every way of calling; send how often, and the conflicts met."""
    chance = random.Random(seed)
    added: Counter[str] = Counter()
    with Runtime(url) as runtime:
        tallies = {key: runtime.get(Tally, key) for key in KEYS}
        for tally in tallies.values():
            tally.ask(Tally.history)  # awake in both, so that one of them conflicts for sure
        start.wait()
        replies: deque[Reply[int]] = deque()
        for key in [*KEYS, *chance.choices(KEYS, k=calls - len(KEYS))]:
            added[key] += 1
            way = chance.randrange(3)
            if way == 0:
                tallies[key].tell(Tally.add)
            elif way == 1:
                tallies[key].ask(Tally.add)
            else:
                replies.append(tallies[key].submit(Tally.add))
            if len(replies) == len(KEYS):
                replies.popleft().get()
        for reply in replies:
            reply.get()
    done.send((added, runtime.stats().conflicts))
