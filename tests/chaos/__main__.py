"""Chaos for as long as you like: ``make chaos MINUTES=30``."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.chaos.places import PLACES
from tests.chaos.run import Totals, run

DEEDS = 20


def main() -> None:
    """Run seed after seed, on each place in turn; print the totals."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="the first one; replay a failure")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    totals: dict[str, Totals] = {name: Totals() for name in options.places}
    runs = 0
    for seed in itertools.count(options.seed):
        name = options.places[seed % len(options.places)]
        with tempfile.TemporaryDirectory() as folder, closing(PLACES[name](Path(folder))) as place:
            try:
                totals[name] += run(seed, place, deeds=DEEDS)
            except BaseException:
                print(f"failed: python -m tests.chaos --places {name} --seed {seed}", flush=True)
                raise
        runs += 1
        if time.monotonic() >= end:
            break
    print(f"{runs} runs, seeds {options.seed} to {options.seed + runs - 1}")
    for name, total in totals.items():
        print(f"{name}: {total.acknowledged:,} acknowledged, {total.kept:,} kept: none missing,")
        print("  none twice, order kept, nothing there that was said not to have happened")
        print("  done:", ", ".join(f"{n} x {deed}" for deed, n in total.deeds.most_common()))
        print("  told:", ", ".join(f"{n} x {error}" for error, n in total.errors.most_common()))


if __name__ == "__main__":
    main()
