"""All cases, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.cases import (
    ask,
    busy,
    history,
    hot_agent,
    memory,
    million,
    naps,
    one_caller,
    saves,
    servers,
    stampede,
    tell,
    whole_cycle,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.benchmarks.case import Case

__all__ = ["CASES"]

CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        ask.CASE,
        tell.CASE,
        memory.CASE,
        whole_cycle.CASE,
        saves.CASE,
        hot_agent.CASE,
        one_caller.CASE,
        busy.CASE,
        million.CASE,
        naps.CASE,
        history.CASE,
        servers.CASE,
        stampede.CASE,
    )
}
