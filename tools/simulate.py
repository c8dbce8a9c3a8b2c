"""Simulated pools by seed: ``python tools/simulate.py --seeds 10000``, or one of them with ``--seed N --show``.

Every seed is a run of its own; a process for each core carries them out. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

from picas.testing.simulation import MUTANTS, Result, simulate

_SHOWN = 20


def carry_out(seed: int, *, steps: int, mutant: str) -> Result:
    """One run, in a process that keeps to a core: its threads take turns, and never run at once."""
    return simulate(seed, steps=steps, mutant=mutant)


def settle_on_core(taken: Any) -> None:
    """Keep this process to the next core."""
    with taken.get_lock():
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[taken.value % len(cores)]})
        taken.value += 1


def show(result: Result) -> int:
    """Print a run line by line, and how it ended."""
    print(*result.lines, sep="\n")
    print(f"seed {result.seed}: {result.broken or 'nothing was broken'}; trace {result.digest}")
    return 1 if result.broken else 0


def run_many(seeds: range, steps: int, mutant: str, processes: int, figures: str) -> int:
    """Carry out all seeds, and say what came of them."""
    begun = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    work = partial(carry_out, steps=steps, mutant=mutant)
    totals: Counter[str] = Counter()
    broken: list[Result] = []
    with spawn.Pool(processes, settle_on_core, (spawn.Value("i", 0),)) as pool:
        for result in pool.imap(work, seeds, chunksize=10):
            totals.update(**result.counts, events=result.events, pilots=result.pilots, tokens=result.tokens, runs=1)
            totals["virtual seconds"] += int(result.seconds)
            if result.broken:
                broken.append(result)
                if len(broken) <= _SHOWN:
                    print(f"seed {result.seed}: {result.broken:.200}; trace {result.digest}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{len(seeds):,} seeds of {steps} steps in {seconds:.0f} s with {processes} processes: {len(broken)} broken")
    print(", ".join(f"{name} {count:,}" for name, count in totals.items()))
    if figures:
        with open(figures, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({**totals, "broken": [one.seed for one in broken], "seconds": seconds}, file)
    return 1 if broken else 0


def main() -> int:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--steps", type=int, default=200, help="disturbances in each run (default 200)")
    parser.add_argument("--seed", type=int, help="one seed only")
    parser.add_argument("--show", action="store_true", help="print all that happens, with --seed")
    parser.add_argument("--without", choices=sorted(MUTANTS), default="", help="take a guard out of the code")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(default: one per core)")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures to a file too")
    args = parser.parse_args()
    if args.seed is not None:
        return show(simulate(args.seed, steps=args.steps, mutant=args.without, keep=args.show))
    seeds = range(args.first, args.first + args.seeds)
    return run_many(seeds, args.steps, args.without, args.processes, args.json)


if __name__ == "__main__":
    sys.exit(main())
