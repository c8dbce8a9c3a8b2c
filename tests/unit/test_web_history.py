"""The curve of the page: from counts as they are taken, and from documents for what was before."""

from __future__ import annotations

from typing import Any

import pytest

from picas.web.history import History

BEGIN = 1_700_000_000.0


def counts(done: int, error: int = 0) -> dict[str, int]:
    return {"held": 0, "todo": 5, "locked": 1, "done": done, "error": error}


def amount(series: dict[str, list[Any]], state: str, last: float) -> float:
    """How many ended in all, by a series: rates times lengths."""
    ends = [*series["at"][1:], last]
    return sum((rate or 0.0) * (end - at) for at, end, rate in zip(series["at"], ends, series[state], strict=True))


def test_nothing_is_known_before_the_first_look() -> None:
    assert History().recent() == History().whole() == {"at": [], "done": [], "error": []}


def test_both_curves_have_all_that_ended() -> None:
    history = History()
    for second in range(0, 601, 2):
        history.look(counts(second * 3, second // 2), BEGIN + second)

    for series in (history.recent(), history.whole()):
        assert amount(series, "done", BEGIN + 600) == pytest.approx(1800, rel=0.03)
        assert amount(series, "error", BEGIN + 600) == pytest.approx(300, rel=0.03)
        assert 10 <= len(series["at"]) <= 250
        assert series["at"] == sorted(series["at"])


def test_what_was_reset_is_no_negative_rate() -> None:
    history = History()
    for second, error in enumerate((10, 10, 0, 0, 4)):
        history.look(counts(0, error), BEGIN + second)

    assert all(rate is None or rate >= 0 for rate in history.whole()["error"])
    assert amount(history.whole(), "error", BEGIN + 4) == pytest.approx(4, abs=0.5)


def test_the_recent_curve_forgets_and_the_whole_one_does_not() -> None:
    history = History()
    for second in range(0, 7201, 10):
        history.look(counts(second), BEGIN + second)

    assert history.recent()["at"][0] >= BEGIN + 7200 - 920
    assert history.whole()["at"][0] == BEGIN
    assert amount(history.whole(), "done", BEGIN + 7200) == pytest.approx(7200, rel=0.03)


def test_documents_tell_what_ended_before_and_nothing_twice() -> None:
    history = History()
    history.look(counts(3), BEGIN)
    history.look(counts(4), BEGIN + 10)
    token = {"type": "token", "lock": 1, "exit_code": 0}
    ended = [BEGIN - 1000, BEGIN - 500, BEGIN - 1, BEGIN + 5, 99]
    history.remember([{**token, "_id": str(at), "done": at} for at in ended])

    assert history.whole()["at"][0] == pytest.approx(BEGIN - 1000, abs=1)
    assert amount(history.whole(), "done", BEGIN + 10) == pytest.approx(4, rel=0.05)


def test_a_clock_that_goes_back_is_passed_over() -> None:
    history = History()
    history.look(counts(0), BEGIN)
    history.look(counts(5), BEGIN - 3)
    history.look(counts(6), BEGIN + 3)

    assert amount(history.whole(), "done", BEGIN + 3) == pytest.approx(6, rel=0.05)
