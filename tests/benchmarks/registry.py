"""All cases, in the order in which they run."""

from __future__ import annotations

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

__all__ = ["CASES"]

CASES = {
    module.CASE.name: module.CASE
    for module in (ask, tell, memory, whole_cycle, saves, hot_agent, one_caller, million)
}
