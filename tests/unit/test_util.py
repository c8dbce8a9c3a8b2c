from __future__ import annotations

import inspect
import time
from typing import Any

import pytest

from picas.util import Timer, merge_dicts, seconds, time_elapsed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A monotonic clock that stands still until a test sets ``clock[0]``."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_seconds_are_whole_unix_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.9)
    assert seconds() == 1_700_000_000
    assert type(seconds()) is int


def test_timer_measures_since_its_start(clock: list[float]) -> None:
    timer = Timer()
    clock[0] += 2.5
    assert timer.elapsed() == 2.5


def test_timer_reset_gives_what_had_elapsed_and_starts_again(clock: list[float]) -> None:
    timer = Timer()
    clock[0] += 2.5
    assert timer.reset() == 2.5
    assert timer.elapsed() == 0


def test_timer_ignores_the_wall_clock(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer()
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert timer.elapsed() == 0


@pytest.mark.parametrize(
    ("limits", "elapsed", "expected"),
    [({}, 30, False), ({}, 30.5, True), ({"max": 5}, 5, False), ({"max": 5}, 6, True)],
)
def test_time_elapsed_tells_whether_the_timer_is_over_its_limit(
    clock: list[float], limits: dict[str, Any], elapsed: float, expected: bool
) -> None:
    timer = Timer()
    clock[0] += elapsed
    assert time_elapsed(timer=timer, **limits) is expected


def test_merge_dicts_lets_the_second_win_and_changes_neither() -> None:
    first, second = {"a": 1, "b": 2}, {"a": 2, "c": 3}
    assert merge_dicts(first, second) == {"a": 2, "b": 2, "c": 3}
    assert (first, second) == ({"a": 1, "b": 2}, {"a": 2, "c": 3})


@pytest.mark.parametrize(("first", "second"), [({"a": 1}, {}), ({}, {"a": 1})])
def test_merge_dicts_with_an_empty_one(first: dict[str, Any], second: dict[str, Any]) -> None:
    merged = merge_dicts(first, second)
    assert merged == {"a": 1}
    assert merged is not first
    assert merged is not second


def test_merge_dicts_shares_nothing_with_the_defaults() -> None:
    defaults: dict[str, Any] = {"list": []}
    merge_dicts(defaults, {})["list"].append(1)
    assert defaults == {"list": []}


def test_keyword_names_are_those_that_programs_use() -> None:
    assert list(inspect.signature(time_elapsed).parameters) == ["timer", "max"]
    assert list(inspect.signature(merge_dicts).parameters) == ["dict1", "dict2"]
