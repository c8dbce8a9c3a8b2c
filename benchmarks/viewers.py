"""Pages of a large pool for many viewers at once, and what they take from the pool's pilots.

Beside a pilot that claims and settles as fast as the store lets it, viewers come and go: half of the time nobody looks,
half of it all of them do, in turns, so that a drift in the machine's speed meets both. Each viewer keeps the overview
open, which asks for news as the page does, and now and then opens another page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil

from picas.lifecycle import Claimant, Doc, Outcome, Reason, State
from picas.stores import open_store
from picas.stores.base import Attachment, Claim, Settlement, TokenStore
from picas.tokens import log_names
from picas.views import View
from programs import Failed, own_environment
from report import machine, number, numbers, table
from servers import STORES, place_of

Spawn = multiprocessing.get_context("spawn")
TODO = View(State.TODO)
NEWS_EVERY = 2.0
"""Seconds after which the overview asks for news, as its page does."""
PAGE_EVERY = 10.0
"""Seconds between pages that a viewer opens."""
BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How long one kind of page took the viewers, in seconds."""

    name: str
    count: int
    median: float
    p95: float
    slowest: float


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What came of one store: tokens settled per second without and with viewers, kinds of pages, the server's peak."""

    store: str
    about: str
    tokens: int
    alone: list[float]
    watched: list[float]
    kinds: list[Kind]
    failed: int
    peak_mib: float
    spent: dict[str, tuple[float, float]]
    """By who spent it, processor time per second, without and with viewers, in cores."""

    @property
    def left(self) -> list[float]:
        """The part of the claims that is left while viewers look on: each turn to the one before, as machines drift."""
        return [watched / alone for alone, watched in zip(self.alone, self.watched, strict=True)]


# The pool


def tokens(count: int) -> Iterator[Doc]:
    """Tokens of which a quarter is done, and the rest waits."""
    for n in range(count):
        token: Doc = {"_id": f"t{n:09d}", "type": "token", "lock": 0, "done": 0, "input": f"run {n}"}
        if n % 4 == 0:
            token |= {"lock": 1.7e9, "done": 1.7e9 + n % 1000, "exit_code": 0, "hostname": f"node{n % 50}"}
        yield token


def fail(store: TokenStore, count: int) -> None:
    """Let so many tokens fail, in a hundred ways, each with what it had to say."""
    claim = Claim(view=TODO, count=500, claimant=Claimant(pilot="loader", hostname="node1"))
    while count > 0:
        docs = store.exchange([], claim).claimed
        store.exchange([_failed(doc, n) for n, doc in enumerate(docs)], None)
        count -= len(docs)


def _failed(doc: Doc, n: int) -> Settlement:
    code = 1 + n % 100
    attempt = {"fence": doc["claim"]["fence"], "exit_code": code, "runtime": 1.0, "hostname": "node1"}
    said = Attachment(content_type="text/plain", data=f"reading part {n}\nerror {code}: no such sample\n".encode())
    outcome = Outcome(reason=Reason.EXIT, exit_code=code, attempt=attempt, max_scrub=0)
    return Settlement(doc=doc, outcome=outcome, attachments={log_names(doc["_id"])[1]: said})


# The pilot


def work(url: str, settled: Synchronized[int], over: Event) -> None:
    """Claim and settle until it is over, counting; tokens go back as they came, so that the pool stays as large."""
    back = Outcome(reason=Reason.STOPPED, give_back=True)
    store = open_store(url)
    claim = Claim(view=TODO, count=BATCH, claimant=Claimant(pilot="bench", hostname="node2"))
    held: list[Doc] = []
    while not over.is_set():
        answer = store.exchange([Settlement(doc=doc, outcome=back) for doc in held], claim)
        settled.value += len(held)
        held = answer.claimed
    store.close()


@contextmanager
def pilot(url: str) -> Iterator[tuple[Synchronized[int], int]]:
    """A pilot in a process of its own; how many tokens it has settled so far, and its process."""
    settled, over = Spawn.Value("q", 0), Spawn.Event()
    process = Spawn.Process(target=work, args=(url, settled, over))
    process.start()
    try:
        yield settled, process.pid or 0
    finally:
        over.set()
        process.join(60)


# The server


@contextmanager
def page_server(url: str, folder: Path) -> Iterator[tuple[int, int]]:
    """``picas web`` for a pool; its port and its process."""
    said = folder / "web.out"
    argv = [sys.executable, "-u", "-m", "picas", "web", "--port", "0"]
    with said.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=own_environment({"PICAS_POOL": url}), stdout=out, stderr=out)
    try:
        yield _port(said, process), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _port(said: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said.read_text())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"picas web does not start: {said.read_text()[-500:]}")
        time.sleep(0.05)
    return int(found[1])


def peak_mib(pid: int) -> float:
    """The most memory that a process has had, in MiB."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


# Who takes the processor

PILOT, PAGE, VIEWERS = "pilot", "picas web", "viewers"
SERVER_FOR_PILOT, SERVER = "server, for the pilot", "server, else"


@dataclass(frozen=True)
class Meter:
    """Tells whose the processor time is: of these processes, and of a PostgreSQL server's on this machine."""

    pids: dict[str, int]

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        seconds = {name: _used(psutil.Process(pid)) for name, pid in self.pids.items()}
        ports = {f"({one.laddr.port})" for one in psutil.Process(self.pids[PILOT]).net_connections("tcp")}
        for process in psutil.process_iter():
            try:
                if process.name().startswith("postgres"):
                    title = " ".join(process.cmdline())
                    name = SERVER_FOR_PILOT if any(port in title for port in ports) else SERVER
                    seconds[name] = seconds.get(name, 0.0) + _used(process)
            except psutil.NoSuchProcess:
                continue
        return seconds


def _used(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


@dataclass
class Turns:
    """Turns of one kind: tokens settled per second in each, and in all of them the processor time of each party."""

    rates: list[float] = field(default_factory=list)
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    took: float = 0.0

    def take(self, settled: Synchronized[int], meter: Meter, seconds: float) -> None:
        """One more turn, from now on."""
        used = meter.read()  # takes a moment, which is not to count
        before, start = settled.value, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - start
        self.rates.append((settled.value - before) / took)
        self.took += took
        for name, total in meter.read().items():
            self.spent[name] += total - used.get(name, 0.0)


# The viewers


@dataclass
class Visits:
    """How long each page took, by kind."""

    port: int
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0

    async def get(self, kind: str, path: str) -> str:
        """One page, over a connection of its own, as the worst case is."""
        start = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        host = f"127.0.0.1:{self.port}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        self.seconds[kind].append(time.monotonic() - start)
        self.failed += not answer.startswith(b"HTTP/1.1 200")
        return answer.decode(errors="replace")


PAGES = {
    "overview": "/",
    "tokens that wait": "/tokens?view=todo",
    "tokens that failed": "/tokens?view=error",
    "tokens by a text": "/tokens?view=todo&text=run+99",
    "one token": "/token?id=t000000001",
    "pilots": "/pilots",
}


async def view(visits: Visits, until: float, chance: random.Random) -> None:
    """One viewer: the overview all the time, another page now and then, and the page after it."""
    await asyncio.sleep(chance.uniform(0, NEWS_EVERY))
    page_at = time.monotonic() + chance.uniform(0, PAGE_EVERY)
    while (now := time.monotonic()) < until:
        if now >= page_at:
            page_at = now + PAGE_EVERY
            kind = chance.choice(list(PAGES))
            text = await visits.get(kind, PAGES[kind])
            following = re.search(r'href="(/tokens\?[^"]*after=[^"]*)"', text)
            if following:
                await visits.get("the page after", following[1].replace("&amp;", "&"))
        await visits.get("news of the overview", "/live/overview")
        await asyncio.sleep(max(0.0, NEWS_EVERY - (time.monotonic() - now)))


def look_on(port: int, viewers: int, seconds: float, seed: int) -> tuple[dict[str, list[float]], int]:
    """So many viewers for so long; how long their pages took, and how many were none."""

    async def all_of_them() -> Visits:
        visits = Visits(port)
        until = time.monotonic() + seconds
        await asyncio.gather(*(view(visits, until, random.Random(f"{seed} {n}")) for n in range(viewers)))
        return visits

    visits = asyncio.run(all_of_them())
    return dict(visits.seconds), visits.failed


def measure(store: str, args: argparse.Namespace, count: int, folder: Path) -> Watched:
    """Make the pool, and take turns."""
    with place_of(store, folder) as place, Spawn.Pool(1) as lookers:
        url = place.url("viewers")
        opened = open_store(url, create=True)
        opened.load(tokens(count))
        fail(opened, min(5_000, count // 10))
        opened.close()
        progress(f"{store}: {count:,} tokens are there")
        alone, watched = Turns(), Turns()
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        failed = 0
        with page_server(url, folder) as (port, web), pilot(url) as (settled, worker):
            meter = Meter({PILOT: worker, PAGE: web, VIEWERS: lookers.apply(os.getpid)})
            look_on(port, 2, 5.0, -1)
            for turn in range(args.turns):
                alone.take(settled, meter, args.seconds)
                looking = lookers.apply_async(look_on, (port, args.viewers, args.seconds, turn))
                watched.take(settled, meter, args.seconds)
                found, more = looking.get(120)
                failed += more
                for kind, times in found.items():
                    seconds[kind] += times
                progress(f"{store}: {alone.rates[-1]:,.0f}/s alone, {watched.rates[-1]:,.0f}/s watched")
            peak = peak_mib(web)
    spent = {name: (alone.spent[name] / alone.took, total / watched.took) for name, total in watched.spent.items()}
    kinds = [_kind(name, times) for name, times in seconds.items()]
    return Watched(
        store=store,
        about=place.about,
        tokens=count,
        alone=alone.rates,
        watched=watched.rates,
        kinds=sorted(kinds, key=lambda one: one.name),
        failed=failed,
        peak_mib=peak,
        spent=spent,
    )


def _kind(name: str, times: Sequence[float]) -> Kind:
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return Kind(name=name, count=len(ordered), median=statistics.median(ordered), p95=p95, slowest=ordered[-1])


def show(outcome: Watched, viewers: int) -> str:
    """The table of one store."""
    rows = [
        [one.name, number(one.count), *(f"{1000 * value:,.0f} ms" for value in (one.median, one.p95, one.slowest))]
        for one in outcome.kinds
    ]
    cores = [[name, f"{before:.2f}", f"{after:.2f}"] for name, (before, after) in outcome.spent.items()]
    alone, watched = statistics.median(outcome.alone), statistics.median(outcome.watched)
    low, left, high = statistics.quantiles(outcome.left, n=4)
    return (
        f"{outcome.store} {outcome.about}, {outcome.tokens:,} tokens, {viewers} viewers\n\n"
        f"{table(('page', 'times', 'median', 'p95', 'slowest'), rows)}\n\n"
        f"{table(('cores taken by', 'alone', 'watched'), cores)}\n\n"
        f"the pilot settles {alone:,.0f}/s alone and {watched:,.0f}/s watched: {left:.1%} is left, "
        f"in half of {len(outcome.left)} turns {low:.1%} to {high:.1%}\n"
        f"picas web took {outcome.peak_mib:,.0f} MiB at most; {outcome.failed} requests failed\n"
    )


def progress(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print the tables, and exit 1 when a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="sqlite,postgres", help=f"of {', '.join(STORES)} (default sqlite,postgres)")
    parser.add_argument("--tokens", default="1M", help="in the pool (default 1M)")
    parser.add_argument("--viewers", type=int, default=50, help="at once (default 50)")
    parser.add_argument("--turns", type=int, default=16, help="with and without viewers (default 16)")
    parser.add_argument("--seconds", type=float, default=6, help="each turn takes (default 6)")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured (default /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    args = parser.parse_args()
    (count,) = numbers(args.tokens)
    header = machine(Path(args.folder))
    outcomes = []
    for store in args.stores.split(","):
        with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as folder:
            outcomes.append(measure(store, args, count, Path(folder)))
    print(header, *(show(outcome, args.viewers) for outcome in outcomes), sep="\n\n")
    if args.json:
        args.json.write_text(json.dumps({"machine": header, "results": [asdict(one) for one in outcomes]}, indent=1))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
