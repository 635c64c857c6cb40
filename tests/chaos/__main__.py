"""Chaos for as long as you like: ``make chaos MINUTES=30``."""

from __future__ import annotations

import argparse
import itertools
import logging
import signal
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.places import PLACES
from tests.chaos.run import run
from tests.chaos.totals import Totals, table

DEEDS = 20


def main() -> None:
    """Run seed after seed, on each place in turn; print the totals."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="the first one; replay a failure")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    options = parser.parse_args()
    # A shell that runs this behind itself has it ignore what servers are crashed by.
    for ignored in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, signal.SIG_DFL)
    logging.getLogger("torpor").addHandler(logging.NullHandler())  # of lives in this process
    end = time.monotonic() + options.minutes * 60
    totals: dict[str, Totals] = {name: Totals() for name in options.places}
    for seed in itertools.count(options.seed):
        name = options.places[seed % len(options.places)]
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                closing(PLACES[name](Path(folder))) as place,
            ):
                total = run(seed, place, deeds=DEEDS)
        except pytest.skip.Exception as missing:
            parser.error(f"{name} cannot be had: {missing}; name others by --places")
        except BaseException:
            print(f"failed: python -m tests.chaos --places {name} --seed {seed}", flush=True)
            raise
        totals[name] += total
        print(f"seed {seed}, {name}: {total.acknowledged:,} acknowledged", flush=True)
        if time.monotonic() >= end:
            break
    print()
    for name, total in totals.items():
        print(f"{name}: {total.kept:,} kept", total.details(), sep="\n")
    print()
    print(table(totals))
    print("None missing, none twice, order kept, threads contiguous, pointers right.")


if __name__ == "__main__":
    main()
