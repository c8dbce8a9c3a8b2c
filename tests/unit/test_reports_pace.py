"""The pace of a pool, and what is said of its end."""

from __future__ import annotations

import math

import pytest

from picas.reports.pace import Estimate, Pace, estimate

COUNTS = {"todo": 80, "locked": 20, "done": 0, "error": 0, "held": 7}


def watched(*ended: tuple[float, int, int]) -> Pace:
    """A pace from looks: the time, how many were done, how many had failed."""
    pace = Pace()
    for at, done, error in ended:
        pace.look({"done": done, "error": error}, at)
    return pace


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = watched((0, 0, 0), (30, 600, 0), (60, 660, 0), (90, 720, 30), (120, 780, 60))

    assert (pace.ended, pace.seconds) == (180, 60)
    assert pace.rate == pytest.approx(3.0)


def test_tokens_that_were_reset_have_ended_all_the_same() -> None:
    pace = watched((0, 100, 50), (10, 110, 0), (20, 120, 5))

    assert pace.ended == 25


def test_there_is_no_rate_at_the_first_look() -> None:
    assert watched((0, 5, 5)).rate is None
    assert Pace().rate is None


def test_an_estimate_has_two_ends_which_lie_closer_together_the_more_has_ended() -> None:
    few = estimate(COUNTS, watched((0, 0, 0), (60, 16, 0)), pilots=1, is_paused=False)
    many = estimate(COUNTS, watched((0, 0, 0), (60, 1600, 0)), pilots=1, is_paused=False)

    assert few.left == many.left == 100
    assert few.soonest == pytest.approx(100 / (16 / 60 * 1.5))
    assert few.latest == pytest.approx(100 / (16 / 60 * 0.5))
    assert many.latest is not None
    assert many.soonest is not None
    assert many.latest / many.soonest < 1.11


def test_of_very_few_only_the_sooner_end_is_known() -> None:
    assert estimate(COUNTS, watched((0, 0, 0), (60, 4, 1)), pilots=1, is_paused=False).latest == math.inf


@pytest.mark.parametrize(
    ("pace", "pilots", "is_paused", "why"),
    [
        (watched((0, 0, 0), (60, 90, 0)), 3, True, "the pool is paused"),
        (watched((0, 0, 0), (60, 90, 0)), 0, False, ""),
        (watched((0, 0, 0), (5, 90, 0)), 3, False, "it has not been watched for long enough"),
        (watched((0, 0, 0), (60, 0, 0)), 3, False, "no token ended in the last 60 s"),
        (watched((0, 0, 0), (60, 1, 0)), 3, False, "1 token ended in the last 60 s"),
    ],
)
def test_it_says_why_it_does_not_know(pace: Pace, pilots: int, is_paused: bool, why: str) -> None:
    told = estimate(COUNTS, pace, pilots=pilots, is_paused=is_paused)

    assert told.why == why
    assert (told.soonest is None) == bool(why)


def test_without_pilots_and_running_tokens_there_is_no_end() -> None:
    told = estimate({**COUNTS, "locked": 0}, watched((0, 0, 0), (60, 90, 0)), pilots=0, is_paused=False)

    assert told.why == "no pilot is alive"


def test_when_nothing_is_left_that_is_said() -> None:
    counts = {**COUNTS, "todo": 0, "locked": 0}

    assert estimate(counts, watched((0, 0, 0)), pilots=0, is_paused=True) == Estimate(
        left=0, rate=None, why="nothing is left to do"
    )
