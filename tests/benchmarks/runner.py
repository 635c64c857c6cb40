"""Runs a case: its contenders by turns, each run in a process of its own."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.case import Lab
from tests.benchmarks.registry import CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.case import Case, Figures

__all__ = ["Results", "run"]

_LONGEST_RUN = 600.0  # seconds; the longest by far takes a tenth of that

Results = dict[str, list["Figures"]]
"""The figures of each run of each contender; runs with the same index were neighbours."""


def run(
    case: Case, *, runs: int, scale: float, folder: Path, progress: Callable[[str], None]
) -> Results:
    """Return what ``runs`` runs of each contender measured. Its files go to ``folder``.

    A contender that fails, or does not end, is left out: it must not cost the hour before it.
    """
    results: Results = {contender: [] for contender in case.contenders}
    for number in range(runs):
        for contender, figures in list(results.items()):
            progress(f"{case.name}: {contender}, run {number + 1} of {runs}: ")
            begin = time.perf_counter()
            try:
                figures.append(_run_alone(case.name, contender, folder, scale))
            except Exception:  # noqa: BLE001 - whatever it is, it is told
                progress(f"FAILED\n{traceback.format_exc()}")
                del results[contender]
            else:
                progress(f"{time.perf_counter() - begin:.1f} s\n")
    return results


def _run_alone(case: str, contender: str, folder: Path, scale: float) -> Figures:
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place,
        ProcessPoolExecutor(1, mp_context=spawn) as process,
    ):
        lab = Lab(folder=Path(place), scale=scale)
        running = process.submit(_contend, case, contender, lab)
        try:
            return running.result(timeout=_LONGEST_RUN)
        except TimeoutError:
            for child in multiprocessing.active_children():
                child.kill()
            raise


def _contend(case: str, contender: str, lab: Lab) -> Figures:
    return CASES[case].contenders[contender](lab)
