"""Tokens per second on CouchDB, without any command: picasclient, picas, and what the server can write at all.

All in one run on the same server, in a fresh database each, with several numbers of pilot processes. Whether a token
was run twice is told by what the pilots note, not by the database.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from peers import PICASCLIENT, python_of
from picas.errors import PicasError
from picas.lifecycle import State
from picas.stores import TokenStore, open_store
from pilots import Work, work
from programs import Failed
from report import machine, number, numbers, table
from servers import couchdb_at

if TYPE_CHECKING:
    from support.couchdb_server import CouchServer  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent
DRIVERS = HERE / "drivers"
VARIABLE = "PICAS_TEST_COUCHDB"
MONITOR = ("Monitor",)
MONITOR_AND_OURS = ("Monitor", "picas")
USUAL = {1: 59, 4: 83, 16: 93, 64: 130}
"""About how many tokens per second picasclient does with so many pilots, to choose a number that ends in time."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One way of working a pool: its program, the batches it is measured with, and the views that it is given."""

    name: str
    argv: Callable[[], list[str]]
    designs: Sequence[str]
    single: bool
    remark: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; a rate of None is a measurement that did not come about, for the remark's reason."""

    system: str
    pilots: int
    batch: int
    tokens: int
    seconds: float | None = None
    rate: float | None = None
    of_picasclient: float | None = None
    of_limit: float | None = None
    twice: int | None = None
    undone: int | None = None
    lost: int | None = None
    remark: str = ""

    @property
    def clean(self) -> bool:
        """Whether every token was run once, and no pilot died."""
        return (self.twice, self.undone, self.lost) == (0, 0, 0)


def driver(name: str, *options: str) -> list[str]:
    """A driver run by this Python."""
    return [sys.executable, *options, str(DRIVERS / name)]


LIMIT = System(
    name="the limit",
    argv=lambda: driver("couchdb_limit.py", "-S"),
    designs=(),
    single=True,
    remark="writes alone, no views",
)
SYSTEMS = (
    System(
        name="picasclient",
        argv=lambda: [str(python_of(PICASCLIENT)), str(DRIVERS / "couchdb_actor.py")],
        designs=MONITOR,
        single=True,
        remark="RunActor",
    ),
    System(
        name="picas, RunActor",
        argv=lambda: driver("couchdb_actor.py"),
        designs=MONITOR_AND_OURS,
        single=True,
        remark="the same program",
    ),
    System(
        name="picas, batches",
        argv=lambda: driver("couchdb_batches.py"),
        designs=MONITOR_AND_OURS,
        single=False,
        remark="settles with the next claim",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure: with how many pilots, in what batches, and how many tokens."""

    server: CouchServer
    pilots: Sequence[int]
    batches: Sequence[int]
    tokens: int
    peer_seconds: float
    folder: Path

    def count(self, pilots: int, batch: int) -> int:
        """How many tokens: all in batches, one at a time as many as picasclient does in the time that is allowed."""
        usual = USUAL[max(known for known in USUAL if known <= pilots)]
        wanted = self.tokens if batch > 1 else min(self.tokens, int(usual * self.peer_seconds))
        return max(pilots, wanted)


def measure(plan: Plan) -> Iterator[Row]:
    """For each number of pilots and each size of batch: the limit, and then who works so."""
    for pilots in plan.pilots:
        picasclient: float | None = None
        for batch in (1, *plan.batches):
            limit = measure_one(plan, LIMIT, pilots, batch)
            yield limit
            for system in SYSTEMS:
                if system.single is (batch == 1):
                    row = measure_one(plan, system, pilots, batch)
                    picasclient = row.rate if system.name == "picasclient" else picasclient
                    yield replace(
                        row, of_limit=ratio(row.rate, limit.rate), of_picasclient=ratio(row.rate, picasclient)
                    )


def measure_one(plan: Plan, system: System, pilots: int, batch: int) -> Row:
    """One row: a new database, the pilots on it, and what became of its tokens."""
    count = plan.count(pilots, batch)
    row = Row(system=system.name, pilots=pilots, batch=batch, tokens=count, remark=system.remark)
    try:
        argv = system.argv()
        with new_pool(plan.server, count, system.designs) as (name, store):
            did = run_pilots(plan, argv, name, pilots, batch, count)
            done = count_done(store) if system.designs else did.runs
    except (Failed, PicasError) as problem:
        return said(replace(row, remark=f"failed: {problem}"))
    return said(
        replace(
            row,
            seconds=did.seconds,
            rate=done / did.seconds,
            twice=did.twice,
            undone=count - done,
            lost=did.lost,
            remark=did.remark or row.remark,
        )
    )


def run_pilots(plan: Plan, argv: list[str], database: str, pilots: int, batch: int, count: int) -> Work:
    """Let the pilots work the database; the share that each is told of is for those who do not claim."""
    access = {
        "server": plan.server.url,
        "database": database,
        "username": plan.server.admin,
        "password": plan.server.password or "",
        "batch": batch,
    }
    shares = [(count * place // pilots, count * (place + 1) // pilots) for place in range(pilots)]
    told = [{**access, "first": token_id(first), "last": token_id(end - 1)} for first, end in shares]
    with tempfile.TemporaryDirectory(dir=plan.folder) as folder:
        return work(argv, told, folder=Path(folder), timeout=60 + count / 10)


@contextmanager
def new_pool(server: CouchServer, count: int, designs: Sequence[str]) -> Iterator[tuple[str, TokenStore]]:
    """A new database with so many tokens and these design documents, their indexes built; deleted in the end."""
    name = server.database("bench")
    url, password = f"{server.url}/{quote(name, safe='')}", server.password
    store = open_store(url, create=True, username=server.admin, password=password, plain=True)
    try:
        for design in set(MONITOR_AND_OURS) - set(designs):
            path = f"/{name}/_design/{design}"
            server.request("DELETE", f"{path}?rev={server.request('GET', path).json()['_rev']}")
        store.load({"_id": token_id(place), "input": {"n": place}} for place in range(count))
        for design in designs:
            build_index(server, f"/{name}/_design/{design}")
        yield name, store
    finally:
        store.drop()


def build_index(server: CouchServer, path: str) -> None:
    """Have the server index a design document, all of whose views are one index."""
    view = next(iter(server.request("GET", path).json()["views"]))
    answer = server.request("GET", f"{path}/_view/{view}?limit=1&reduce=false")
    if answer.status != 200:
        raise Failed(f"{path} has no index: {answer.status}")


def count_done(store: TokenStore) -> int:
    """How many tokens the pool says are done."""
    return store.count()[State.DONE]


def token_id(place: int) -> str:
    """Ids that sort as their numbers do."""
    return f"t{place:07d}"


def ratio(value: float | None, base: float | None) -> float | None:
    """One as a multiple of the other, where both are there."""
    return value / base if value is not None and base else None


def said(row: Row) -> Row:
    """The row, after stderr has been told of it."""
    tail = f": {row.remark}" if row.rate is None else ""
    print(f"{row.system}, {row.pilots} x {row.batch}: {number(row.rate)}/s{tail}", file=sys.stderr, flush=True)
    return row


HEAD = (
    "system",
    "pilots",
    "batch",
    "tokens",
    "seconds",
    "tokens/s",
    "x picasclient",
    "of the limit",
    "run twice",
    "not done",
    "pilots lost",
)


def cells(row: Row) -> list[str]:
    """A row of the table."""
    return [
        row.system,
        str(row.pilots),
        str(row.batch),
        number(row.tokens),
        number(row.seconds, 2),
        number(row.rate),
        number(row.of_picasclient, 2),
        "-" if row.of_limit is None else f"{row.of_limit:.0%}",
        number(row.twice),
        number(row.undone),
        number(row.lost),
        row.remark,
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="", help=f"its URL (default: {VARIABLE}, else one started from npm)")
    parser.add_argument("--tokens", type=int, default=10_000, help="for those who work in batches (default 10000)")
    parser.add_argument("--pilots", type=numbers, default=[1, 16, 64], help="a list with commas (default 1,16,64)")
    parser.add_argument("--batch", type=numbers, default=[32], help="a list with commas (default 32)")
    parser.add_argument("--peer-seconds", type=float, default=12, help="tokens one at a time for so long (default 12)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    args = parser.parse_args()
    if min([*args.pilots, *args.batch, args.tokens]) < 1:
        parser.error("numbers of pilots and tokens, and sizes of batches, are 1 and more")
    return args


def main() -> int:
    """Measure, print the table, and exit 1 when picas ran a token twice, left one, lost a pilot or failed."""
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="picas-bench-") as name, couchdb_at(args.server, Path(name)) as server:
        header = f"{machine()}\nserver: {server.flavour} {server.version}, on {server.url}"
        plan = Plan(
            server=server,
            pilots=args.pilots,
            batches=[size for size in args.batch if size > 1],
            tokens=args.tokens,
            peer_seconds=args.peer_seconds,
            folder=Path(name),
        )
        rows = list(measure(plan))
    print(header, table(HEAD, [cells(row) for row in rows]), sep="\n\n")
    if args.json:
        figures: list[dict[str, Any]] = [asdict(row) for row in rows]
        args.json.write_text(json.dumps({"machine": header, "rows": figures}, indent=1))
    return 0 if all(row.clean for row in rows if row.system.startswith("picas,")) else 1


if __name__ == "__main__":
    sys.exit(main())
