"""What a `Tally` comes to: who offered what, how busy it was, and all figures of the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from picas.lifecycle import State
from picas.reports.attempts import WASTED, Fate
from picas.reports.sketch import BINS, Load
from picas.reports.tally import Tally, Work
from picas.stores.base import PilotRecord

__all__ = ["Axis", "Share", "Summary", "figures", "summarise"]

_ROUNDED = 0.25
"""Cores; times are rounded to milliseconds, so that one attempt seems to begin before another has ended."""
_PEAKS = 32
"""Of so many parts of the whole time the best is told."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The time that is covered, in ``count`` stretches of ``width`` seconds, the first of which begins at ``start``."""

    first: float
    last: float
    width: float
    number: int
    count: int

    @property
    def start(self) -> float:
        """When the first stretch begins."""
        return self.number * self.width


@dataclass(frozen=True, kw_only=True)
class Share:
    """A pilot's part. ``amounts`` and ``seconds`` are cores times seconds, along the axis and in all.

    ``known`` says where ``cores`` are from: ``pilot`` (it said so itself), ``option``, or ``use`` (what was used at one
    time, so that it may have offered more).
    """

    work: Work
    cores: float
    known: str
    first: float
    last: float
    amounts: Mapping[Fate, list[float]]
    seconds: Mapping[Fate, float]

    @property
    def offered(self) -> float:
        """Cores times seconds from the first start to the last end."""
        return self.cores * max(0.0, self.last - self.first)

    @property
    def used(self) -> float:
        """Cores times seconds in which a command ran, as far as that is known."""
        return sum(seconds for fate, seconds in self.seconds.items() if fate is not Fate.LOST)

    @property
    def busy(self) -> float | None:
        """The part of what it offered in which a command ran."""
        return _part(min(1.0, self.used / self.offered)) if self.offered > 0 else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that is told and drawn. Without an ``axis`` nothing has run yet."""

    tally: Tally
    axis: Axis | None
    shares: list[Share]

    @property
    def seconds(self) -> Counter[Fate]:
        """Cores times seconds by fate."""
        total: Counter[Fate] = Counter()
        for share in self.shares:
            total.update(share.seconds)
        return total

    @property
    def counts(self) -> Counter[Fate]:
        """Attempts by fate."""
        return sum((share.work.counts for share in self.shares), Counter())

    @property
    def offered(self) -> float:
        """Cores times seconds of all pilots."""
        return sum(share.offered for share in self.shares)

    @property
    def busy(self) -> float | None:
        """The part of what was offered in which a command ran."""
        used = sum(share.used for share in self.shares)
        return _part(min(1.0, used / self.offered)) if self.offered > 0 else None

    def along(self, fates: Iterable[Fate]) -> list[float]:
        """The mean number of cores busy with these, in each stretch of the axis."""
        if self.axis is None:
            return []
        total = [0.0] * self.axis.count
        for share in self.shares:
            for fate in fates:
                for place, amount in enumerate(share.amounts.get(fate, ())):
                    total[place] += amount / self.axis.width
        return total

    def ended(self, fate: Fate) -> list[float]:
        """How many attempts ended in each stretch of the axis: done, or (failed) in any other way."""
        return [] if self.axis is None else _amounts(self.tally.ended[fate], self.axis)


def summarise(tally: Tally, records: Iterable[PilotRecord] = (), cores: float | None = None) -> Summary:
    """Add up; ``cores`` are those of each pilot that does not say itself how many it has."""
    known = {record.id: record for record in records}
    axis = _axis(tally)
    works = sorted(tally.works.values(), key=lambda work: (min(work.first, _first(work)), work.pilot))
    shares = [_share(work, axis, known.get(work.pilot) if work.named else None, cores) for work in works]
    return Summary(tally=tally, axis=axis, shares=shares)


def _first(work: Work) -> float:
    return min((load.begin for load in work.loads.values()), default=math.inf)


def _axis(tally: Tally) -> Axis | None:
    loads = [load for work in tally.works.values() for load in work.loads.values()]
    if not loads:
        return None
    first, last = min(load.begin for load in loads), max(load.end for load in loads)
    width = max(load.width for load in [*loads, *tally.ended.values()])
    while last // width - first // width >= BINS:
        width *= 2
    number = int(first // width)
    return Axis(first=first, last=last, width=width, number=number, count=int(last // width) - number + 1)


def _amounts(load: Load, axis: Axis) -> list[float]:
    return load.amounts(axis.width, axis.number, axis.count)


def _share(work: Work, axis: Axis | None, record: PilotRecord | None, cores: float | None) -> Share:
    amounts = {fate: _amounts(load, axis) for fate, load in work.loads.items()} if axis else {}
    offered, known = _cores(work, amounts, axis, record, cores)
    seconds = {fate: work.seconds.get(fate, 0.0) for fate in work.loads}
    if axis:
        seconds |= _limited(amounts, offered * axis.width)
    first, last = (work.first, work.last) if work.first <= work.last else (0.0, 0.0)
    return Share(work=work, cores=offered, known=known, first=first, last=last, amounts=amounts, seconds=seconds)


def _cores(
    work: Work, amounts: Mapping[Fate, list[float]], axis: Axis | None, record: PilotRecord | None, cores: float | None
) -> tuple[float, str]:
    if record is not None:
        return float(record.cores), "pilot"
    if work.offered:
        return work.offered, "pilot"
    if cores is not None:
        return cores, "option"
    certain = [values for fate, values in amounts.items() if fate.certain]
    most = max((sum(levels) for levels in zip(*certain, strict=True)), default=0.0)
    at_once = math.ceil(most / axis.width - _ROUNDED) if axis else 0
    return float(max(1, at_once, math.ceil(work.widest))), "use"


def _limited(amounts: dict[Fate, list[float]], room: float) -> dict[Fate, float]:
    """Claims of which it is not known when the command ran take no more than what was free; pilots claim ahead."""
    free = [room] * max((len(values) for values in amounts.values()), default=0)
    seconds = {}
    for fate in sorted(amounts, key=lambda fate: (not fate.certain, fate is Fate.LOST)):
        if not fate.certain:
            amounts[fate] = [min(amount, left) for amount, left in zip(amounts[fate], free, strict=True)]
            seconds[fate] = sum(amounts[fate])
        free = [max(0.0, left - amount) for left, amount in zip(free, amounts[fate], strict=True)]
    return seconds


def figures(summary: Summary) -> dict[str, Any]:
    """The report as numbers and strings, for JSON; times are unix seconds, sizes bytes, parts between 0 and 1."""
    tally, axis, seconds = summary.tally, summary.axis, summary.seconds
    useful = seconds[Fate.DONE]
    return {
        "tokens": {**{str(state): tally.states[state] for state in State}, "total": sum(tally.states.values())},
        "attempts": {**{str(fate): summary.counts[fate] for fate in Fate}, "without_times": tally.untimed},
        "first_start": axis and round(axis.first, 3),
        "last_end": axis and round(axis.last, 3),
        "wall_time": axis and round(axis.last - axis.first, 3),
        "busy": summary.busy,
        "efficiency": _part(useful / summary.offered if summary.offered > 0 else None),
        "core_hours": {
            "offered": _hours(summary.offered),
            "useful": _hours(useful),
            "running": _hours(seconds[Fate.RUNNING]),
            "wasted": _hours(sum(seconds[fate] for fate in WASTED)),
            "wasted_by": {str(fate): _hours(seconds[fate]) for fate in WASTED},
        },
        "throughput": throughput(summary),
        "runtime": tally.runtimes.told(),
        "max_rss": tally.sizes.told(),
        "slowest": [
            {
                "id": one.token,
                "runtime": round(one.seconds or 0.0, 4),
                "hostname": one.hostname,
                "pilot": one.pilot,
            }
            for one in tally.slowest
        ],
        "failures": failures(summary),
        "hosts": hosts(summary),
        "pilots": [_pilot(share) for share in summary.shares],
    }


def throughput(summary: Summary) -> dict[str, Any]:
    """Tokens done per second: the mean, the most, and how it went."""
    axis, done, failed = summary.axis, summary.ended(Fate.DONE), summary.ended(Fate.FAILED)
    if axis is None:
        return {"mean": None, "most": None, "over": None, "series": []}
    busy = summary.along([fate for fate in Fate if fate is not Fate.LOST])
    series = [
        {
            "start": axis.start + place * axis.width,
            "done": round(done[place]),
            "not_done": round(failed[place]),
            "busy_cores": round(busy[place], 3),
        }
        for place in range(axis.count)
    ]
    wall = axis.last - axis.first
    mean = float(f"{sum(done) / wall:.4g}") if wall > 0 else None
    most, over = _best(done, axis.width, wall)
    return {"mean": mean, "most": float(f"{most:.4g}"), "over": over, "series": series}


def _best(done: list[float], width: float, wall: float) -> tuple[float, float]:
    """The most per second over a part of the time, and how long that is: a second at least, where there was one."""
    size = min(len(done), max(-(-len(done) // _PEAKS), math.ceil(1 / width)))
    over = max(min(size * width, wall), 1e-3)
    return max(sum(done[place : place + size]) for place in range(len(done) - size + 1)) / over, over


def failures(summary: Summary) -> list[dict[str, Any]]:
    """Ways in which attempts failed, the most frequent first."""
    found = sorted(summary.tally.failures.items(), key=lambda item: (-item[1].count, item[0]))
    return [
        {
            "reason": reason,
            "exit_code": code,
            "hostname": hostname,
            "attempts": failure.count,
            "tokens_in_error": failure.in_error,
            "examples": failure.examples,
        }
        for (reason, code, hostname), failure in found
    ]


def hosts(summary: Summary) -> list[dict[str, Any]]:
    """A row for each host, by name."""
    return [
        {
            "hostname": name,
            **_counts(host.counts),
            "core_hours": _hours(host.seconds),
            "median_runtime": host.runtimes.told()["median"],
        }
        for name, host in sorted(summary.tally.hosts.items())
    ]


def _pilot(share: Share) -> dict[str, Any]:
    work = share.work
    return {
        "id": work.pilot if work.named else None,
        "hostname": work.hostname,
        "cores": share.cores,
        "cores_known_from": share.known,
        "first_start": round(share.first, 3) if share.last else None,
        "last_end": round(share.last, 3) if share.last else None,
        **_counts(work.counts),
        "core_hours": _hours(share.used),
        "busy": share.busy,
    }


def _counts(counts: Counter[Fate]) -> dict[str, int]:
    return {str(fate): counts[fate] for fate in Fate}


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 6)


def _part(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
