"""Changing a pool by the API, as programs do: with the token in each request, and JSON for all, errors too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.cli import Cli
from support.pilots import until
from support.web import Answer, Web, serving, states


@pytest.fixture(scope="module")
def picas(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A folder with a pool."""
    cli = Cli(tmp_path_factory.mktemp("deeds"))
    cli.ok("init")
    return cli


@pytest.fixture(scope="module")
def web(picas: Cli) -> Iterator[Web]:
    """The page, where the pool may be changed."""
    with serving(picas, "--write") as web:
        yield web


@pytest.fixture(autouse=True)
def _a_fresh_pool(picas: Cli) -> Iterator[None]:
    docs = [{"_id": f"t{n}", "command": ["false" if n < 2 else "true"], "n": n} for n in range(4)]
    picas.ok("add", "--jsonl", "-", stdin="\n".join(map(json.dumps, docs)))
    picas.ok("run", "--max-tasks", "2")
    yield
    picas.ok("delete", "--all", "--yes")


def send(web: Web, path: str, given: Any) -> Answer:
    """One call."""
    headers = {"Authorization": f"Bearer {web.token}", "Content-Type": "application/json"}
    return web.ask(
        "POST", f"/api/v1/{path}", headers, given if isinstance(given, bytes) else json.dumps(given).encode()
    )


def ask(web: Web, path: str) -> Answer:
    """One question."""
    return web.ask("GET", f"/api/v1/{path}", {"Authorization": f"Bearer {web.token}"})


def test_tokens_are_changed_by_a_query(web: Web, picas: Cli) -> None:
    answer = send(web, "change", {"verb": "reset", "view": "error", "expect": 2})

    assert answer.status == 200, answer
    told = answer.json
    assert (told["phase"], told["tokens"], told["told"]) == ("over", 2, "2 put back to todo")
    assert told["outcome"] == {"ended": 2, "pending": 0, "skipped": 0, "conflicts": 0, "moved": 0, "gone": 0}
    assert set(states(picas).values()) == {"todo"}


def test_not_as_many_as_expected_is_a_conflict(web: Web, picas: Cli) -> None:
    answer = send(web, "change", {"verb": "delete", "everything": True, "expect": 3})

    assert answer.status == 409
    assert "4 tokens match, and not 3" in answer.json["error"]["message"]
    assert len(states(picas)) == 4


def test_a_change_can_wait_to_be_agreed_to(web: Web, picas: Cli) -> None:
    told = send(web, "change", {"verb": "priority", "priority": 4, "ids": ["t2", "t3", "none"], "wait": True}).json
    assert (told["phase"], told["tokens"], told["states"]) == ("asking", 2, {"todo": 2})
    assert "priority" not in json.loads(picas.ok("show", "t2").out)

    told = send(web, "change/do", {"key": told["key"]}).json
    assert (told["phase"], told["outcome"]["ended"]) == ("over", 2)
    assert json.loads(picas.ok("show", "t2").out)["priority"] == 4
    assert ask(web, f"change?key={told['key']}").json == told
    assert send(web, "change/stop", {"key": told["key"]}).json == told


def test_long_changes_are_answered_early_and_can_be_stopped(web: Web, picas: Cli) -> None:
    picas.ok("add", "--range", "1-30000", "--", "true")
    told = send(web, "change", {"verb": "hold", "view": "todo", "wait": True}).json
    key = told["key"]
    until("they are found", lambda: ask(web, f"change?key={key}").json["phase"] == "asking")
    answers: list[Answer] = []
    until("it is begun", lambda: answers.append(send(web, "change/do", {"key": key})) or True)
    if answers[0].status == 202:
        assert send(web, "change/stop", {"key": key}).json["phase"] == "stopped"
        held = sum(state == "held" for state in states(picas).values())
        assert 0 < held < 30002
        until("it goes on", lambda: send(web, "change/do", {"key": key}).json["phase"] == "over", 60.0)
    assert ask(web, f"change?key={key}").json["outcome"]["ended"] == 30002


def test_the_pool_is_paused_and_goes_on(web: Web, picas: Cli) -> None:
    assert send(web, "pool/pause", {"why": "ö <b>"}).json["paused"]["why"] == "ö <b>"
    assert json.loads(picas.ok("status", "-o", "json").out)["paused"]["why"] == "ö <b>"
    assert send(web, "pool/resume", {}).json == {"paused": None}


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("change", b"", 400),
        ("change", b"{", 400),
        ("change", b"[" * 100_000, 400),
        ("change", b"\xff", 400),
        ("change", [], 400),
        ("change", {"verb": "reset"}, 400),
        ("change", {"verb": "explode", "everything": True}, 400),
        ("change", {"verb": "reset", "everything": True, "view": "error"}, 400),
        ("change", {"verb": "reset", "everything": 1}, 400),
        ("change", {"verb": "reset", "ids": ["t1", 2]}, 400),
        ("change", {"verb": "reset", "ids": ["\ud800"]}, 400),
        ("change", {"verb": "reset", "ids": [""]}, 400),
        ("change", {"verb": "reset", "view": "\x00"}, 400),
        ("change", {"verb": "reset", "where": "(("}, 400),
        ("change", {"verb": "reset", "nonsense": 1}, 400),
        ("change", {"verb": "priority", "everything": True}, 400),
        ("change", {"verb": "priority", "priority": 10**12, "everything": True}, 400),
        ("change", {"verb": "priority", "priority": True, "everything": True}, 400),
        ("change", {"verb": "reset", "group": "none"}, 404),
        ("change/do", {}, 404),
        ("change/do", {"key": "none"}, 404),
        ("change/stop", {"key": 1}, 400),
        ("pool/pause", {"why": "x" * 501}, 400),
        ("pool/resume", {"why": "x"}, 400),
        ("pilots/order", {"orders": "drain"}, 400),
        ("pilots/order", {"orders": "drain", "pilots": ["p"], "everything": True}, 400),
        ("pilots/order", {"orders": "explode", "pilots": ["p"]}, 400),
        ("pilots/order", {"orders": "stop", "pilots": ["none"]}, 404),
        ("nothing", {}, 404),
        ("pool", {}, 405),
    ],
)
def test_what_makes_no_sense_is_told_as_json(web: Web, picas: Cli, path: str, given: Any, status: int) -> None:
    before = states(picas)

    answer = send(web, path, given)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer
    assert answer.json["error"]["message"]
    assert states(picas) == before


def test_ids_that_no_store_knows_are_told_as_none(web: Web) -> None:
    for name in ("\x00", "a/b", "x" * 5000, "_design/x", "🦜"):
        told = send(web, "change", {"verb": "delete", "ids": [name]})
        assert told.status in (200, 400), (name, told)
        assert told.status == 400 or told.json["tokens"] == 0


def test_it_is_all_described_and_only_where_it_is_there(web: Web, picas: Cli) -> None:
    paths = ask(web, "openapi.json").json["paths"]
    assert {path for path, calls in paths.items() if "post" in calls} == {
        f"/api/v1/{name}"
        for name in ("change", "change/do", "change/stop", "pool/pause", "pool/resume", "pilots/order")
    }
    with serving(picas) as plain:
        paths = plain.get("/api/v1/openapi.json").json["paths"]
        assert not [path for path, calls in paths.items() if "post" in calls or "change" in path]
        same = {"Sec-Fetch-Site": "same-origin"}
        assert plain.ask("POST", "/api/v1/change", same, b'{"verb": "delete", "everything": true}').status == 404
    assert len(states(picas)) == 4


def test_without_the_token_nothing_is_taken(web: Web, picas: Cli) -> None:
    body = json.dumps({"verb": "delete", "everything": True}).encode()
    for headers, status in (
        ({}, 403),
        ({"Authorization": "Bearer wrong-wrong-wrong-wrong"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 401),
        ({"Authorization": f"Bearer {web.token}", "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        assert web.ask("POST", "/api/v1/change", headers, body).status == status, headers
    assert len(states(picas)) == 4
