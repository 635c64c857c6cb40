"""The tables as a chart: what is reached, how much the runs differ, and where the bars are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.benchmarks.case import TORPOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from tests.benchmarks.outcome import Row

__all__ = ["draw"]

REACHED, MISSED, FREE = "#2f8f6b", "#c8553d", "#8aa0b4"
INK, FAINT = "#22303c", "#d8dee4"
LINE = 0.24  # inches


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Rows on one scale. ``scaled`` gives where on it a value of a row lies."""

    title: str
    rows: Sequence[Row]
    scaled: Callable[[Row, float], float] = lambda _, value: value
    log: bool = True

    @property
    def lines(self) -> int:
        """How many lines it takes, with a heading for each case."""
        return len(self.rows) + len({row.case.name for row in self.rows})

    def ends(self, row: Row) -> list[float]:
        """Return all that is drawn of a row, as places on the scale."""
        values = [1.0, self.scaled(row, min(row.values)), self.scaled(row, max(row.values))]
        return [*values, self.scaled(row, row.bar.limit)] if row.bar else values


def draw(ratios: Sequence[Row], figures: Sequence[Row], path: Path, *, footer: str) -> None:
    """Write the chart as a PNG; needs matplotlib, of the extra ``bench``."""
    import_module("matplotlib").use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    panels = [panel for panel in _panels(ratios, figures) if panel.rows]
    heights = [panel.lines + 2.5 for panel in panels]
    figure, all_axes = pyplot.subplots(
        len(panels),
        figsize=(9, LINE * sum(heights) + 0.6),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
        facecolor="white",
    )
    for axes, panel in zip(all_axes[:, 0], panels, strict=True):
        _draw(axes, panel)
    keys = [(REACHED, "bar reached"), (MISSED, "bar missed"), (FREE, "no bar set")]
    patches: Any = import_module("matplotlib.patches")
    lines: Any = import_module("matplotlib.lines")
    handles = [patches.Patch(color=colour, label=label) for colour, label in keys]
    mark = {"marker": "D", "color": INK, "markersize": 5, "linestyle": "", "label": "the bar"}
    extent = {"color": INK, "linewidth": 1, "label": "all runs"}
    handles += [lines.Line2D([], [], **mark), lines.Line2D([], [], **extent)]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.supxlabel(footer, fontsize=7, color=INK)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _panels(ratios: Sequence[Row], figures: Sequence[Row]) -> Iterable[Panel]:
    yield Panel(
        title="How many times better Torpor is than …",
        rows=[row for row in ratios if not row.is_limited],
    )
    yield Panel(
        title="What it takes as a multiple of … (less is better)",
        rows=[row for row in ratios if row.is_limited],
        log=False,
    )
    yield Panel(
        title="Figures with a bar of their own: how many times better than that",
        rows=[row for row in figures if row.bar],
        scaled=_beyond,
    )


def _beyond(row: Row, value: float) -> float:
    """Return how many times better than its bar a value is, 100 at most: a growth may be none."""
    assert row.bar is not None
    if row.is_limited:
        return row.bar.limit / max(value, row.bar.limit / 100)
    return value / row.bar.limit


def _draw(axes: Any, panel: Panel) -> None:
    labels: dict[int, str] = {}
    place = -1
    before = None
    for row in panel.rows:
        if row.case is not before:
            before = row.case
            place += 1
            _draw_heading(axes, f"{row.case.rows}  {row.case.title}", place)
        place += 1
        labels[place] = row.figure if row.name == TORPOR else f"{row.figure} · {row.name}"
        _draw_row(axes, panel, row, place)
    axes.set_yticks(list(labels), list(labels.values()), fontsize=8, color=INK)
    axes.set_ylim(place + 0.8, -0.8)
    if panel.log:
        axes.set_xscale("log")
    axes.set_xlim(_limits(panel))
    axes.xaxis.set_major_formatter("{x:,g}x")
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(panel.title, fontsize=10, loc="left", color=INK)


def _limits(panel: Panel) -> tuple[float, float]:
    """Return where the scale begins and ends, with room for the text behind the longest bar."""
    ends = [end for row in panel.rows for end in panel.ends(row)]
    if not panel.log:
        return 0.0, 1.35 * max(ends)
    least, greatest = min(ends) / 1.2, max(ends)
    return least, greatest * (greatest / least) ** 0.3


def _draw_heading(axes: Any, text: str, place: int) -> None:
    axes.annotate(
        text,
        (0, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        fontweight="bold",
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def _draw_row(axes: Any, panel: Panel, row: Row, place: int) -> None:
    colour = FREE if row.bar is None else REACHED if row.is_reached else MISSED
    begin = 1 if panel.log else 0
    axes.barh(place, panel.scaled(row, row.median) - begin, left=begin, height=0.62, color=colour)
    extent = [panel.scaled(row, value) for value in (min(row.values), max(row.values))]
    axes.plot(extent, [place, place], color=INK, linewidth=1)
    if row.bar is not None:
        bar = panel.scaled(row, row.bar.limit)
        axes.plot([bar], [place], marker="D", markersize=4, color=INK)
    axes.annotate(
        f"{row.median_text}  ({row.bar_text})" if row.bar else row.median_text,
        (max(panel.ends(row)), place),
        textcoords="offset points",
        xytext=(6, 0),
        va="center",
        fontsize=8,
        color=INK,
    )
