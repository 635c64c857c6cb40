"""What the tests of saves that fail share: turns that show it, and the time until it is told."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# A script may be any callable.

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.runtime.kit import Scripted, wait_for
from torpor import SaveFailed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tests.runtime.kit import ObservedClock, Watch
    from torpor import Reply
    from torpor.ref import AgentRef
    from torpor.storage.faulty import FaultyStorage

__all__ = ["add_and_tell", "fail_until_deadline"]


def fail_until_deadline(
    reply: Reply[int], storage: FaultyStorage, clock: ObservedClock, watch: Watch
) -> None:
    """With a disconnected storage, let 30 s pass since the save of ``reply``'s turn failed."""
    watch.wait(SaveFailed)
    clock.pass_backoff(30)
    wait_for(reply)
    assert storage.calls["commit"] >= 2


def add_and_tell(told: threading.Event, receiver: AgentRef[Scripted]) -> Callable[..., int]:
    """Return a turn that adds, and whose tell shows that it has been saved."""

    def script(me: Scripted) -> int:
        me.count += 1
        receiver.tell(Scripted.do, lambda _: told.set())
        return me.count

    return script
