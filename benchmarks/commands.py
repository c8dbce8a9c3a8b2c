"""Commands per second: picas on SQLite beside other systems and the spawn limit, all measured in one run.

The speed of a machine drifts, so only ratios within one run count: the limit is measured before, between and
after everything else, and its median is used. Slower peers get fewer tokens, so that a run ends in minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from limit import spawn_rate
from peers import PEERS, Contest, Peer
from picas.pilot.fastpath import load
from programs import Failed, run
from report import machine, number, table

ARGV = {"true": ["/bin/true"], "echo": ["sh", "-c", "echo hello"]}
OWN_LIMIT = "the limit, environment"
TITLE = {"true": "/bin/true", "echo": "sh -c 'echo hello', output captured"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; a rate of None is a measurement that did not come about, for the remark's reason."""

    system: str
    tokens: int | None = None
    seconds: float | None = None
    rate: float | None = None
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one kind of command gave: the limit's rates in order of time, and a row per system."""

    what: str
    limits: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def limit(self) -> float:
        """The median of the limits measured."""
        return statistics.median(self.limits)

    @property
    def ours(self) -> float | None:
        """The rate of ``picas run``, None when that failed."""
        return next((row.rate for row in self.rows if row.system == "picas run"), None)


def picas(*words: str, folder: Path, timeout: float) -> tuple[str, float]:
    """Run a picas command as a user would; its output and seconds."""
    argv = [sys.executable, "-m", "picas", "--pool", "pool.db", *words]
    finished = run(argv, folder=folder, timeout=timeout)
    return finished.output, finished.seconds


def time_picas(contest: Contest) -> tuple[float, float]:
    """Seconds of ``picas add`` and of ``picas run`` on a new pool in which every token ends done."""
    tokens = contest.folder / "tokens.jsonl"
    line = json.dumps({"command": ARGV[contest.what]}) + "\n"
    tokens.write_text(line * contest.count)
    picas("init", folder=contest.folder, timeout=60)
    _, add = picas("add", "--jsonl", str(tokens), folder=contest.folder, timeout=contest.timeout)
    _, seconds = picas("run", "--cores", str(contest.slots), folder=contest.folder, timeout=contest.timeout)
    status, _ = picas("status", "-o", "json", folder=contest.folder, timeout=60)
    counts = {state: n for state, n in json.loads(status)["counts"].items() if n}
    if counts != {"done": contest.count}:
        raise Failed(f"not every token is done: {counts}")
    return add, seconds


def picas_rows(pairs: Sequence[tuple[float, float]], count: int) -> list[Row]:
    """Rows for adding and for running ``count`` tokens, of the medians of their seconds."""
    names = ("picas add", "picas run")
    way = "with" if load() else "without"
    remarks = ("JSON lines, one transaction", f"whole command, durable, output captured, {way} the fast path")
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return [
        Row(system=name, tokens=count, seconds=seconds, rate=count / seconds, remark=remark)
        for name, seconds, remark in zip(names, medians, remarks, strict=True)
    ]


def peer_row(peer: Peer, contest: Contest) -> Row:
    """The row of a peer, or why there is none."""
    if peer.missing:
        return Row(system=peer.name, remark=peer.missing)
    try:
        seconds = peer.time(contest)
    except Failed as problem:
        return Row(system=peer.name, tokens=contest.count, remark=f"failed: {problem}")
    return Row(
        system=peer.name,
        tokens=contest.count,
        seconds=seconds,
        rate=contest.count / seconds,
        remark=peer.remark[contest.what],
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure: how many commands of each kind, and beside whom."""

    counts: dict[str, int]
    slots: int
    peers: Sequence[Peer]
    repeat: int
    peer_seconds: float
    folder: Path

    def contest(self, what: str, count: int, label: str) -> Contest:
        """A contest in a folder of its own; the time allowed is that of 40 commands per second."""
        folder = self.folder / f"{what}-{label}"
        folder.mkdir()
        return Contest(what=what, count=count, slots=self.slots, folder=folder, timeout=60 + count / 40)


def measure(plan: Plan, what: str) -> Outcome:
    """Measure the limit, picas, the limit again (both as often as ``repeat`` says), the peers, and the limit."""
    outcome = Outcome(what=what)
    measure_limit(plan, outcome)
    measure_picas(plan, outcome)
    measure_own_limit(plan, outcome)
    measure_peers(plan, outcome)
    measure_limit(plan, outcome)
    return outcome


def measure_limit(plan: Plan, outcome: Outcome) -> None:
    """Add one more measurement of the limit."""
    count = min(plan.counts[outcome.what], 5000)
    outcome.limits.append(spawn_rate(outcome.what, count, plan.slots))
    progress(f"limit: {outcome.limits[-1]:,.0f}/s")


def measure_own_limit(plan: Plan, outcome: Outcome) -> None:
    """Add a row for the limit when commands are given the whole environment of this process."""
    count = min(plan.counts[outcome.what], 5000)
    rate = spawn_rate(outcome.what, count, plan.slots, environment="own")
    outcome.rows.append(Row(system=OWN_LIMIT, rate=rate, remark="the same, with this environment"))


def measure_picas(plan: Plan, outcome: Outcome) -> None:
    """Add the rows of picas, and a limit after each time it ran."""
    what, count = outcome.what, plan.counts[outcome.what]
    pairs = []
    for turn in range(plan.repeat):
        try:
            pairs.append(time_picas(plan.contest(what, count, f"picas-{turn}")))
        except (Failed, ValueError, KeyError) as problem:
            progress(f"picas: {problem}")
            outcome.rows.append(Row(system="picas run", tokens=count, remark=f"failed: {problem}"))
            return measure_limit(plan, outcome)
        progress(f"picas: {count / pairs[-1][1]:,.0f}/s")
        measure_limit(plan, outcome)
    return outcome.rows.extend(picas_rows(pairs, count))


def measure_peers(plan: Plan, outcome: Outcome) -> None:
    """Add a row for each peer that can run this kind of command."""
    for index, peer in enumerate(plan.peers):
        if outcome.what in peer.remark:
            count = min(plan.counts[outcome.what], int(peer.usual * plan.peer_seconds))
            row = peer_row(peer, plan.contest(outcome.what, count, f"peer-{index}"))
            outcome.rows.append(row)
            progress(f"{row.system}: {number(row.rate)}/s")


def progress(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def show(outcome: Outcome, slots: int) -> str:
    """The table of one kind of command."""
    head = ("system", "tokens", "seconds", "tokens/s", "of the limit", "picas run is")
    limit = Row(system="the limit", rate=outcome.limit, remark=f"{slots} processes: posix_spawn, waitpid")
    lines = [cells(row, outcome) for row in [limit, *outcome.rows]]
    low, high = min(outcome.limits), max(outcome.limits)
    drift = f"limit: the median of {len(outcome.limits)}, from {low:,.0f}/s to {high:,.0f}/s"
    return f"{TITLE[outcome.what]}, {slots} at a time\n\n{table(head, lines)}\n\n{drift}\n"


def cells(row: Row, outcome: Outcome) -> list[str]:
    """A row of the table; what adds tokens runs none, and has no ratio."""
    runs = row.rate is not None and row.system != "picas add"
    of_limit = row.rate / outcome.limit if runs and row.rate else None
    ours = outcome.ours / row.rate if runs and row.rate and outcome.ours else None
    return [
        row.system,
        number(row.tokens),
        number(row.seconds, 2),
        number(row.rate),
        "-" if of_limit is None else f"{of_limit:.0%}",
        "-" if ours is None else f"{ours:.2f} x",
        row.remark,
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    groups = list(dict.fromkeys(peer.group for peer in PEERS))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=20_000, help="how many /bin/true (default 20000; 0: none)")
    parser.add_argument("--echo", type=int, default=5_000, help="how many echo (default 5000; 0: none)")
    parser.add_argument("--slots", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--peers", default=",".join(groups), help="a list with commas, or none (default: all)")
    parser.add_argument("--repeat", type=int, default=1, help="how often picas runs; medians are shown")
    parser.add_argument("--peer-seconds", type=float, default=12, help="tokens for about so long (default 12)")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured (default /var/tmp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file too")
    args = parser.parse_args()
    chosen = [] if args.peers in ("", "none") else args.peers.split(",")
    if unknown := set(chosen) - set(groups):
        parser.error(f"no peer named {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    args.peers = [peer for peer in PEERS if peer.group in chosen]
    return args


def main() -> int:
    """Measure, print the tables, and exit 1 when picas failed."""
    args = arguments()
    counts = {what: count for what, count in (("true", args.tokens), ("echo", args.echo)) if count}
    header = machine(Path(args.folder))
    with tempfile.TemporaryDirectory(prefix="picas-bench-", dir=args.folder) as folder:
        plan = Plan(
            counts=counts,
            slots=args.slots,
            peers=args.peers,
            repeat=args.repeat,
            peer_seconds=args.peer_seconds,
            folder=Path(folder),
        )
        outcomes = [measure(plan, what) for what in counts]
    print(header, *(show(outcome, args.slots) for outcome in outcomes), sep="\n\n")
    if args.json:
        figures = [asdict(outcome) | {"limit": outcome.limit} for outcome in outcomes]
        args.json.write_text(json.dumps({"machine": header, "slots": args.slots, "results": figures}, indent=1))
    return 0 if all(outcome.ours for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
