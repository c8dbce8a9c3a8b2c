"""The timeline: a lane for each slot of each pilot, attempts in them, and above how many cores were busy. An SVG."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from picas.reports.attempts import WASTED, Fate
from picas.reports.dense import strip
from picas.reports.lanes import runs
from picas.reports.rows import Chart, Row, chart
from picas.reports.summary import Summary
from picas.reports.svg import coordinate, document, label, rectangle
from picas.reports.ticks import ticks
from picas.reports.words import duration, instant, number, part, shortened, wide

__all__ = ["WIDTH", "timeline"]

WIDTH = 1200
_RIGHT = 66
_CURVE_TOP, _CURVE = 100.0, 64.0
_TOP = _CURVE_TOP + _CURVE + 22
_GAP = 7.0
_NAME_LETTERS = 26
_LETTER = 6.6
"""About the width of a letter."""
_LEAST_INSIDE = 11.0
_SEEN = 0.1


def timeline(summary: Summary, name: str) -> Iterator[str]:
    """The picture, in pieces to be written one after the other; ``name`` is the pool's."""
    picture = _Picture(summary, chart(summary), name)
    return document(
        picture.parts(), width=WIDTH, height=picture.height, title=picture.title, description=picture.subtitle
    )


class _Picture:
    def __init__(self, summary: Summary, drawn: Chart, name: str) -> None:
        self._summary = summary
        self._chart = drawn
        letters = max((wide(shortened(row.name, _NAME_LETTERS)) for row in drawn.rows), default=0)
        self._left = min(200.0, max(104.0, 34.0 + _LETTER * letters))
        self._room = WIDTH - _RIGHT - self._left
        axis = summary.axis
        self._begin = axis.first if axis else 0.0
        self._length = max(axis.last - axis.first, 1e-3) if axis else 1.0
        self._columns = [self._x(at) for at in drawn.times]
        rows = sum(row.height + _GAP for row in drawn.rows)
        self._bottom = _TOP + rows
        self.height = round(self._bottom + 44 + (18 if drawn.remarks else 0)) if axis else 150
        busy = f": cores {part(summary.busy)} busy" if summary.busy is not None else ""
        self.title = f"{shortened(name, 60)}{busy}"
        self.subtitle = self._said()

    def parts(self) -> Iterator[str]:
        """Everything from top to bottom."""
        yield label(self.title, 20, 32, "head")
        yield label(self.subtitle, 20, 53, "soft")
        if self._summary.axis is None:
            yield label("Nothing has run yet.", 20, 100)
            return
        yield from self._legend()
        yield from self._axis()
        yield from self._curve()
        y = _TOP
        for row in self._chart.rows:
            yield from self._row(row, y)
            y += row.height + _GAP
        if self._chart.remarks:
            yield label("; ".join(self._chart.remarks), 20, self.height - 12, "small soft")

    def _said(self) -> str:
        summary, axis = self._summary, self._summary.axis
        states = [f"{count:,} {state}" for state, count in sorted(summary.tally.states.items()) if count]
        pilots = sum(share.work.named for share in summary.shares)
        said = f"{sum(summary.tally.states.values()):,} tokens: {', '.join(states)}" if states else "no tokens"
        said += f"  ·  {pilots:,} pilot{'s' * (pilots != 1)}" if pilots else ""
        if axis is None:
            return said
        hours = summary.seconds[Fate.DONE] / 3600
        useful = f"{number(hours)} useful core hours" if hours >= 1 else f"{duration(hours * 3600)} of useful core time"
        return f"{said}  ·  {duration(axis.last - axis.first)} from {instant(axis.first)}  ·  {useful}"

    def _legend(self) -> Iterator[str]:
        x = self._left
        for fate in Fate:
            if not self._summary.counts[fate]:
                continue
            said = f"{fate} {self._summary.counts[fate]:,}"
            yield rectangle(str(fate), x, 70, 14, 11)
            yield label(said, x + 19, 80)
            x += 19 + _LETTER * len(said) + 16
        yield f'<path class="offered" d="M{coordinate(x)} 75.5h20"/>'
        yield label("cores offered", x + 26, 80)

    def _axis(self) -> Iterator[str]:
        for at, said in ticks(self._length, 11):
            x = coordinate(self._left + at / self._length * self._room)
            yield f'<path class="tick" d="M{x} {coordinate(_CURVE_TOP)}V{coordinate(self._bottom)}"/>'
            yield label(said, float(x), self._bottom + 16, "soft", "middle")
        yield label("since the first start", self._left + self._room, self._bottom + 32, "small soft", "end")

    def _curve(self) -> Iterator[str]:
        """Busy cores, those of use first and the others upon them, and how many there were."""
        axis = self._summary.axis
        if axis is None:
            return
        offered = self._offered()
        top = max(*offered, 1.0)
        edges = [self._x(axis.start + place * axis.width) for place in range(axis.count + 1)]
        low, scale = _CURVE_TOP + _CURVE, _CURVE / top
        floor = [0.0] * axis.count
        for fate in (Fate.DONE, Fate.RUNNING, *(fate for fate in WASTED if fate is not Fate.LOST)):
            levels = self._summary.along([fate])
            if any(levels):
                above = [min(top, base + level) for base, level in zip(floor, levels, strict=True)]
                yield f'<path class="{fate}" d="{_area(edges, floor, above, low, scale)}"/>'
                floor = above
        yield f'<path class="offered" d="{_steps(edges, offered, low, scale)}"/>'
        yield label(number(top), self._left - 6, _CURVE_TOP + 9, "small soft", "end")
        yield label("0", self._left - 6, low, "small soft", "end")
        yield label("busy cores", 20, _CURVE_TOP + _CURVE / 2 + 4, "soft")
        yield label(part(self._summary.busy), WIDTH - 14, _CURVE_TOP + _CURVE / 2 + 4, "", "end")

    def _offered(self) -> list[float]:
        axis = self._summary.axis
        if axis is None:
            return []
        levels = [0.0] * axis.count
        for share in self._summary.shares:
            first, last = (int(at // axis.width) - axis.number for at in (share.first, share.last))
            if share.offered > 0:
                for place in range(max(0, first), min(axis.count, last + 1)):
                    levels[place] += share.cores
        return levels

    def _row(self, row: Row, y: float) -> Iterator[str]:
        middle = y + row.height / 2 + 4
        small = "small " if row.height < 14 else ""
        yield label(
            shortened(row.name, _NAME_LETTERS), self._left - 8, middle, small.strip(), "end", title=row.explained
        )
        yield label(part(row.busy), WIDTH - 14, middle, f"{small}soft", "end")
        for lane in range(row.lanes):
            yield rectangle("lane", self._left, y + lane * row.step, self._room, row.step - row.between)
        yield from self._blocks(row, y)
        for lane, columns in sorted(row.dense.items()):
            lane_y = y + lane * row.step
            yield from strip(columns, self._columns, lane_y, row.step - row.between)

    def _blocks(self, row: Row, y: float) -> Iterator[str]:
        for one in row.blocks:
            x, until = self._x(one.start), self._x(one.end)
            width = max(until - x, 0.5)
            width -= 0.4 if width > 3 else 0
            for top, lanes in runs(one.lanes):
                height = lanes * row.step - row.between
                look = str(one.fate)
                lane_y = y + top * row.step
                # What was of no use is lower too: a mark of one pixel shows no pattern.
                tall = height if one.fate in (Fate.DONE, Fate.RUNNING) else height * 0.6
                yield rectangle(look, x, lane_y, width, tall, one.title if width >= 2 else "")
                if (
                    self._chart.named
                    and one.fate is Fate.DONE
                    and height >= _LEAST_INSIDE
                    and width > _LETTER * (wide(one.name) + 2)
                ):
                    yield label(one.name, x + 6, lane_y + height / 2 + 4, "inside")

    def _x(self, at: float) -> float:
        return self._left + min(1.0, max(0.0, (at - self._begin) / self._length)) * self._room


def _area(edges: list[float], floor: list[float], above: list[float], low: float, scale: float) -> str:
    """What lies between two step lines, a rectangle for each stretch in which neither has a step."""
    levels = [
        (round(low - high * scale, 1), round(low - ground * scale, 1))
        for ground, high in zip(floor, above, strict=True)
    ]
    path = ""
    for (top, bottom), run in groupby(range(len(levels)), key=lambda place: levels[place]):
        if bottom - top >= _SEEN:
            places = list(run)
            x, until = coordinate(edges[places[0]]), coordinate(edges[places[-1] + 1])
            path += f"M{x} {coordinate(bottom)}V{coordinate(top)}H{until}V{coordinate(bottom)}z"
    return path


def _steps(edges: list[float], levels: list[float], low: float, scale: float) -> str:
    """A line with steps, from the ground and back to it."""
    path, before = f"M{coordinate(edges[0])} {coordinate(low)}", 0.0
    for x, level in zip(edges, levels, strict=False):
        if level != before:
            path += f"H{coordinate(x)}V{coordinate(low - level * scale)}"
            before = level
    return f"{path}H{coordinate(edges[-1])}V{coordinate(low)}"
