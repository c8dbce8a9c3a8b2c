"""Sums in little memory: how far they are from the values themselves."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas.reports.sketch import BINS, Load, Quantiles

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do much else meanwhile."""


@BUSY
@given(st.lists(st.floats(1e-6, 1e12), min_size=1), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_quantiles_are_within_a_hundredth(values: list[float], part: float) -> None:
    sketch = Quantiles()
    for value in values:
        sketch.add(value)
    rank = next(number for number in range(len(values)) if number + 1 >= part * len(values))
    assert sketch.at(part) == pytest.approx(sorted(values)[rank], rel=0.011)
    assert (sketch.told()["count"], sketch.told()["max"]) == (len(values), max(values))


def test_of_nothing_there_is_no_median() -> None:
    assert Quantiles().told()["median"] is None


_TIMES = st.floats(1e8, 4e9) | st.floats(1.7e9, 1.7e9 + 100)
_SPANS = st.lists(st.tuples(_TIMES, _TIMES, st.integers(1, 8)), min_size=1, max_size=30)


@BUSY
@given(_SPANS)
def test_loads_are_the_exact_integral_of_each_stretch(drawn: list[tuple[float, float, int]]) -> None:
    spans = [(min(a, b), max(a, b), level) for a, b, level in drawn]
    load = Load()
    for start, end, level in spans:
        load.add(start, end, level)
    first, last = min(start for start, _, _ in spans), max(end for _, end, _ in spans)
    number = int(first // load.width)
    count = int(last // load.width) - number + 1
    assert count <= BINS
    assert (load.begin, load.end) == (first, last)
    found = load.amounts(load.width, number, count)
    for place, amount in enumerate(found):
        low, high = (number + place) * load.width, (number + place + 1) * load.width
        wanted = sum(level * max(0.0, min(end, high) - max(start, low)) for start, end, level in spans)
        assert amount == pytest.approx(wanted, rel=1e-6, abs=1e-5 * load.width + 1e-4)


@BUSY
@given(st.lists(st.floats(1.7e9, 1.7e9 + 1e5), min_size=1, max_size=50))
def test_no_event_is_lost_when_stretches_are_put_together(times: list[float]) -> None:
    load = Load()
    for at in times:
        load.hit(at)
    width = load.width * 4
    number = int(min(times) // width)
    found = load.amounts(width, number, int(max(times) // width) - number + 1)
    assert sum(found) == len(times)
    assert found[-1] == sum(int(at // width) == number + len(found) - 1 for at in times)
