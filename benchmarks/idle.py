"""What a pilot without work costs, and how soon it starts what is added; beside a shell that only sleeps.

A pilot waits on each store. Tokens are added one by one, whose command says what time it is: how long after the call to
add them that was. Then it is left alone for a while.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from picas.pool import Pool, connect
from programs import own_environment
from report import machine, number, table
from servers import STORES, Place, place_of

PATIENCE = 60.0
LEASE = 60.0
"""A pilot's, when nothing else is said: so long it looks after others that may have come for the same work."""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Seconds from adding a token until its command runs; and a pilot's costs while nothing happens.

    ``cpu`` is the share of a core, ``memory`` what its processes hold in bytes (PSS), ``requests`` per second.
    """

    store: str
    wakes: list[float]
    cpu: float
    memory: int
    requests: float | None


def measure(store: str, folder: Path, rounds: int, seconds: float) -> Idle:
    """One pilot on a new pool of a store."""
    with place_of(store, folder) as place:
        url = place.url("idle")
        with connect(url, create=True) as pool:
            pilot = start(url, folder)
            try:
                wakes = [wake(pool, pilot, folder / f"{store}-{n}") for n in range(rounds + 1)][1:]
                pool.close()
                return rest(store, place, pilot, wakes, seconds)
            finally:
                pilot.terminate()
                pilot.wait(PATIENCE)


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """A pilot that waits for an hour."""
    argv = [sys.executable, "-m", "picas", "run", "--cores", "1", "--idle", "1h"]
    environment = {**own_environment(), "PICAS_POOL": url}
    with (folder / "pilot.log").open("wb") as log:
        return subprocess.Popen(argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wake(pool: Pool, pilot: subprocess.Popen[bytes], stamp: Path) -> float:
    """Add a token when the pilot has been idle for a moment; seconds until its command runs."""
    time.sleep(1.0)
    command = ["sh", "-c", f"date +%s.%N > '{stamp}.part'; mv '{stamp}.part' '{stamp}'"]
    begun = time.time()
    pool.add([{"command": command}])
    while not stamp.exists():
        if pilot.poll() is not None or time.time() - begun > PATIENCE:
            raise SystemExit("the pilot did not run what was added")
        time.sleep(0.005)
    return float(stamp.read_text()) - begun


def rest(store: str, place: Place, pilot: subprocess.Popen[bytes], wakes: list[float], seconds: float) -> Idle:
    """What the pilot costs when it is left alone, from when a lease has passed without anything."""
    time.sleep(LEASE + 5.0)
    before, asked = cpu_of(pilot), place.requests()
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    cpu, told = cpu_of(pilot) - before, place.requests()
    # To ask for the number is a request or two of its own.
    requests = None if asked is None or told is None else max(0, told - asked - 1) / took
    family = [psutil.Process(pilot.pid), *psutil.Process(pilot.pid).children(recursive=True)]
    memory = sum(process.memory_full_info().pss for process in family)
    return Idle(store=store, wakes=wakes, cpu=cpu / took, memory=memory, requests=requests)


def cpu_of(pilot: subprocess.Popen[bytes]) -> float:
    """Seconds of processor that a pilot and its runners have used."""
    family = [psutil.Process(pilot.pid), *psutil.Process(pilot.pid).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in family)


def cells(row: Idle) -> list[str]:
    """A row of the table."""
    return [
        row.store,
        number(statistics.median(row.wakes) * 1000, 1),
        number(max(row.wakes) * 1000, 1),
        f"{row.cpu:.2%}",
        number(row.memory / 2**20, 1),
        number(row.requests, 2),
    ]


HEAD = ("store", "woken after, ms (median)", "(slowest)", "of a core", "memory, MiB (PSS)", "requests/s")


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default=",".join(STORES), help="a list with commas")
    parser.add_argument("--rounds", type=int, default=20, help="tokens that are added (default 20)")
    parser.add_argument("--seconds", type=float, default=60, help="for which the pilot is left alone (default 60)")
    parser.add_argument("--folder", default="/var/tmp", help="where pools lie (default /var/tmp)")
    args = parser.parse_args()
    os.umask(0o077)
    print(machine(Path(args.folder)), end="\n\n", flush=True)
    rows = []
    for store in args.stores.split(","):
        with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as name:
            rows.append(measure(store, Path(name), args.rounds, args.seconds))
    print(table(HEAD, [cells(row) for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
