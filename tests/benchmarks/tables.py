"""The tables: ratios first, absolute figures after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.outcome import Row

__all__ = ["as_markdown", "as_text"]

_READING = (
    "Median [min - max] of all runs. A ratio is of two runs that followed one another: how many"
    " times better Torpor is, or with a bar of <=, how many times the other's figure its own is."
)


def as_text(head: str, ratios: Sequence[Row], figures: Sequence[Row]) -> str:
    """Return both for a terminal, all figures of all contenders in the second."""
    parts = [head, _READING]
    if ratios:
        parts.append(
            _aligned([("", "figure", "torpor beside", "ratio", "", "bar", ""), *_cells(ratios)])
        )
    parts.append(_aligned([("", "figure", "contender", "median", "", "bar", ""), *_cells(figures)]))
    return "\n\n".join(parts)


def as_markdown(place: str, ratios: Sequence[Row], figures: Sequence[Row]) -> str:
    """Return both for a README; of the figures those that have a bar of their own."""
    parts: list[str] = []
    if ratios:
        parts.append("\n".join(_pipes(ratios, "Torpor beside", "Ratio")))
    judged = [row for row in figures if row.bar]
    if judged:
        parts.append("\n".join(_pipes(judged, None, "Torpor")))
    parts.append(f"{_READING} Measured on {place}.")
    return "\n\n".join(parts) + "\n"


def _pipes(rows: Sequence[Row], name: str | None, values: str) -> Iterator[str]:
    columns = ["", "Work", "Figure", *([name] if name else []), values, "Bar", ""]
    yield f"| {' | '.join(columns)} |"
    yield "|" + "|".join(" ---: " if column == values else " --- " for column in columns) + "|"
    before = None
    for row in rows:
        known = row.case is before
        before = row.case
        cells = ["" if known else row.case.rows, "" if known else row.case.title, row.figure]
        cells += [row.name] if name else []
        cells += [f"**{row.median_text}** {row.extent_text}", row.bar_text, row.verdict]
        yield f"| {' | '.join(cells)} |"


def _cells(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        case = f"{row.case.name} ({row.case.rows})"
        values = (row.median_text, row.extent_text)
        yield (case, row.figure, row.name, *values, row.bar_text, row.verdict)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Align columns; a case's name stands in its first row only."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    before = ""
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[3] = row[3].rjust(widths[3])
        if row[0] == before:
            cells[0] = " " * widths[0]
        before = row[0]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
