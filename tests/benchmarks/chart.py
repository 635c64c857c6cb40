"""The ratios as a chart: one bar for each figure and peer, the extent of the runs as a line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.benchmarks.report import Ratio

__all__ = ["draw"]

BETTER, WORSE = "#2a7f62", "#b4533c"


def draw(ratios: Sequence[Ratio], path: Path) -> None:
    """Write how many times better Torpor is as a PNG; needs matplotlib, of the extra ``bench``.

    Figures that have a limit in times of the peer's are left out: there less is better.
    """
    ratios = [ratio for ratio in ratios if not ratio.is_limited]
    import_module("matplotlib").use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.3 * len(ratios)), layout="constrained")
    places = range(len(ratios))
    for place, ratio in zip(places, ratios, strict=True):
        colour = BETTER if ratio.median >= 1 else WORSE
        axes.barh(place, ratio.median, color=colour)
        axes.plot([min(ratio.values), max(ratio.values)], [place, place], color="black", lw=1)
        axes.annotate(
            f"{ratio.median:,.3g}x",
            (max(*ratio.values, 1.0), place),
            textcoords="offset points",
            xytext=(4, -3),
            fontsize=8,
        )
    axes.set_yticks(places, [f"{r.case}, {r.figure}: {r.peer}" for r in ratios], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", lw=0.8)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("How many times better Torpor is (median; line: all runs)", fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
