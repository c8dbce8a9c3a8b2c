"""How long `picas report` takes over a large pool in SQLite, and how much memory: with and without its picture.

The tokens are done, and 3 in 100 failed once before; 50 pilots of 16 cores ran them. The command is started as a person
would; its memory is the largest resident size of its process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picas.lifecycle import Doc
from picas.pool import connect
from report import machine, number, numbers, table

Spawn = multiprocessing.get_context("spawn")
PILOTS, CORES = 50, 16
BEGAN = 1.7e9


@dataclass(frozen=True, kw_only=True)
class Run:
    """One report: seconds, those of them that it had a processor, and MiB at most."""

    seconds: float
    cpu: float
    mib: float


def tokens(count: int) -> Iterator[Doc]:
    """Tokens as pilots leave them, one after the other on each core."""
    chance = random.Random(1)
    free = [BEGAN] * (PILOTS * CORES)
    for place in range(count):
        slot = place % len(free)
        attempts = []
        for code in (1, 0) if chance.random() < 0.03 else (0,):
            runtime = 30 * chance.lognormvariate(0, 0.5)
            attempts.append(attempt(slot, free[slot], runtime, code))
            free[slot] += runtime + 0.01
        done = int(free[slot])
        yield {"_id": f"t{place:09d}", "type": "token", "lock": done - 1, "done": done, "exit_code": 0, "fence": 1} | {
            "attempts": attempts,
            "input": f"run {place}",
        }


def attempt(slot: int, start: float, runtime: float, code: int) -> dict[str, Any]:
    """One attempt as `picas run` notes it."""
    pilot = slot // CORES
    return {
        "fence": 1,
        "pilot": f"node{pilot}-4711-abcdef",
        "hostname": f"node{pilot}",
        "start": round(start, 3),
        "end": round(start + runtime, 3),
        "runtime": round(runtime, 4),
        "max_rss": 10_000_000 + slot,
        "pilot_cores": CORES,
        "exit_code": code,
        "reason": "exit",
    }


def report(pool: Path, *words: str) -> Run:
    """Run the command to its end."""
    argv = [sys.executable, "-m", "picas", "--pool", str(pool), "report", "-o", "json", *words]
    before = time.monotonic()
    nothing = os.open(os.devnull, os.O_WRONLY)
    child = os.posix_spawn(sys.executable, argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 1)])
    os.close(nothing)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{' '.join(argv)}: exit code {os.waitstatus_to_exitcode(status)}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(seconds=time.monotonic() - before, cpu=cpu, mib=usage.ru_maxrss / 1024)


def fill(pool: Path, count: int) -> None:
    """Make a pool."""
    with connect(str(pool), create=True) as opened:
        opened.store.load(tokens(count))


def measure(count: int, folder: Path) -> list[list[str]]:
    """Fill a pool, and report on it twice."""
    pool = folder / f"{count}.db"
    # In a process of its own: a child's largest size is never told to be less than that of the one which spawned it.
    filling = Spawn.Process(target=fill, args=(pool, count))
    filling.start()
    filling.join()
    if filling.exitcode:
        raise RuntimeError(f"filling {pool}: exit code {filling.exitcode}")
    picture = folder / "timeline.svg"
    rows = []
    for what, words in (("figures", ()), ("figures and timeline", ("--timeline", str(picture)))):
        run = report(pool, *words)
        size = number(picture.stat().st_size / 1024) if words else "-"
        rows.append(
            [
                what,
                number(count),
                number(run.seconds, 1),
                number(run.cpu, 1),
                number(count / run.seconds),
                number(run.mib),
                size,
            ]
        )
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=numbers, default=[10_000, 1_000_000], help="sizes of pools: 10k,1M")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where pools are made, and removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print(machine(folder))
        rows = [row for count in options.tokens for row in measure(count, folder)]
    print(table(("picas report", "tokens", "seconds", "CPU seconds", "tokens/s", "memory MiB", "picture KiB"), rows))


if __name__ == "__main__":
    main()
