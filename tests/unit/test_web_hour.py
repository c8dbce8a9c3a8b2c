"""The last hour of attempts, from tokens seen at any time, in any order, and more than once."""

from __future__ import annotations

from typing import Any

from picas.lifecycle import Doc
from picas.reports.attempts import Fate
from picas.web import hour
from picas.web.hour import HOUR, Hour

NOW = 1_800_000_000.0


def ended(name: str, *, end: float = NOW - 5, took: float = 10.0, code: int = 0, fence: int = 1) -> Doc:
    attempt = {
        "fence": fence, "pilot": "p1", "hostname": "node1", "start": end - took, "end": end, "runtime": took,
        "reason": "exit", "exit_code": code,
    }  # fmt: skip
    return {
        "_id": name, "type": "token", "lock": int(end - took), "done": int(end), "exit_code": code, "fence": fence,
        "reason": "exit", "attempts": [attempt],
    }  # fmt: skip


def held(name: str, *, pilot: str = "p1", since: float = NOW - 3, fence: int = 1) -> Doc:
    claim = {"fence": fence, "pilot": pilot, "at": since}
    return {"_id": name, "type": "token", "lock": since, "done": 0, "fence": fence, "claim": claim, "hostname": "node1"}


def known(one: Hour) -> list[tuple[str, Fate]]:
    return [(attempt.token, attempt.fate) for attempt in one.attempts()]


def test_an_attempt_counts_once_however_often_its_token_is_seen() -> None:
    one = Hour()
    for _ in range(3):
        one.take([ended("a"), ended("b", code=2)], NOW)
    assert known(one) == [("a", Fate.DONE), ("b", Fate.FAILED)]


def test_what_ended_before_this_hour_is_forgotten() -> None:
    one = Hour()
    one.take([ended("old", end=NOW - HOUR - 1), ended("new")], NOW)
    assert known(one) == [("new", Fate.DONE)]
    one.take([], NOW + HOUR)
    assert known(one) == []


def test_tokens_whose_claim_is_over_are_asked_for_once() -> None:
    one = Hour()
    assert one.hold([held("a"), held("b"), held("c")], NOW) == []
    assert one.hold([held("b"), held("c", fence=2)], NOW + 2) == ["a", "c"]
    assert one.hold([held("b"), held("c", fence=2)], NOW + 4) == []


def test_what_runs_is_as_it_was_seen_last_and_by_pilot_the_longest_first() -> None:
    one = Hour()
    one.hold([held("a"), held("b", since=NOW - 9), held("c", pilot="p2")], NOW)
    assert one.held == {"p1": ["b", "a"], "p2": ["c"]}
    one.hold([held("c", pilot="p2")], NOW + 2)
    assert one.held == {"p2": ["c"]}
    assert known(one) == [("c", Fate.RUNNING)]


def test_earlier_attempts_of_a_token_that_runs_again_are_known_too() -> None:
    one = Hour()
    again: dict[str, Any] = {**held("a", fence=2), "attempts": ended("a", code=1)["attempts"]}
    one.hold([again], NOW)
    assert known(one) == [("a", Fate.FAILED), ("a", Fate.RUNNING)]


def test_of_too_many_those_that_ended_first_are_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(hour, "MOST_ATTEMPTS", 2)
    one = Hour()
    one.take([ended("a", end=NOW - 9), ended("b", end=NOW - 30)], NOW)
    assert not one.is_cut
    one.take([ended("c", end=NOW - 20)], NOW)
    assert (one.is_cut, {token for token, _ in known(one)}) == (True, {"a", "c"})
