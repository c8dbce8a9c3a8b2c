"""Many pilots on one pool: claims per second and the time of an exchange, and what a pilot costs that only waits.

Each pilot has a handle of its own on the pool, with its own connection, in a thread of one of a few processes; they
run no command. The PostgreSQL is one that is started here, on loopback, with room for 1,200 connections.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from picas.lifecycle import Claimant, Doc, Outcome, State
from picas.stores import open_store
from picas.stores.base import Claim, PilotRecord, Settlement, TokenStore
from picas.views import View
from report import machine, number, numbers, table
from stores import lines

Spawn = multiprocessing.get_context("spawn")
TODO = View(State.TODO)
PATIENCE = 120.0
"""Seconds after which a process that does not answer is an error."""
PROCESSES = 4
SETTINGS = "max_connections = 1200"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Pilots that claim and settle: exchanges per second, and their times in seconds."""

    store: str
    pilots: int
    exchanges: int
    seconds: float
    median: float
    p99: float
    slowest: float


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Pilots that wait. CPU in seconds per second of one pilot, sizes in MiB; a beat and a look in CPU seconds each."""

    pilots: int
    connections: int
    server_mib: float
    client_mib: float
    client_cpu: float
    server_cpu: float
    beat_client: float
    beat_server: float
    look_client: float
    look_server: float


def exchange(store: TokenStore, held: list[Doc], pilot: str, *, more: bool) -> list[Doc]:
    """Settle what is held, and claim one more; raises when a settlement is refused."""
    claim = Claim(view=TODO, count=1, claimant=Claimant(pilot=pilot)) if more else None
    answer = store.exchange([Settlement(doc=doc, outcome=Outcome()) for doc in held], claim)
    if refused := [row for row in answer.settled if not isinstance(row, dict)]:
        raise RuntimeError(f"refused: {refused[0]}")
    return answer.claimed


def in_threads(count: int, call: Callable[[int], object]) -> None:
    """Call something in so many threads, and wait for all; raises what one of them raised."""
    failed: list[BaseException] = []

    def run(number_: int) -> None:
        try:
            call(number_)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            failed.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def busy(url: str, name: str, count: int, seconds: float, barrier: Any) -> tuple[list[float], float, float]:
    """One process of pilots that claim and settle: the seconds of each exchange, and from when to when."""
    times: list[float] = []
    begun = threading.Barrier(count, action=lambda: barrier.wait(PATIENCE))
    spans: list[tuple[float, float]] = []

    def pilot(index: int) -> None:
        store = open_store(url)
        exchange(store, [], f"{name}-{index}", more=False)  # connected now
        begun.wait(PATIENCE)
        start, held = time.monotonic(), []  # type: tuple[float, list[Doc]]
        while True:
            before = time.monotonic()
            more = before - start < seconds
            held = exchange(store, held, f"{name}-{index}", more=more)
            times.append(time.monotonic() - before)
            if not held:
                break
        spans.append((start, time.monotonic()))
        store.close()

    in_threads(count, pilot)
    return times, min(start for start, _ in spans), max(end for _, end in spans)


def record(name: str) -> PilotRecord:
    """What a pilot says of itself."""
    return PilotRecord(id=name, hostname="node", pid=1, started_at=time.time(), lease=60.0, cores=8)


def idle(url: str, name: str, count: int, seconds: float, barrier: Any) -> tuple[float, float]:
    """One process of pilots that wait for work: its CPU seconds meanwhile, and by how many MiB they made it larger."""
    before = psutil.Process().memory_info().rss
    stores = [open_store(url) for _ in range(count)]
    for index, store in enumerate(stores):
        store.beat(record(f"{name}-{index}"))
        exchange(store, [], f"{name}-{index}", more=True)  # nothing is there: it listens from now on
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    barrier.wait(PATIENCE)
    start = cpu_seconds()
    until = time.monotonic() + seconds

    def wait(index: int) -> None:
        while (left := until - time.monotonic()) > 0:
            stores[index].wait(min(0.5, left))

    in_threads(count, wait)
    used = cpu_seconds() - start
    barrier.wait(PATIENCE)
    barrier.wait(PATIENCE)
    for store in stores:
        store.close()
    return used, grown


def cpu_seconds() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def shares(pilots: int) -> list[int]:
    """So many pilots over the processes."""
    processes = min(PROCESSES, pilots)
    return [pilots // processes + (one < pilots % processes) for one in range(processes)]


def measure_rate(store: str, url: str, pilots: int, tokens: int, seconds: float) -> Rate:
    """Load a pool, and let the pilots work it for so long."""
    with open_pool(url) as pool:
        pool.load(lines(tokens))
    parts = shares(pilots)
    with Spawn.Manager() as manager, Spawn.Pool(len(parts)) as crew:
        barrier = manager.Barrier(len(parts))
        jobs = [crew.apply_async(busy, (url, f"p{n}", part, seconds, barrier)) for n, part in enumerate(parts)]
        found = [job.get(PATIENCE) for job in jobs]
    times = sorted(one for part, _, _ in found for one in part)
    return Rate(
        store=store,
        pilots=pilots,
        exchanges=len(times),
        seconds=max(end for _, _, end in found) - min(start for _, start, _ in found),
        median=statistics.median(times),
        p99=times[int(len(times) * 0.99)],
        slowest=times[-1],
    )


def measure_idle(server: Any, url: str, pilots: int, seconds: float) -> Idle:
    """Let the pilots wait for so long; then what one beat and one look at all of them costs."""
    with open_pool(url) as pool:
        parts = shares(pilots)
        with Spawn.Manager() as manager, Spawn.Pool(len(parts)) as crew:
            barrier = manager.Barrier(len(parts) + 1)
            jobs = [crew.apply_async(idle, (url, f"p{n}", part, seconds, barrier)) for n, part in enumerate(parts)]
            barrier.wait(PATIENCE)
            before = server.cpu()
            barrier.wait(PATIENCE)
            waited = server.cpu() - before
            connections, mib = server.connections()
            beat = cost(server, lambda: pool.beat(record("p0-0")), 300)
            look = cost(server, pool.pilots, 100)
            barrier.wait(PATIENCE)
            found = [job.get(PATIENCE) for job in jobs]
    return Idle(
        pilots=pilots,
        connections=connections,
        server_mib=mib,
        client_mib=sum(grown for _, grown in found) / pilots,
        client_cpu=sum(used for used, _ in found) / seconds / pilots,
        server_cpu=waited / seconds / pilots,
        beat_client=beat[0],
        beat_server=beat[1],
        look_client=look[0],
        look_server=look[1],
    )


def cost(server: Any, call: Callable[[], object], times: int) -> tuple[float, float]:
    """CPU seconds of one call, here and on the server."""
    call()
    mine, its = cpu_seconds(), server.cpu()
    for _ in range(times):
        call()
    return (cpu_seconds() - mine) / times, (server.cpu() - its) / times


@contextmanager
def open_pool(url: str) -> Iterator[TokenStore]:
    """A pool, made when it is not there."""
    store = open_store(url, create=True)
    try:
        yield store
    finally:
        store.close()


class Server:
    """A PostgreSQL of our own, and what it uses."""

    def __init__(self) -> None:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
        support = importlib.import_module("support.postgres_server")
        self._own = support.OwnServer(support.find_programs(), settings=SETTINGS)

    def pool(self) -> str:
        """The address of a new database."""
        return str(self._own.address(self._own.database("scale")))

    def cpu(self) -> float:
        """CPU seconds of all its processes so far, the ended ones included."""
        main = psutil.Process(self._own._process.pid)
        total = sum(main.cpu_times()[:4])
        for child in main.children(recursive=True):
            try:
                total += sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return float(total)

    def connections(self) -> tuple[int, float]:
        """How many clients are connected, and MiB of memory of its own for each."""
        found = self._own.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'", rows=True)
        sizes = []
        for (pid,) in found:
            try:
                sizes.append(psutil.Process(pid).memory_full_info().uss / 2**20)
            except psutil.NoSuchProcess:
                continue
        return len(sizes), statistics.mean(sizes)

    def close(self) -> None:
        """End it."""
        self._own.close()


def show_rates(rates: list[Rate]) -> str:
    """A row for each number of pilots."""
    head = ["store", "pilots", "exchanges/s", "median, ms", "p99, ms", "slowest, ms"]
    rows = [
        [
            rate.store,
            number(rate.pilots),
            number(rate.exchanges / rate.seconds),
            *(number(value * 1000, 1) for value in (rate.median, rate.p99, rate.slowest)),
        ]
        for rate in rates
    ]
    return table(head, rows)


def show_idle(found: list[Idle]) -> str:
    """A row for each number of pilots that wait."""
    head = ["waiting", "connections", "server, MiB each", "pilot, MiB", "pilot, CPU %", "server, CPU % each"]
    head += ["beat, ms CPU pilot", "server", "look, ms CPU pilot", "server"]
    rows = [
        [
            number(one.pilots),
            number(one.connections),
            number(one.server_mib, 2),
            number(one.client_mib, 2),
            number(one.client_cpu * 100, 3),
            number(one.server_cpu * 100, 3),
            *(number(v * 1000, 2) for v in (one.beat_client, one.beat_server, one.look_client, one.look_server)),
        ]
        for one in found
    ]
    return table(head, rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", type=numbers, default=[1, 10, 100, 300, 1000], help="(default 1,10,100,300,1000)")
    parser.add_argument("--sqlite", type=numbers, default=[1, 16, 64], help="(default 1,16,64)")
    parser.add_argument("--idle", type=numbers, default=[10, 100, 400], help="pilots that wait (default 10,100,400)")
    parser.add_argument("--tokens", type=int, default=20_000, help="in each pool (default 20000)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of work, and of waiting (default 4)")
    parser.add_argument("--folder", default="/var/tmp", help="for SQLite (default /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    return parser.parse_args()


def main() -> int:
    """Measure and print both tables."""
    args = arguments()
    print(machine(Path(args.folder)), end="\n\n", flush=True)
    rates, waiting = [], []  # type: tuple[list[Rate], list[Idle]]
    server = Server()
    try:
        for pilots in args.postgres:
            rates.append(measure_rate("PostgreSQL", server.pool(), pilots, args.tokens, args.seconds))
        with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as folder:
            for pilots in args.sqlite:
                url = str(Path(folder) / f"pool-{pilots}.db")
                rates.append(measure_rate("SQLite", url, pilots, args.tokens, args.seconds))
        print(show_rates(rates), end="\n\n", flush=True)
        for pilots in args.idle:
            waiting.append(measure_idle(server, server.pool(), pilots, args.seconds))
        print(show_idle(waiting), flush=True)
    finally:
        server.close()
    if args.json:
        figures = {"rates": [asdict(rate) for rate in rates], "idle": [asdict(one) for one in waiting]}
        args.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
