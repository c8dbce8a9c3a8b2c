"""The report in words: lines of text that can be pasted into a mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from picas.lifecycle import State
from picas.reports.attempts import Fate
from picas.reports.words import duration, instant, number, part, plain, size, wide

__all__ = ["story"]

_ROWS = 10
_BARS = " ▁▂▃▄▅▆▇█"
_BARS_WIDE = 60


def story(report: Mapping[str, Any], *, bars: bool = True) -> Iterator[str]:
    """Lines that tell a report, as made by `figures`; ``bars`` where block characters can be shown."""
    tokens = report["tokens"]
    states = ", ".join(f"{tokens[str(state)]:,} {state}" for state in State if tokens[str(state)])
    yield f"pool        {report['pool']}"
    yield f"tokens      {tokens['total']:,}" + (f": {states}" if states else "")
    if report["first_start"] is None:
        yield "nothing has run yet" if not report["attempts"]["without_times"] else "no attempt says when it ran"
    else:
        yield from _totals(report, bars=bars)
    yield from _details(report)


def _totals(report: Mapping[str, Any], *, bars: bool) -> Iterator[str]:
    hours, flow = report["core_hours"], report["throughput"]
    counts = report["attempts"]
    attempts = ", ".join(f"{counts[str(fate)]:,} {fate}" for fate in Fate if counts[str(fate)])
    yield f"attempts    {attempts}"
    yield (
        f"time        {duration(report['wall_time'])}, "
        f"from {instant(report['first_start'])} to {instant(report['last_end'])}"
    )
    if flow["mean"] is not None:
        best = f"at best {number(flow['most'])}/s over {duration(flow['over'])}"
        yield f"throughput  {number(flow['mean'])} done/s; {best}"
    if bars and flow["series"]:
        yield f"            {_bars([one['done'] for one in flow['series']])}  done"
        yield f"            {_bars([one['busy_cores'] for one in flow['series']])}  busy cores"
    parts = f"{part(report['busy'])} busy, {part(report['efficiency'])} useful"
    yield f"core time   {_hours(hours['offered'])} offered, {parts}"
    wasted = ", ".join(f"{_hours(amount)} {fate}" for fate, amount in hours["wasted_by"].items() if amount)
    yield f"            {_hours(hours['useful'])} useful, {_hours(hours['wasted'])} wasted" + (
        f" ({wasted})" if wasted else ""
    )
    for name, spread, said in (("runtime", report["runtime"], duration), ("memory", report["max_rss"], size)):
        if spread["count"]:
            yield f"{name:<12}" + ", ".join(
                f"{figure} {said(spread[figure])}" for figure in ("min", "median", "mean", "p95", "max")
            )


def _details(report: Mapping[str, Any]) -> Iterator[str]:
    slowest = [[one["id"], duration(one["runtime"]), one["hostname"]] for one in report["slowest"][:5]]
    yield from _table("slowest", "token, runtime, host", slowest)
    failures = [[*_failure(one), " ".join(one["examples"][:3])] for one in report["failures"]]
    yield from _table("failures", "reason, exit code, host, attempts, in error, such as", failures)
    hosts = [
        [one["hostname"], *_done(one), _hours(one["core_hours"]), duration(one["median_runtime"])]
        for one in report["hosts"]
    ]
    yield from _table("hosts", "host, done, other, core time, median runtime", hosts)
    pilots = [
        [
            one["id"] or f"on {one['hostname'] or 'an unknown host'}",
            _cores(one),
            *_done(one),
            _hours(one["core_hours"]),
            part(one["busy"]),
        ]
        for one in report["pilots"]
    ]
    yield from _table("pilots", "pilot, cores, done, other, core time, busy", pilots)


def _failure(one: Mapping[str, Any]) -> list[object]:
    return [one["reason"], one["exit_code"], one["hostname"], one["attempts"], one["tokens_in_error"]]


def _done(one: Mapping[str, Any]) -> tuple[int, int]:
    """Attempts that did their work, and all others."""
    return one[str(Fate.DONE)], sum(one[str(fate)] for fate in Fate if fate is not Fate.DONE)


def _cores(pilot: Mapping[str, Any]) -> str:
    return f"{pilot['cores']:g}" + ("+" if pilot["cores_known_from"] == "use" else "")


def _hours(hours: float) -> str:
    """Core time; in core hours from one on."""
    return f"{number(hours)} core h" if hours >= 1 else f"{duration(hours * 3600)}"


def _table(title: str, heads: str, rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """The first rows under their heads, columns aligned, numbers to the right."""
    if not rows:
        return
    head = heads.split(", ")
    cells = [[plain(str(cell)) or "-" for cell in row] for row in rows[:_ROWS]]
    widths = [max(len(name), *(wide(row[place]) for row in cells)) for place, name in enumerate(head)]
    right = [isinstance(cell, int) for cell in rows[0]]
    yield ""
    yield title
    for line in (head, *cells):
        yield (
            "  "
            + "  ".join(
                f"{' ' * (width - wide(cell))}{cell}" if to_right else f"{cell}{' ' * (width - wide(cell))}"
                for cell, width, to_right in zip(line, widths, right, strict=True)
            ).rstrip()
        )
    if len(rows) > _ROWS:
        yield f"  and {len(rows) - _ROWS:,} more: -o json has all"


def _bars(values: Sequence[float]) -> str:
    """Heights of a row of values, as characters."""
    step = max(1, -(-len(values) // _BARS_WIDE))
    sums = [sum(values[place : place + step]) for place in range(0, len(values), step)]
    most = max(sums) or 1.0
    return "".join(_BARS[-(-int(value * 8000 / most) // 1000)] for value in sums)
