"""What it costs to have results on disk before they are settled: beside doing without, and beside a bare write."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from picas.command import CommandActor, RunOptions
from picas.lifecycle import Claimant, Outcome, State
from picas.pilot.spool import Spool
from picas.pool import Pool, connect
from picas.stores.base import Attachment, Claim, Settlement
from picas.views import View

SIZES = (1, 16, 256)
TODO = View(State.TODO)


def results(count: int) -> list[Settlement]:
    """Results as those of short commands are: a few fields, a line of output."""
    found = []
    for number in range(count):
        claim = {"fence": 1, "pilot": "host-1-abc", "at": 1_700_000_000}
        doc = {"_id": f"0101120000ab-{number:06d}", "_rev": "2-0123456789abcdef", "type": "token", "lock": claim["at"]}
        doc |= {"done": 0, "exit_code": "", "hostname": "host", "scrub_count": 0, "fence": 1, "claim": claim}
        doc |= {"input": str(number), "command": ["echo", str(number)]}
        attempt = {
            "fence": 1,
            "pilot": "host-1-abc",
            "hostname": "host",
            "start": 1.7e9,
            "end": 1.7e9,
            "max_rss": 1 << 21,
        }
        files = {f"logs_{doc['_id']}.out": Attachment(content_type="text/plain", data=b"hello\n")}
        found.append(Settlement(doc=doc, outcome=Outcome(attempt=attempt), attachments=files))
    return found


def each(act: Callable[[], object], times: int) -> float:
    """The median of so many times, in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def batches(folder: Path, times: int) -> None:
    """One exchange's worth: written to the spool and cut back, beside as many bytes written and synced."""
    print(f"{'results':>8} {'bytes':>8} {'spool ms':>9} {'write + fdatasync ms':>21} {'ratio':>6} {'us a result':>12}")
    for size in SIZES:
        batch = results(size)
        spool = Spool(folder / "spool", "host-1-abc", "host", "postgresql://somewhere/pool")
        spool.write(batch)
        length = (spool.folder / "results").stat().st_size
        spool.forget()
        handle = os.open(folder / "bare", os.O_RDWR | os.O_CREAT, 0o600)
        data = os.urandom(length)

        def ours(spool: Spool = spool, batch: list[Settlement] = batch) -> None:
            spool.write(batch)
            spool.forget()

        def bare(handle: int = handle, data: bytes = data) -> None:
            os.pwrite(handle, data, 0)
            os.fdatasync(handle)
            os.ftruncate(handle, 0)

        a, b = each(ours, times), each(bare, times)
        print(f"{size:8} {length:8} {a:9.3f} {b:21.3f} {a / b:6.2f} {1000 * a / size:12.1f}")
        os.close(handle)
        spool.close()


def pilots(folder: Path, url: str, tokens: int, rounds: int) -> None:
    """A pilot that runs ``true``: with the spool before each try to settle, and with it only once a try has failed."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * rounds):
        before = turn % 2 == 0
        address = url or str(folder / f"pool{turn}.db")
        with connect(address, create=True) as pool:
            pool.add({"_id": f"t{turn}-{number:06d}", "command": ["true"]} for number in range(tokens))
            pool.store.capabilities = replace(pool.store.capabilities, local=not before)
            report = CommandActor(pool, RunOptions(cores=2)).run()
            assert report.done == tokens, report
            rates[before].append(tokens / report.seconds)
    median = {before: statistics.median(found) for before, found in rates.items()}
    print(f"{'server' if url else 'SQLite'}: {tokens} commands, {rounds} rounds in turns")
    print(f"  spool before each try   {median[True]:8.0f} a second   {[round(one) for one in rates[True]]}")
    print(f"  only after a failure    {median[False]:8.0f} a second   {[round(one) for one in rates[False]]}")
    print(f"  ratio                   {median[True] / median[False]:8.3f}")


def exchanges(folder: Path, times: int) -> None:
    """An exchange on SQLite that settles a batch, without and with the spool before it."""
    print(f"{'results':>8} {'exchange ms':>12} {'with spool ms':>14} {'ratio':>6}   (SQLite, settle alone)")
    for size in SIZES:
        with connect(str(folder / f"exchange{size}.db"), create=True) as pool:
            pool.add({"_id": f"t{number:06d}"} for number in range(2 * size * times))
            spool = Spool(folder / "spool", "host-1-abc", "host", pool.url)
            plain, spooled = [], []
            for _ in range(times):
                plain.append(_one(pool, size, None))
                spooled.append(_one(pool, size, spool))
            spool.close()
        a, b = 1000 * statistics.median(plain), 1000 * statistics.median(spooled)
        print(f"{size:8} {a:12.3f} {b:14.3f} {b / a:6.2f}")


def _one(pool: Pool, size: int, spool: Spool | None) -> float:
    claim = Claim(view=TODO, count=size, claimant=Claimant(pilot="host-1-abc", hostname="host"))
    docs = pool.store.exchange([], claim).claimed
    batch = [Settlement(doc=doc, outcome=Outcome(attempt={"fence": 1})) for doc in docs]
    begun = time.perf_counter()
    if spool is not None:
        spool.write(batch)
    pool.store.exchange(batch)
    if spool is not None:
        spool.forget()
    return time.perf_counter() - begun


def main() -> int:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="/var/tmp", help="where to write (default /var/tmp)")
    parser.add_argument("--tokens", type=int, default=5000, help="commands for each run of a pilot (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of a pilot, each way (default 3)")
    parser.add_argument("--times", type=int, default=200, help="batches of each size (default 200)")
    parser.add_argument("--url", default="", help="a pool on a server, whose tokens are left there")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="picas-spool-", dir=args.folder))
    os.environ["PICAS_SPOOL"] = str(folder / "kept")
    try:
        batches(folder, args.times)
        exchanges(folder, args.times)
        pilots(folder, "", args.tokens, args.rounds)
        if args.url:
            pilots(folder, args.url, args.tokens, args.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
