"""The picture of what slots did: a row for each pilot, a lane for each slot, blocks for attempts. Sizes, no markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from picas.reports.attempts import Attempt, Fate
from picas.reports.dense import strip
from picas.reports.lanes import Lanes, Placed, Span, TooManyLanes, place, runs
from picas.reports.rows import columns_of, shortest_drawn
from picas.reports.words import duration
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot

__all__ = ["MOST_BLOCKS", "WIDTH", "Block", "Gantt", "Row", "drawn"]

WIDTH = 1000.0
MOST_BLOCKS = 1_500
"""Attempts drawn one by one; shorter ones are put together with their neighbours."""
_MOST_ROWS, _MOST_LANES = 24, 384
_NARROWEST = 2.5
_COLUMNS = 400
_LENGTHS = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
_STEPS = ((8, 10.0), (24, 6.0), (64, 4.0), (_MOST_LANES, 2.5))
"""Up to so many lanes, how far apart they are."""
_PARTS = 4


@dataclass(frozen=True, kw_only=True)
class Block:
    """One attempt: where it is, and what is told of it."""

    x: float
    y: float
    width: float
    height: float
    fate: Fate
    token: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pilot, from ``x`` on there for ``width``: its lanes, blocks in them, and shapes of what is too short for one.

    ``told`` says in words what there is to see.
    """

    pilot: str
    hostname: str
    is_there: bool
    lanes: Sequence[float]
    lane_height: float
    height: float
    x: float
    width: float
    told: str
    blocks: Sequence[Block] = ()
    dense: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Gantt:
    """All rows; the axis ends ``at`` (unix seconds) and is ``length`` seconds long, with ``marks`` that many ago."""

    at: float
    length: float
    rows: Sequence[Row] = ()
    more: int = 0
    """Pilots that are not drawn."""
    fates: Sequence[Fate] = ()

    @property
    def marks(self) -> list[str]:
        """What stands along the axis, from its beginning, at equal distances."""
        return [duration(self.length * (_PARTS - part) / _PARTS) for part in range(_PARTS)]


@dataclass(kw_only=True)
class _Work:
    """What one pilot did, and when it is known to have been there."""

    pilot: str
    hostname: str = ""
    cores: float = 1.0
    first: float = math.inf
    last: float = -math.inf
    is_there: bool = False
    spans: list[Span] = field(default_factory=list)
    fates: dict[Fate, int] = field(default_factory=dict)


def drawn(attempts: Iterable[Attempt], pilots: Sequence[PilotRecord], now: float) -> Gantt:
    """The picture at a time, of as much of the hour before it as something was done in."""
    works = _works(attempts, pilots, now)
    first = min((work.first for work in works.values() if work.spans), default=now)
    length = next((length for length in _LENGTHS if length >= now - first), _LENGTHS[-1])
    begin = now - length
    chosen: list[tuple[_Work, Lanes]] = []
    left = _MOST_LANES
    for work in sorted(works.values(), key=_rank):
        lanes = _lanes(work, begin, left) if len(chosen) < _MOST_ROWS else None
        if lanes is not None:
            chosen.append((work, lanes))
            left -= lanes.count
    placed = [one for _, lanes in chosen for one in lanes.placed]
    least = max(_NARROWEST / WIDTH * length, shortest_drawn(placed, MOST_BLOCKS))
    rows = [_row(work, lanes, begin, length, least) for work, lanes in chosen]
    seen = {fate for work, _ in chosen for fate in work.fates}
    fates = [fate for fate in Fate if fate in seen]
    return Gantt(at=now, length=length, rows=rows, more=len(works) - len(rows), fates=fates)


def _works(attempts: Iterable[Attempt], pilots: Sequence[PilotRecord], now: float) -> dict[str, _Work]:
    works = {}
    for one in pilots:
        if not is_autopilot(one):
            end = now if one.alive else now - one.silent
            works[one.id] = _Work(
                pilot=one.id, hostname=one.hostname, cores=one.cores, first=one.started_at, last=end, is_there=one.alive
            )
    for attempt in attempts:
        if attempt.start is None or attempt.end is None:
            continue
        name = attempt.pilot or attempt.hostname or "unknown"
        work = works.setdefault(name, _Work(pilot=name, hostname=attempt.hostname))
        _add(work, attempt, attempt.start, attempt.end)
    return works


def _add(work: _Work, attempt: Attempt, start: float, end: float) -> None:
    note = " ".join(filter(None, (attempt.reason, attempt.exit_code))) if attempt.fate is Fate.FAILED else ""
    width = max(1, math.ceil(attempt.cores))
    work.spans.append(Span(token=attempt.token, start=start, end=end, width=width, fate=attempt.fate, note=note))
    work.fates[attempt.fate] = work.fates.get(attempt.fate, 0) + 1
    work.first, work.last = min(work.first, start), max(work.last, end)
    work.cores = max(work.cores, attempt.offered)


def _rank(work: _Work) -> tuple[bool, bool, float, str]:
    """Those that are there first, and of them those that did something; then those that were there last."""
    return not work.is_there, not work.spans, 0.0 if work.is_there else -work.last, work.pilot


def _lanes(work: _Work, begin: float, most: int) -> Lanes | None:
    """None when there are too many."""
    try:
        return place((span for span in work.spans if span.end > begin), math.ceil(work.cores), most)
    except TooManyLanes:
        return None


def _row(work: _Work, lanes: Lanes, begin: float, length: float, least: float) -> Row:
    step = next((step for most, step in _STEPS if lanes.count <= most), _STEPS[-1][1])
    long = [one for one in lanes.placed if one.end - one.start >= least]
    short = [one for one in lanes.placed if one.end - one.start < least and one.end > begin]
    x, until = _x(work.first, begin, length), _x(work.last, begin, length)
    return Row(
        pilot=work.pilot,
        hostname=work.hostname,
        is_there=work.is_there,
        lanes=[lane * step for lane in range(lanes.count)],
        lane_height=_height(step),
        height=lanes.count * step,
        x=x,
        width=round(max(1.0, until - x), 2),
        told=_told(work.fates, lanes.count),
        blocks=[block for one in long for block in _blocks(one, begin, length, step)],
        dense=_dense(short, begin, length, step),
    )


def _told(fates: Mapping[Fate, int], slots: int) -> str:
    said = ", ".join(f"{fates[fate]:,} {fate}" for fate in Fate if fates.get(fate))
    return f"{slots} slot{'s' * (slots != 1)}: {said or 'nothing'}"


def _blocks(one: Placed, begin: float, length: float, step: float) -> Iterator[Block]:
    """One for each run of neighbouring lanes, which is one most of the time."""
    x, until = _x(one.start, begin, length), _x(one.end, begin, length)
    span = one.span
    said = f"{span.fate}{f' ({span.note})' if span.note else ''}, {duration(span.end - span.start)}"
    for top, count in runs(one.lanes):
        yield Block(
            x=x,
            y=top * step,
            width=round(max(1.0, until - x - 0.6), 2),
            height=_height(step, count),
            fate=span.fate,
            token=span.token,
            title=f"{span.token}: {said}",
        )


def _height(step: float, count: int = 1) -> float:
    """Of so many lanes together, without what is left free before the next."""
    return count * step - (2.0 if step > 4 else 1.0 if step > 3 else 0.5)


def _dense(short: Sequence[Placed], begin: float, length: float, step: float) -> list[str]:
    """Shapes of what is put together. There is nothing in them but numbers and the names of fates."""
    edges = [WIDTH / _COLUMNS * column for column in range(_COLUMNS + 1)]
    found = sorted(columns_of(short, begin, length, _COLUMNS).items())
    return [path for lane, columns in found for path in strip(columns, edges, lane * step, _height(step))]


def _x(at: float, begin: float, length: float) -> float:
    return round(min(WIDTH, max(0.0, (at - begin) / length * WIDTH)), 2)
