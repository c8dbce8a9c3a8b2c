"""When a pilot takes its node to be at fault: which failed starts make a row, and what breaks it."""

from __future__ import annotations

import pytest

from picas.lifecycle import Outcome, Reason
from picas.pilot.starts import Starts


def not_started(errno: str) -> Outcome:
    return Outcome(reason=Reason.START_FAILED, exit_code=127, attempt={"errno": errno})


def by_bash(code: int, runtime: float = 0.01) -> Outcome:
    return Outcome(reason=Reason.EXIT, exit_code=code, attempt={"runtime": runtime})


def fed(*ends: tuple[str, list[str], Outcome]) -> Starts:
    starts = Starts()
    for token_id, words, outcome in ends:
        assert not starts.ended(token_id, words, outcome)
    return starts


def bash(line: str) -> list[str]:
    return ["bash", "-c", line]


@pytest.mark.parametrize("errno", ["ENOENT", "EACCES", "ENOEXEC", "EPERM"])
def test_errors_that_a_command_has_anywhere_count_for_the_same_program(errno):
    same = fed(*[(token_id, ["prog", token_id], not_started(errno)) for token_id in "abc"])
    assert f"the last of token c (prog: {errno})" in same.why
    assert "this node, or with the command" in same.why
    assert not fed(*[(token_id, [f"prog-{token_id}"], not_started(errno)) for token_id in "abcdef"]).why


@pytest.mark.parametrize("errno", ["EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "EIO", "ENOSPC", "ESTALE", "EROFS"])
def test_errors_that_only_a_node_makes_count_for_any(errno):
    starts = fed(*[(token_id, [f"prog-{token_id}"], not_started(errno)) for token_id in "abc"])
    assert "this node is at fault" in starts.why


def test_what_bash_cannot_find_counts_when_it_says_so_at_once():
    assert fed(*[(token_id, bash(f"prog {token_id}"), by_bash(127)) for token_id in "abc"]).why
    assert not fed(*[(token_id, bash(f"prog {token_id}"), by_bash(127, 60.0)) for token_id in "abc"]).why
    assert not fed(*[(token_id, bash(f"prog {token_id}"), by_bash(1)) for token_id in "abc"]).why
    assert not fed(*[(token_id, ["prog"], by_bash(127)) for token_id in "abc"]).why


def test_any_that_starts_breaks_the_row():
    bad, failed = not_started("EAGAIN"), Outcome(exit_code=1)
    assert not fed(("a", ["x"], bad), ("b", ["x"], bad), ("c", ["x"], failed), ("d", ["x"], bad), ("e", ["x"], bad)).why


def test_after_it_no_failed_start_is_charged_but_other_failures_are():
    starts = fed(*[(token_id, ["prog"], not_started("ENOENT")) for token_id in "abc"])
    assert starts.ended("d", ["prog"], not_started("ENOENT"))
    assert starts.runner_died("e")
    assert not starts.ended("f", ["other"], Outcome(exit_code=1))
    assert starts.why


def test_the_same_token_again_is_no_row():
    starts = Starts()
    for _ in range(9):
        assert not starts.runner_died("t")
    assert not starts.why
    for token_id in "uv":
        assert not starts.runner_died(token_id)
    assert "3 starts in a row" in starts.why
