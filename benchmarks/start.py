"""How long picas takes to say anything, and a pilot to start its first command, beside a bare Python.

All are run in turns, ten times each; medians are shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from programs import Failed, run
from report import machine, number, table

PICAS = [sys.executable, "-m", "picas"]


def seconds_of(argv: list[str], folder: Path) -> float:
    """How long a program runs."""
    return run(argv, folder=folder, timeout=60).seconds


def first_claim(folder: Path) -> float:
    """Seconds from a pilot's start until the command of a pool's only token says what time it is."""
    stamp = folder / "stamp"
    (folder / "pool.db").unlink(missing_ok=True)
    for leftover in folder.glob("pool.db-*"):
        leftover.unlink()
    tokens = folder / "tokens.jsonl"
    tokens.write_text(json.dumps({"command": ["sh", "-c", f"date +%s.%N > '{stamp}'"]}) + "\n")
    for words in (["init"], ["add", "--jsonl", str(tokens)]):
        run([*PICAS, "--pool", "pool.db", *words], folder=folder, timeout=60)
    stamp.unlink(missing_ok=True)
    start = time.time()
    run([*PICAS, "--pool", "pool.db", "run", "--cores", "1"], folder=folder, timeout=60)
    return float(stamp.read_text()) - start


def picas_command() -> list[str]:
    """The installed ``picas`` beside this Python, as a user calls it; ``python -m picas`` without one."""
    script = Path(sys.executable).with_name("picas")
    return [str(script)] if script.exists() else PICAS


def measure(rounds: int, folder: Path) -> dict[str, list[float] | str]:
    """The seconds of each measurement in each round; a line of text for one that failed."""
    calls: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: seconds_of([sys.executable, "-c", "pass"], folder),
        "picas --help": lambda: seconds_of([*picas_command(), "--help"], folder),
        "picas run, until its first command": lambda: first_claim(folder),
    }
    results: dict[str, list[float] | str] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            times = results[name]
            if isinstance(times, str):
                continue
            try:
                times.append(call())
            except (Failed, OSError, ValueError) as problem:
                results[name] = f"failed: {problem}"
    # The first round fills caches, of bytecode and of the file system.
    return {name: times if isinstance(times, str) else times[1:] for name, times in results.items()}


def show(results: dict[str, list[float] | str]) -> str:
    """A row for each, with the ratio to a bare Python."""
    bare = results["python -c pass"]
    rows = []
    for name, times in results.items():
        if isinstance(times, str) or isinstance(bare, str):
            rows.append([name, "-", "-", "-", "-", str(times)])
            continue
        median = statistics.median(times)
        spread = [number(value * 1000) for value in (median, min(times), max(times))]
        rows.append([name, *spread, number(median / statistics.median(bare), 1)])
    return table(["what", "median, ms", "least", "most", "ratio"], rows)


def main() -> int:
    """Measure, print, and exit 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured (default /var/tmp)")
    args = parser.parse_args()
    print(machine(Path(args.folder)), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as folder:
        results = measure(args.rounds, Path(folder))
    print(show(results))
    return 1 if any(isinstance(times, str) for times in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
