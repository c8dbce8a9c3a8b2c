"""Calls of an empty Python function per second, on SQLite, beside the limit, Parsl, and a classic `RunActor`.

The limit is a bare loop over a table of the same shape, with the same durability and the same indexes: it settles a
batch and claims the next in one transaction, and makes of every document what any pilot must: objects, and JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import orjson

import picas
from peers import PEERS, Contest
from picas.clients import CouchDB
from picas.documents import Task
from picas.lifecycle import State
from picas.pilot import calls
from picas.pool import connect
from picas.stores.sqlite.schema import MIGRATIONS
from programs import Failed
from report import machine, number, table

BATCH = 401
_SETTLE = "UPDATE tokens SET rev=?, state=3, rank=0, not_before=NULL, pilot=NULL, requires=?, doc=? WHERE seq=?"
_CLAIM = "UPDATE tokens SET rev=?, state=2, pilot='p', not_before=NULL, doc=? WHERE seq=?"
_NEXT = "SELECT seq, requires, doc FROM tokens WHERE state=1 ORDER BY rank, seq LIMIT ?"
_READ = "SELECT seq, doc FROM tokens WHERE id=?"


def empty(_: Any) -> None:
    """Do nothing."""


def filled(path: Path, count: int) -> None:
    """A new pool with so many calls of `empty`."""
    with connect(str(path), create=True) as pool:
        pool.add({"_id": f"t{n:07d}", **calls.token("empty", (n,), {})} for n in range(count))


def checked(path: Path, count: int) -> None:
    """Failed unless every token is done."""
    with connect(str(path)) as pool:
        if pool.count()[State.DONE] != count:
            raise Failed(f"not every token is done: {pool.count()}")


def time_limit(path: Path, count: int) -> float:
    """Seconds for settling and claiming ``count`` documents by SQL alone."""
    sql = apsw.Connection(str(path))
    sql.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16000")
    sql.execute(MIGRATIONS[0])
    doc = {"_id": "", "_rev": "1-0123456789abcdef", "type": "token", "lock": 0, "done": 0, "exit_code": ""}
    doc |= {"hostname": "", "scrub_count": 0, **calls.token("empty", (1,), {})}
    needs = json.dumps(doc["requires"])
    add = "INSERT INTO tokens (id, rev, state, rank, requires, doc) VALUES (?, '1-0', 1, 0, ?, ?)"
    with sql:
        ids = [f"t{n:07d}" for n in range(count)]
        sql.executemany(add, [(one, needs, orjson.dumps({**doc, "_id": one}).decode()) for one in ids])
    end = {"output": None, "reason": "exit", "exit_code": 0}
    attempt = {"fence": 1, "pilot": "p", "hostname": "node", "start": 1e9, "end": 1e9, "runtime": 1e-6}
    begun, held = time.monotonic(), list[tuple[int, str]]()
    while True:
        with sql:
            now = int(time.time())
            settled, claimed = [], []
            for seq, text in sql.executemany(_READ, [(one,) for _, one in held]) if held else ():
                new = {**orjson.loads(text), **end, "done": now, "attempts": [{**attempt, "reason": "exit"}]}
                settled.append(("3-0123456789abcdef", needs, orjson.dumps(new).decode(), seq))
            sql.executemany(_SETTLE, settled)
            held = []
            for seq, _, text in sql.execute(_NEXT, (BATCH,)):
                new = {**orjson.loads(text), "lock": now, "fence": 1, "claim": {"fence": 1, "pilot": "p", "at": now}}
                claimed.append(("2-0123456789abcdef", orjson.dumps(new).decode(), seq))
                held.append((seq, new["_id"]))
            sql.executemany(_CLAIM, claimed)
        if not held:
            return time.monotonic() - begun


def time_work(path: Path, count: int) -> float:
    """Seconds of one pilot, in this process, from its start to its end."""
    filled(path, count)
    begun = time.monotonic()
    picas.work(empty, str(path))
    seconds = time.monotonic() - begun
    checked(path, count)
    return seconds


def time_map(path: Path, count: int) -> float:
    """Seconds of a map with one worker, from the call until the last result is read."""
    begun = time.monotonic()
    for _ in picas.map(empty, range(count), pool=str(path), workers=1):
        pass
    return time.monotonic() - begun


class Classic(picas.RunActor):
    """A program as people write them for PiCaS."""

    def process_task(self, task: Task) -> None:
        task["exit_code"] = 0
        task.done()


def time_classic(path: Path, count: int) -> float:
    """Seconds of a classic pilot, which claims one token at a time."""
    filled(path, count)
    begun = time.monotonic()
    Classic(CouchDB(url=str(path))).run()
    seconds = time.monotonic() - begun
    checked(path, count)
    return seconds


def time_parsl(path: Path, count: int) -> float:
    """Seconds of Parsl for as many functions; its workers are warm before the clock."""
    peer = next(peer for peer in PEERS if peer.name == "Parsl HTEX python_app")
    if peer.missing:
        raise Failed(peer.missing)
    path.mkdir()
    return peer.time(Contest(what="true", count=count, slots=1, folder=path, timeout=120))


ROWS: tuple[tuple[str, Callable[[Path, int], float], float, str], ...] = (
    ("the limit", time_limit, 1.0, f"SQL and JSON alone, in batches of {BATCH}"),
    ("picas.work", time_work, 1.0, "one pilot, each result durable"),
    ("picas.map", time_map, 1.0, "adding, one worker's start, work, and reading; two processes"),
    ("RunActor", time_classic, 0.05, "one token at a time, each result durable before the next"),
    ("Parsl python_app", time_parsl, 0.1, "one worker, no record, warm before the clock"),
)


def main() -> int:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=30_000, help="(default 30000; slower ones get fewer)")
    parser.add_argument("--rounds", type=int, default=3, help="turns; medians are shown (default 3)")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured (default /var/tmp)")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    print(machine(Path(args.folder)), end="\n\n", flush=True)
    rates: dict[str, list[float]] = {name: [] for name, *_ in ROWS}
    remarks = {name: remark for name, _, _, remark in ROWS}
    for _ in range(args.rounds):
        for name, measure, share, _remark in ROWS:
            count = int(args.calls * share)
            with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as folder:
                try:
                    rates[name].append(count / measure(Path(folder) / "pool.db", count))
                except Failed as problem:
                    remarks[name] = str(problem)
    limit = statistics.median(rates["the limit"])
    rows = [
        [name, number(rate), number(rate / limit, 2), remarks[name]]
        if (rate := statistics.median(found) if found else None) is not None
        else [name, "-", "-", remarks[name]]
        for name, found in rates.items()
    ]
    print(table(["system", "calls/s", "of the limit"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
