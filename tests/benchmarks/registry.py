"""All cases, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.cases import (
    ask,
    hot_agent,
    memory,
    million,
    one_caller,
    saves,
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
        million.CASE,
    )
}
