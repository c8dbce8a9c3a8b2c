"""Claims and settles per second of a store, without any command; and how they hold at a million tokens.

The first table has processes that claim a batch and settle it with the next claim, until nothing is left.
The second loads pools of growing size, and takes turns between them, so that a drift in the machine's speed
meets them all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

from picas.lifecycle import Claimant, Doc, Outcome, State
from picas.stores import open_store
from picas.stores.base import Claim, Settlement, TokenStore
from picas.tokens import loads
from picas.views import View
from report import machine, number, numbers, table
from servers import STORES, Place, place_of

T = TypeVar("T")
Spawn = multiprocessing.get_context("spawn")
TODO = View(State.TODO)
PATIENCE = 600.0
"""Seconds after which a process that does not answer is an error."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one pair of processes and batch gave; ``slowest`` is the longest single exchange in seconds."""

    processes: int
    batch: int
    tokens: int
    seconds: float
    slowest: float


@dataclass(frozen=True, kw_only=True)
class Span:
    """One process's part: how many it settled, from when to when, and its slowest exchange."""

    settled: int
    start: float
    end: float
    slowest: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """A pool of one size: the load's seconds and peak memory, and medians in seconds on it."""

    tokens: int
    load_seconds: float
    growth_mib: float
    exchange: float
    count: float
    page: float


def lines(count: int) -> Iterator[Doc]:
    """Tokens as they come from JSON lines."""
    for n in range(count):
        token: Doc = loads(f'{{"_id": "t{n:09d}", "type": "token", "lock": 0, "done": 0, "input": "run {n}"}}')
        yield token


def exchange(store: TokenStore, held: list[Doc], count: int, pilot: str) -> list[Doc]:
    """Settle what is held and claim up to ``count`` more (0: none); raises when a settlement is refused."""
    settlements = [Settlement(doc=doc, outcome=Outcome()) for doc in held]
    claim = Claim(view=TODO, count=count, claimant=Claimant(pilot=pilot)) if count else None
    answer = store.exchange(settlements, claim)
    if refused := [row for row in answer.settled if not isinstance(row, dict)]:
        raise RuntimeError(f"{len(refused)} of {len(held)} settlements refused: {refused[0]}")
    return answer.claimed


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call returns, and its seconds."""
    start = time.monotonic()
    value = call()
    return value, time.monotonic() - start


def work(url: str, batch: int, pilot: str, barrier: Barrier) -> Span:
    """One process: claim and settle until nothing is left, or five seconds are over."""
    store = open_store(url)
    barrier.wait(PATIENCE)
    start, slowest, settled = time.monotonic(), 0.0, 0
    held: list[Doc] = []
    while True:
        wanted = batch if time.monotonic() - start < 5 else 0
        settled += len(held)
        held, seconds = timed(partial(exchange, store, held, wanted, pilot))
        slowest = max(slowest, seconds)
        if not held:
            break
    end = time.monotonic()
    store.close()
    return Span(settled=settled, start=start, end=end, slowest=slowest)


def in_processes(count: int, call: Callable[..., T], *args: Any) -> list[T]:
    """What ``call(*args, index, barrier)`` returns in each of ``count`` new processes."""
    with Spawn.Manager() as manager, Spawn.Pool(count) as pool:
        barrier = manager.Barrier(count)
        jobs = [pool.apply_async(call, (*args, f"p{index}", barrier)) for index in range(count)]
        return [job.get(PATIENCE) for job in jobs]


def measure_rate(url: str, tokens: int, processes: int, batch: int) -> Rate:
    """Load a new pool and let the processes work it for at most five seconds."""
    store = open_store(url, create=True)
    store.load(lines(tokens))
    store.close()
    spans = in_processes(processes, work, url, batch)
    return Rate(
        processes=processes,
        batch=batch,
        tokens=sum(span.settled for span in spans),
        seconds=max(span.end for span in spans) - min(span.start for span in spans),
        slowest=max(span.slowest for span in spans),
    )


def load(url: str, count: int, _pilot: str, _barrier: Any) -> tuple[float, float]:
    """Load a pool; seconds, and by how many MiB the process's peak memory rose."""
    store = open_store(url, create=True)
    store.load(lines(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, seconds = timed(lambda: store.load(lines(count)))
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    store.close()
    return seconds, growth


def measure_sizes(place: Place, sizes: list[int], batch: int, rounds: int = 60) -> list[Size]:
    """Load a pool of each size; then, in turns, exchange batches on all, count them and look at a first page."""
    urls = [place.url(f"size-{size}") for size in sizes]
    loads_ = [in_processes(1, load, url, size)[0] for url, size in zip(urls, sizes, strict=True)]
    stores = [open_store(url) for url in urls]
    exchanges = exchange_turns(stores, batch, rounds)
    counts = turns(stores, lambda one: one.count())
    pages = turns(stores, lambda one: one.page(TODO, limit=50))
    for one in stores:
        one.close()
    return [
        Size(tokens=size, load_seconds=seconds, growth_mib=growth, exchange=each, count=count, page=page)
        for size, (seconds, growth), each, count, page in zip(sizes, loads_, exchanges, counts, pages, strict=True)
    ]


def exchange_turns(stores: list[TokenStore], batch: int, rounds: int) -> list[float]:
    """The median seconds of an exchange on each store, taken in turns."""
    held: list[list[Doc]] = [[] for _ in stores]
    times: list[list[float]] = [[] for _ in stores]
    for _ in range(rounds):
        for index, store in enumerate(stores):
            claimed, seconds = timed(partial(exchange, store, held[index], batch, "p0"))
            held[index] = claimed
            times[index].append(seconds)
    for store, docs in zip(stores, held, strict=True):
        exchange(store, docs, 0, "p0")
    return [statistics.median(each[1:]) for each in times]


def turns(stores: list[TokenStore], call: Callable[[TokenStore], object], rounds: int = 5) -> list[float]:
    """The median seconds of a call on each store, taken in turns."""
    times: list[list[float]] = [[] for _ in stores]
    for _ in range(rounds):
        for index, store in enumerate(stores):
            times[index].append(timed(partial(call, store))[1])
    return [statistics.median(each) for each in times]


def show_rates(rates: list[Rate]) -> str:
    """Batches down, and for each number of processes the rate and the slowest exchange."""
    head = ["processes", "batch", "tokens", "seconds", "tokens/s", "slowest exchange, ms"]
    rows = [
        [
            str(rate.processes),
            str(rate.batch),
            number(rate.tokens),
            number(rate.seconds, 2),
            number(rate.tokens / rate.seconds),
            number(rate.slowest * 1000, 1),
        ]
        for rate in rates
    ]
    return table(head, rows)


def show_sizes(sizes: list[Size], batch: int) -> str:
    """A row for each size, times relative to the first."""
    head = ["tokens", "loaded/s", "peak memory, MiB", f"{batch} settled+claimed, ms", "ratio", "counts, ms", "page, ms"]
    rows = [
        [
            number(size.tokens),
            number(size.tokens / size.load_seconds),
            f"+{size.growth_mib:.1f}",
            number(size.exchange * 1000, 2),
            number(size.exchange / sizes[0].exchange, 2),
            number(size.count * 1000, 2),
            number(size.page * 1000, 2),
        ]
        for size in sizes
    ]
    return table(head, rows)


def number_of(text: str) -> int:
    """``20000`` or ``20k`` as an integer."""
    (value,) = numbers(text)
    return value


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--tokens", type=number_of, default=20_000, help="in each pool of the first table")
    parser.add_argument("--processes", type=numbers, default=[1, 16], help="a list with commas (default 1,16)")
    parser.add_argument("--batches", type=numbers, default=[1, 8, 32, 128], help="(default 1,8,32,128)")
    parser.add_argument("--claims-at", type=numbers, default=[10_000, 1_000_000], help="(default 10k,1M)")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured (default /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    return parser.parse_args()


def main() -> int:
    """Measure and print both tables."""
    args = arguments()
    print(machine(Path(args.folder)), f"store: {args.store}", sep="\n", end="\n\n", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as name,
        place_of(args.store, Path(name)) as place,
    ):
        print(*([f"server: {place.about}\n"] if place.about else []), sep="\n", flush=True)
        rates = [
            measure_rate(place.url(f"rate-{p}-{b}"), args.tokens, p, b) for p in args.processes for b in args.batches
        ]
        print(show_rates(rates), end="\n\n", flush=True)
        sizes = measure_sizes(place, args.claims_at, batch=32) if args.claims_at else []
    print(show_sizes(sizes, 32) if sizes else "")
    if args.json:
        figures = {"rates": [asdict(rate) for rate in rates], "sizes": [asdict(size) for size in sizes]}
        args.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
