from __future__ import annotations

import functools
import traceback
from typing import Any

import pytest

from picas.errors import InvalidToken, TokenFailed, UsageError
from picas.futures import Ids
from picas.lifecycle import Claimant, settle
from picas.pilot import calls
from picas.tokens import Requirements, requirements
from support.functions import add, square, unlucky

ME = Claimant(pilot="p1", hostname="node1")
LOCKED = {"_id": "t", "type": "token", "lock": 5, "done": 0, "fence": 1, "claim": {"fence": 1, "pilot": "p1", "at": 5}}


def made(function: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The token of a call after it was made."""
    doc = {**LOCKED, **calls.token("f", args, kwargs)}
    value, error = None, None
    try:
        value = calls.invoke({"f": function}, doc)
    except Exception as problem:  # noqa: BLE001
        error = problem
    outcome = calls.judge(doc, ME, value, error, span=(5.0, 0.1), max_scrub=0, jitter=0.5)
    return settle(doc, outcome, 6.0)


def test_a_call_is_written_down_as_json() -> None:
    assert calls.token("square", (3,), {})["input"] == 3
    assert calls.token("add", (1, 2), {"c": 3})["arguments"] == {"args": [1, 2], "kwargs": {"c": 3}}


@pytest.mark.parametrize(("function", "args", "kwargs", "value"), [(square, (3,), {}, 9), (add, (1, 2), {"c": 3}, 6)])
def test_what_it_returns_comes_back(function: Any, args: Any, kwargs: Any, value: Any) -> None:
    assert calls.result(made(function, *args, **kwargs), "t") == value


def test_a_pilot_for_commands_does_not_offer_what_a_call_needs_nor_the_other_way_round() -> None:
    call, command = requirements(calls.token("square", (1,), {})), requirements({"command": "true"})
    mine = calls.offer({"square": square}, 10.0, 1e9)
    assert call.within(mine)
    assert not requirements(calls.token("cube", (1,), {})).within(mine)
    assert not command.within(mine)
    assert not call.within(Requirements(cores=64, memory=1e12, gpus=8, time=1e9))


def test_an_exception_of_python_comes_back_as_itself_with_the_traceback_of_where_it_was_raised() -> None:
    with pytest.raises(ValueError, match=r"^13 is unlucky$") as caught:
        calls.result(made(unlucky, 13), "t")
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise ValueError(f"{x} is unlucky")' in shown
    assert "calls.invoke" not in shown


class Special(Exception):
    """One that only the program knows."""


def special(x: int) -> int:
    raise Special(f"\x00\ud800 {x}")


def encoded(x: int) -> str:
    return str(b"\xff".decode())


@pytest.mark.parametrize(
    ("function", "words"), [(special, r"Special: \\x00\\ud800 1"), (encoded, "UnicodeDecodeError: 'utf-8' codec")]
)
def test_any_other_is_told_in_words(function: Any, words: str) -> None:
    with pytest.raises(TokenFailed, match=words):
        calls.result(made(function, 1), "t")


def test_a_name_of_a_class_in_the_pool_is_never_looked_up_elsewhere() -> None:
    doc = {**made(unlucky, 13)}
    doc["attempts"] = [{**doc["attempts"][0], "exception": "exit"}]
    with pytest.raises(TokenFailed):
        calls.result(doc, "t")
    doc["attempts"] = [{**doc["attempts"][0], "exception": "os.system"}]
    with pytest.raises(TokenFailed):
        calls.result(doc, "t")


def test_a_call_of_a_function_that_was_not_given_is_not_made() -> None:
    with pytest.raises(InvalidToken, match="was not given"):
        calls.invoke({"square": square}, {"_id": "t", "function": "os.system", "input": "true"})


@pytest.mark.parametrize("value", [{1, 2}, (1, 2), [object()], {"a": float("nan")}, {1: 2}, 2**60, "a\x00b"])
def test_a_result_that_is_no_json_is_an_error_of_the_call(value: Any) -> None:
    doc = made(lambda _: value, 1)
    with pytest.raises(TokenFailed, match=r"InvalidToken: .*output"):
        calls.result(doc, "t")


def test_a_result_is_what_it_was_when_the_function_returned() -> None:
    kept: list[int] = []

    def growing(x: int) -> list[int]:
        kept.append(x)
        return kept

    first = calls.invoke({"f": growing}, {"_id": "a", "function": "f", "input": 1})
    calls.invoke({"f": growing}, {"_id": "b", "function": "f", "input": 2})
    assert first == [1]


@pytest.mark.parametrize("function", [lambda x: x, functools.partial(add, 1), 7])
def test_a_function_without_a_name_is_refused(function: Any) -> None:
    with pytest.raises(UsageError, match="name"):
        calls.name_of(function)


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two of one name"):
        calls.named([square, square])


def test_without_a_key_each_call_is_a_new_one() -> None:
    ids = Ids(None, "f"), Ids(None, "f")
    found = [one.new(calls.token("f", (1,), {})) for one in ids for _ in range(3)]
    assert len(set(found)) == 6


def test_with_a_key_the_same_calls_have_the_same_ids() -> None:
    inputs = [1, 2, 1, {"a": 1, "b": [2]}, 1.0]
    runs = [[Ids("k", "f")] for _ in range(2)]
    found = [[ids.new(calls.token("f", (item,), {})) for item in inputs] for (ids,) in runs]
    assert found[0] == found[1]
    assert len(set(found[0])) == 5
    other = Ids("k", "g")
    assert other.new(calls.token("g", (1,), {})) not in found[0]


def test_a_key_may_be_the_programs_own() -> None:
    ids = Ids(lambda item: f"n{item}", "f")
    assert ids.new(calls.token("f", (7,), {})) == "f-n7"
    with pytest.raises(InvalidToken):
        Ids(lambda item: "\n", "f").new(calls.token("f", (7,), {}))
