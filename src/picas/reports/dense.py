"""Many attempts in little room: columns that are as full as the time they stand for was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from picas.reports.attempts import Fate
from picas.reports.svg import coordinate

__all__ = ["strip"]

_STEP = 0.5
"""Heights are rounded to this, so that equal neighbours are one shape."""
_LEAST = 1.0
"""The height of what is there, however little of it."""
_FROM_BELOW = (Fate.DONE, Fate.RUNNING)


def strip(
    columns: Mapping[int, Mapping[Fate, float]], edges: Sequence[float], y: float, height: float
) -> Iterator[str]:
    """A shape for each fate: what was done stands on the ground, what was of no use hangs from the top.

    ``columns`` say how much of each is filled, by number; ``edges`` where each begins and the last ends.
    """
    offsets: dict[tuple[bool, int], float] = {}
    for fate in Fate:
        below = fate in _FROM_BELOW
        tall = {
            number: min(height, max(_LEAST, round(filled[fate] * height / _STEP) * _STEP))
            for number, filled in columns.items()
            if filled.get(fate, 0.0) > 0
        }
        path = ""
        for first, count, size, offset in _runs(tall, offsets, below):
            top = y + height - offset - size if below else y + offset
            x, until = coordinate(edges[first]), coordinate(edges[first + count])
            path += f"M{x} {coordinate(top)}H{until}v{coordinate(size)}H{x}z"
        for number, size in tall.items():
            offsets[below, number] = offsets.get((below, number), 0.0) + size
        if path:
            yield f'<path class="{fate}" d="{path}"/>'


def _runs(
    tall: Mapping[int, float], offsets: Mapping[tuple[bool, int], float], below: bool
) -> Iterator[tuple[int, int, float, float]]:
    """Neighbouring columns of one height: the first, how many, the height, and how far from the edge they begin."""
    run: tuple[int, int, float, float] | None = None
    for number in sorted(tall):
        size, offset = tall[number], offsets.get((below, number), 0.0)
        if run and number == run[0] + run[1] and (size, offset) == run[2:]:
            run = (run[0], run[1] + 1, size, offset)
            continue
        if run:
            yield run
        run = (number, 1, size, offset)
    if run:
        yield run
