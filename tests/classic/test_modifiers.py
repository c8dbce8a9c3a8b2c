"""The PiCaS contract for token modifiers."""

from __future__ import annotations

import inspect
import socket
import time
from typing import Any

import pytest

from picas.documents import Task
from picas.modifiers import BasicTokenModifier, NestedTokenModifier, TokenModifier

NOW = 1_700_000_000
VERBS = ("lock", "unlock", "close", "unclose", "add_output", "scrub", "set_error")


@pytest.fixture(autouse=True)
def in_batch_job_7(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 0.7)
    for name in ("DIRACJOBID", "GLITE_WMS_JOBID", "CREAM_JOBID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PBS_JOBID", "7")


@pytest.fixture(params=[dict, Task], ids=["dict", "Task"])
def token(request: pytest.FixtureRequest) -> Any:
    return request.param({"_id": "t", "lock": 5, "done": 5, "pbs_job_id": "6"})


@pytest.mark.parametrize(
    ("verb", "changed"),
    [
        ("lock", {"lock": NOW, "done": 5, "hostname": socket.gethostname(), "pbs_job_id": "7"}),
        ("unlock", {"lock": 0, "done": 5, "hostname": socket.gethostname(), "pbs_job_id": None}),
        ("close", {"lock": 5, "done": NOW, "pbs_job_id": "6"}),
        ("unclose", {"lock": 5, "done": 0, "pbs_job_id": None}),
        ("scrub", {"lock": 0, "done": 5, "scrub_count": 1, "pbs_job_id": None}),
        ("set_error", {"lock": 99, "done": 99}),
    ],
)
def test_basic_verbs(token: Any, verb: str, changed: dict[str, Any]) -> None:
    assert getattr(BasicTokenModifier(), verb)(token) is token
    fields = token.value if isinstance(token, Task) else token
    assert {name: fields.get(name) for name in changed} == changed


def test_basic_scrub_counts(token: Any) -> None:
    modifier = BasicTokenModifier()
    assert modifier.scrub(modifier.scrub(token))["scrub_count"] == 2


def test_basic_add_output_sets_fields_of_the_token(token: Any) -> None:
    assert BasicTokenModifier().add_output(token, {"output": "x", "token": 1}) is token
    assert (token["output"], token["token"], token["lock"]) == ("x", 1, 5)


@pytest.mark.parametrize("ref", ["a", ["name", "a"], ["name", "deep", "b"]])
@pytest.mark.parametrize("verb", VERBS)
def test_nested_verbs_do_the_same_inside_a_record_and_give_the_record(ref: Any, verb: str) -> None:
    record: dict[str, Any] = {"a": {"lock": 5, "done": 5}, "deep": {"b": {"lock": 5, "done": 5}}, "other": 1}
    extra = [{"out": 1}] if verb == "add_output" else []
    expected = getattr(BasicTokenModifier(), verb)({"lock": 5, "done": 5}, *extra)
    modifier = NestedTokenModifier()
    assert getattr(modifier, verb)(ref, record, *extra) is record
    assert modifier.get_token(ref, record) == expected
    untouched = record["a"] if "deep" in ref else record["deep"]["b"]
    assert (untouched, record["other"]) == ({"lock": 5, "done": 5}, 1)


def test_nested_with_only_the_records_own_name_modifies_the_record() -> None:
    record: dict[str, Any] = {"lock": 0}
    assert NestedTokenModifier().set_error(["name"], record) == {"lock": 99, "done": 99}


def test_nested_where_nothing_is_there() -> None:
    with pytest.raises(KeyError):
        NestedTokenModifier().lock("a", {})


@pytest.mark.parametrize("verb", VERBS)
def test_the_base_class_only_has_the_names(verb: str) -> None:
    with pytest.raises(NotImplementedError, match=verb):
        getattr(TokenModifier(), verb)("anything", at="all")


def test_timeout_and_keyword_names() -> None:
    assert TokenModifier().timeout == NestedTokenModifier().timeout == 86400
    assert NestedTokenModifier(timeout=5).timeout == 5
    assert list(inspect.signature(BasicTokenModifier().add_output).parameters) == ["token", "output"]
    assert list(inspect.signature(NestedTokenModifier().add_output).parameters) == ["ref", "record", "output"]
