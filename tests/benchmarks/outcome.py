"""What was measured, as rows: ratios, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks.case import TORPOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.case import Bar, Case, Figures, Unit
    from tests.benchmarks.runner import Results

__all__ = ["Row", "figures_of", "number", "ratios_of"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A ratio of Torpor's figure to that of ``name``, or a figure of the contender ``name``.

    A ratio, whose ``unit`` is "x", says how many times better Torpor is; where the bar is a
    limit (``is_limited``), how many times the other figure its own is.
    """

    case: Case
    figure: str
    name: str
    values: Sequence[float]
    unit: str
    bar: Bar | None

    @property
    def median(self) -> float:
        """The median of all runs."""
        return median(self.values)

    @property
    def is_limited(self) -> bool:
        """Whether less is better."""
        return self.bar is not None and self.bar.at_most is not None

    @property
    def is_reached(self) -> bool:
        """Whether the median reaches the bar; so it is without one."""
        return self.bar is None or self.bar.met(self.median)

    @property
    def median_text(self) -> str:
        """The median with its unit."""
        return f"{number(self.median)}{self.unit}"

    @property
    def extent_text(self) -> str:
        """The least and the greatest of all runs."""
        return f"[{number(min(self.values))} - {number(max(self.values))}]"

    @property
    def bar_text(self) -> str:
        """What must be reached, empty without a bar."""
        return self.bar.text(self.unit) if self.bar else ""

    @property
    def verdict(self) -> str:
        """Whether it is, in a word; empty without a bar."""
        if self.bar is None:
            return ""
        return "reached" if self.is_reached else "MISSED"


def ratios_of(case: Case, results: Results) -> Iterator[Row]:
    """Yield the ratios of each figure to each peer that has it, and to others of Torpor's own."""
    mine = results[TORPOR]
    for figure, unit in case.figures.items():
        for peer, runs in results.items():
            if peer != TORPOR and _has(figure, mine, runs):
                bar = case.bar(figure, peer)
                pairs = [
                    (own[figure], other[figure]) for own, other in zip(mine, runs, strict=True)
                ]
                yield _ratio(case, figure, peer, unit, bar, pairs)
        for bar in case.bars:
            if bar.figure == figure and bar.than and _has(figure, mine) and _has(bar.than, mine):
                pairs = [(run[figure], run[bar.than]) for run in mine]
                yield _ratio(case, figure, bar.than, unit, bar, pairs)


def figures_of(case: Case, results: Results) -> Iterator[Row]:
    """Yield each figure of each contender that has it."""
    for figure, unit in case.figures.items():
        for contender, runs in results.items():
            if _has(figure, runs):
                yield Row(
                    case=case,
                    figure=figure,
                    name=contender,
                    values=[run[figure] for run in runs],
                    unit=unit.suffix,
                    bar=case.bar(figure) if contender == TORPOR else None,
                )


def number(value: float) -> str:
    """Return three digits of it, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _has(figure: str, *results: Sequence[Figures]) -> bool:
    return all(figure in run for runs in results for run in runs)


def _ratio(  # noqa: PLR0913 - what a row is made of
    case: Case,
    figure: str,
    name: str,
    unit: Unit,
    bar: Bar | None,
    pairs: Sequence[tuple[float, float]],
) -> Row:
    straight = unit.more_is_better or (bar is not None and bar.at_most is not None)
    values = [own / other if straight else other / own for own, other in pairs]
    return Row(case=case, figure=figure, name=name, values=values, unit="x", bar=bar)
