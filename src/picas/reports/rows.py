"""What is drawn for each pilot: blocks in lanes, and where they are too many, how full each stretch was."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from picas.reports.attempts import Fate
from picas.reports.lanes import Lanes, Placed, TooManyLanes, place
from picas.reports.summary import Axis, Share, Summary
from picas.reports.words import duration, part

__all__ = ["MOST_BLOCKS", "Block", "Chart", "Columns", "Row", "chart", "columns_of", "shortest_drawn"]

MOST_BLOCKS = 12_000
"""Attempts drawn one by one; shorter ones beyond that are put together."""
_MOST_LANES = 256
_MOST_ROWS = 60
_COLUMNS = 940
_MOST_COLUMNS = 40_000
"""Columns in all lanes together, which bounds the size of the file."""
_NARROWEST = 1.2 / _COLUMNS
"""Of the axis; what is shorter is put together with its neighbours."""
_MOST_NAMED = 80
_ROOM = 620.0
_LEAST_ROW = 12.0

Columns = dict[int, dict[Fate, float]]
"""By the number of a column, how much of it is filled with what."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One attempt as it is drawn."""

    name: str
    title: tuple[str, ...]
    fate: Fate
    start: float
    end: float
    lanes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pilot: its lanes, ``step`` apart with ``between`` left free, what is in them, and what stands beside."""

    name: str
    explained: tuple[str, ...]
    busy: float | None
    lanes: int
    step: float
    between: float
    blocks: Sequence[Block] = ()
    dense: dict[int, Columns] = field(default_factory=dict)

    @property
    def height(self) -> float:
        """From the top of the first lane to the end of the last."""
        return max(_LEAST_ROW, self.lanes * self.step - self.between)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """All rows. Columns of what is dense begin and end at these ``times``; ``remarks`` say what is not to be seen."""

    rows: list[Row]
    times: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def named(self) -> bool:
        """Whether attempts are so few that their tokens' names can stand in them."""
        return sum(len(row.blocks) for row in self.rows) <= _MOST_NAMED


def chart(summary: Summary) -> Chart:
    """Lanes when attempts are known one by one and lanes are not too many; else a strip for each pilot."""
    if summary.axis is None:
        return Chart(rows=[])
    if summary.tally.has_spans and len(summary.shares) <= _MOST_ROWS:
        try:
            return _in_lanes(summary, summary.axis)
        except TooManyLanes:
            pass
    return _in_strips(summary, summary.axis)


def _in_lanes(summary: Summary, axis: Axis) -> Chart:
    every: list[tuple[Share, Lanes]] = []
    left = _MOST_LANES
    for share in summary.shares:
        every.append((share, place(share.work.spans, math.ceil(share.cores), left)))
        left -= every[-1][1].count
    count = _MOST_LANES - left
    length = max(axis.last - axis.first, 1e-3)
    placed = [one for _, lanes in every for one in lanes.placed]
    least = max(_NARROWEST * length, shortest_drawn(placed, MOST_BLOCKS))
    columns = min(_COLUMNS, _MOST_COLUMNS // count)
    step = min(20.0, max(4.0, _ROOM / count))
    between = 2.0 if step >= 9 else 1.0
    rows = []
    for share, lanes in every:
        blocks = [_block(one, share) for one in lanes.placed if _lasts(one) >= least]
        short = [one for one in lanes.placed if _lasts(one) < least]
        dense = columns_of(short, axis.first, length, columns)
        rows.append(_row(share, lanes=lanes.count, step=step, between=between, blocks=blocks, dense=dense))
    without = sum(len(lanes.without) for _, lanes in every)
    remarks = [f"{without:,} claims that had not begun, as far as can be told, are not drawn"] if without else []
    times = [axis.first + place * length / columns for place in range(columns + 1)]
    return Chart(rows=rows, times=times, remarks=remarks)


def _lasts(one: Placed) -> float:
    return one.end - one.start


def shortest_drawn(placed: Sequence[Placed], most: int) -> float:
    """How long an attempt must be to be among the longest, of which no more than so many are drawn one by one."""
    if len(placed) <= most:
        return 0.0
    # A little more than what is the first too many, since many may be equally long.
    return heapq.nlargest(most + 1, map(_lasts, placed))[-1] * (1 + 1e-9) + 1e-9


def _block(one: Placed, share: Share) -> Block:
    span = one.span
    said = str(span.fate) + (f" ({span.note})" if span.note else "")
    said += f", {duration(span.end - span.start)}" + (f", {span.width} slots" if span.width > 1 else "")
    title = (span.token, said, share.work.pilot)
    return Block(name=span.token, title=title, fate=span.fate, start=one.start, end=one.end, lanes=one.lanes)


def columns_of(short: Iterable[Placed], first: float, length: float, columns: int) -> dict[int, Columns]:
    """By lane, how full each of so many columns of an axis is of attempts that are too short to be drawn."""
    found: dict[int, Columns] = {}
    width = length / columns
    for one in short:
        for lane in one.lanes:
            filled = found.setdefault(lane, {})
            start, end = (one.start - first) / width, (one.end - first) / width
            for number in range(max(0, int(start)), min(columns - 1, int(end)) + 1):
                amounts = filled.setdefault(number, {})
                covered = max(0.0, min(end, number + 1) - max(start, number))
                amounts[one.span.fate] = amounts.get(one.span.fate, 0.0) + covered
    return found


def _in_strips(summary: Summary, axis: Axis) -> Chart:
    shown = summary.shares if len(summary.shares) <= _MOST_ROWS else summary.shares[: _MOST_ROWS - 1]
    rest = summary.shares[len(shown) :]
    step = min(40.0, max(14.0, _ROOM / (len(shown) + bool(rest))))
    rows = [_strip_row(share, _columns([share], axis), step) for share in shown]
    if rest:
        offered = sum(share.offered for share in rest)
        busy = min(1.0, sum(share.used for share in rest) / offered) if offered else None
        name = f"{len(rest):,} more pilots"
        filled = {0: _columns(rest, axis)}
        row = Row(name=name, explained=(), busy=busy, lanes=1, step=step, between=0.0, dense=filled)
        rows.append(row)
    remarks = ["a strip for each pilot: its height is all of the pilot's cores"]
    times = [axis.start + place * axis.width for place in range(axis.count + 1)]
    return Chart(rows=rows, times=times, remarks=remarks)


def _columns(shares: Sequence[Share], axis: Axis) -> Columns:
    """How full the stretches of the axis were, of all the cores of these pilots."""
    room = sum(share.cores for share in shares) * axis.width
    columns: Columns = {}
    for share in shares:
        for fate, amounts in share.amounts.items():
            for number, amount in enumerate(amounts):
                if amount > 0:
                    filled = columns.setdefault(number, {})
                    filled[fate] = filled.get(fate, 0.0) + amount / room
    return columns


def _strip_row(share: Share, columns: Columns, step: float) -> Row:
    return _row(share, lanes=1, step=step, between=0.0, blocks=(), dense={0: columns})


def _row(
    share: Share, *, lanes: int, step: float, between: float, blocks: Sequence[Block], dense: dict[int, Columns]
) -> Row:
    counts: Counter[Fate] = share.work.counts
    said = ", ".join(f"{counts[fate]:,} {fate}" for fate in Fate if counts[fate])
    cores = f"{share.cores:g} core{'s' * (share.cores != 1)}" + (" or more" if share.known == "use" else "")
    explained = (share.work.pilot, f"on {share.work.hostname}, {cores}, {part(share.busy)} busy", said)
    return Row(
        name=share.work.pilot,
        explained=explained,
        busy=share.busy,
        lanes=lanes,
        step=step,
        between=between,
        blocks=blocks,
        dense=dense,
    )
