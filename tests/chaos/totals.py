"""What came together in chaos runs, and how it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Totals", "table"]

_DEEDS = {
    "kills": ("kill",),
    "freezes": ("freeze", "freeze server"),
    "restarts": ("restart server", "crash server while it recovers"),
    "full disks": ("fill disk",),
    "clock steps": ("step clock",),
}


@dataclass
class Totals:
    """Of one run or several."""

    runs: int = 0
    acknowledged: int = 0
    kept: int = 0
    deeds: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])

    def __iadd__(self, other: Totals) -> Self:
        """Add those of other runs."""
        self.runs += other.runs
        self.acknowledged += other.acknowledged
        self.kept += other.kept
        self.deeds += other.deeds
        self.faults += other.faults
        self.errors += other.errors
        return self

    def columns(self) -> dict[str, int]:
        """Return the numbers that say most, by their names."""
        return {
            "runs": self.runs,
            "acknowledged turns": self.acknowledged,
            **{
                name: sum(map(self.deeds.get, deeds, [0] * len(deeds)))
                for name, deeds in _DEEDS.items()
            },
            "faults": self.faults.total(),
        }

    def details(self) -> str:
        """Return everything that was done, met and told, by kind."""
        counters = {"done": self.deeds, "faults": self.faults, "told": self.errors}
        return "\n".join(
            f"  {what}: {', '.join(f'{n:,} x {name}' for name, n in counter.most_common())}"
            for what, counter in counters.items()
            if counter
        )


def table(totals: Mapping[str, Totals]) -> str:
    """Return the columns of each place, and of all together."""
    everything = Totals()
    for total in totals.values():
        everything += total
    rows = {**totals, "all": everything}
    lines = [" " * 10 + "".join(f"  {name:>9}" for name in everything.columns())]
    for place, total in rows.items():
        cells = (f"  {n:>{max(9, len(name))},}" for name, n in total.columns().items())
        lines.append(f"{place:10}" + "".join(cells))
    return "\n".join(lines)
