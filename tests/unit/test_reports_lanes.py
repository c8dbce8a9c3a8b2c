"""Attempts in lanes: none overlaps another of its lane, and a wide one has as many lanes as it took slots."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picas.reports.attempts import Fate
from picas.reports.lanes import Lanes, Span, TooManyLanes, place

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do much else meanwhile."""


def span(name: str, start: float, end: float, width: int = 1, fate: Fate = Fate.DONE) -> Span:
    return Span(token=name, start=start, end=end, width=width, fate=fate)


_LENGTHS = st.one_of(st.integers(0, 40), st.floats(0, 40, allow_nan=False))
_SPANS = st.lists(
    st.tuples(_LENGTHS, _LENGTHS, st.integers(1, 5), st.sampled_from(Fate)).map(
        lambda drawn: span("t", 1e9 + drawn[0], 1e9 + drawn[0] + drawn[1], drawn[2], drawn[3])
    ),
    max_size=40,
)


def in_lane(lanes: Lanes, lane: int) -> list[tuple[float, float]]:
    return sorted((one.start, one.end) for one in lanes.placed if lane in one.lanes)


@BUSY
@given(spans=_SPANS, cores=st.integers(0, 6))
def test_no_two_overlap_and_wide_ones_have_their_lanes(spans: list[Span], cores: int) -> None:
    lanes = place(spans, cores)
    assert len(lanes.placed) + len(lanes.without) == len(spans)
    assert all(not one.fate.certain for one in lanes.without)
    for one in lanes.placed:
        assert len(set(one.lanes)) == one.span.width
        assert all(0 <= lane < lanes.count for lane in one.lanes)
        assert one.start <= one.end
        assert not one.span.fate.certain or one.start - one.span.start <= 0.0021
    for lane in range(lanes.count):
        there = in_lane(lanes, lane)
        assert all(before[1] <= after[0] for before, after in pairwise(there))


@BUSY
@given(spans=_SPANS)
def test_no_more_lanes_than_slots_were_taken_at_one_time(spans: list[Span]) -> None:
    certain = [one for one in spans if one.fate.certain]
    at_once = max(
        (sum(one.width for one in certain if one.start <= at.start <= one.end) for at in certain),
        default=0,
    )
    assert place(certain, 0).count <= at_once


def test_short_commands_one_after_the_other_share_a_lane_though_their_times_are_rounded() -> None:
    spans = [span(f"t{number}", 1e9 + number * 0.1, 1e9 + number * 0.1 + 0.101) for number in range(50)]
    assert place(spans).count == 1


def test_a_wide_one_gets_neighbouring_lanes_where_there_are_some() -> None:
    lanes = place([span("a", 0, 2), span("b", 1, 9), span("c", 1.1, 2), span("d", 1.2, 2), span("w", 3, 5, 2)], 4)
    (wide,) = [one for one in lanes.placed if one.span.token == "w"]
    assert wide.lanes == (2, 3)


def test_what_was_claimed_ahead_and_lost_takes_no_lane_that_was_busy() -> None:
    ran = [span("a", 0, 10), span("b", 0, 12)]
    lost = [span(f"l{number}", 5, 60, fate=Fate.LOST) for number in range(5)]
    lanes = place([*ran, *lost], 2)
    assert lanes.count == 2
    assert sorted(one.start for one in lanes.placed) == [0, 0, 10, 12]
    assert len(lanes.without) == 3


def test_too_many_lanes_are_refused() -> None:
    with pytest.raises(TooManyLanes):
        place([span(f"t{number}", 0, 9) for number in range(5)], most=4)
    with pytest.raises(TooManyLanes):
        place([], 5, most=4)
