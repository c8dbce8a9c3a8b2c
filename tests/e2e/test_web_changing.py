"""Changing tokens from the page: agreed to first, done as agreed, by the same deeds as the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from picas.web.app import PLACES
from support.cli import Cli
from support.pilots import until
from support.web import Answer, Web, serving, states

OURS = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def picas(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A folder for pools."""
    cli = Cli(tmp_path_factory.mktemp("changing"))
    cli.ok("init")
    return cli


@pytest.fixture(scope="module")
def web(picas: Cli) -> Iterator[Web]:
    """The page, logged in."""
    with serving(picas, "--write") as web:
        web.log_in()
        yield web


@pytest.fixture(autouse=True)
def _a_fresh_pool(picas: Cli) -> Iterator[None]:
    """Six tokens: three that failed, one done, two that wait."""
    docs = [{"_id": f"bad{n}", "command": ["false"]} for n in range(3)] + [{"_id": "good", "command": ["true"]}]
    picas.ok("add", "--jsonl", "-", stdin="\n".join(map(json.dumps, docs)))
    picas.ok("run")
    docs = [{"_id": f"waits{n}", "command": ["true"], "tags": {"n": str(n)}} for n in range(2)]
    picas.ok("add", "--jsonl", "-", stdin="\n".join(map(json.dumps, docs)))
    yield
    picas.ok("delete", "--all", "--yes")


def post(web: Web, path: str, **given: object) -> Answer:
    """Send a form as our page does."""
    return web.ask("POST", path, OURS, urlencode(given, doseq=True).encode())


def begun(web: Web, **given: object) -> tuple[str, str]:
    """Begin a change; its key and its page, once it is known which tokens are meant."""
    answer = post(web, "/change", **given)
    assert answer.status == 303, answer
    path = answer.headers["location"]
    until("it is known", lambda: 'data-phase="looking"' not in web.get(path).text)
    return path.partition("key=")[2], web.get(path).text


def done(web: Web, key: str) -> str:
    """Agree to a change; its page when it is over."""
    assert post(web, "/change/do", key=key).status == 303
    path = f"/change?key={key}"
    until("it is over", lambda: 'data-phase="doing"' not in web.get(path).text)
    return web.get(path).text


def test_nothing_is_done_before_it_is_agreed_to(web: Web, picas: Cli) -> None:
    before = states(picas)

    key, page = begun(web, verb="delete", scope="match", view="error")

    assert "Delete 3 tokens?" in page
    assert "There is no way back" in page
    assert "view error" in page
    assert states(picas) == before
    assert "3 deleted" in done(web, key)
    assert {name for name, state in states(picas).items() if state == "error"} == set()
    assert len(states(picas)) == 3


def test_what_was_ticked_is_reset(web: Web, picas: Cli) -> None:
    key, page = begun(web, verb="reset", scope="ticked", id=["bad0", "bad2", "waits0"], shown=["bad0", "bad1", "bad2"])

    assert "Reset 2 tokens?" in page
    assert "1 of them were there already" in page
    page = done(web, key)
    assert "2 put back to todo; 1 were there already" in page
    found = states(picas)
    assert (found["bad0"], found["bad1"], found["bad2"]) == ("todo", "error", "todo")


def test_all_of_the_page_are_cancelled(web: Web, picas: Cli) -> None:
    key, page = begun(web, verb="cancel", scope="shown", shown=["waits0", "waits1"], id=["bad1"])

    assert "Cancel 2 tokens?" in page
    assert "2 cancelled" in done(web, key)
    assert states(picas)["waits1"] == "error"


def test_a_group_of_failures_is_reset(web: Web, picas: Cli) -> None:
    groups: list[dict] = []

    def are_found() -> bool:
        groups[:] = web.get("/api/v1/failures").json["groups"]
        return [group["tokens"] for group in groups] == [3]

    until("the failures are known", are_found)
    page = web.get(f"/tokens?group={groups[0]['key']}").text
    assert f'name="group" value="{groups[0]["key"]}"' in page
    key, page = begun(web, verb="reset", scope="match", group=groups[0]["key"])
    assert "Reset 3 tokens?" in page
    assert "3 put back to todo" in done(web, key)
    assert states(picas)["bad1"] == "todo"


def test_tokens_are_given_a_priority(web: Web, picas: Cli) -> None:
    key, page = begun(web, verb="priority", priority="-3", scope="match", tag="n=1")

    assert "Give 1 token priority -3?" in page
    assert "1 given that priority" in done(web, key)
    assert json.loads(picas.ok("show", "waits1").out)["priority"] == -3


def test_what_changed_since_it_was_agreed_to_is_left_and_told(web: Web, picas: Cli) -> None:
    key, page = begun(web, verb="delete", scope="match", view="error")
    assert "Delete 3 tokens?" in page
    picas.ok("reset", "bad0")
    picas.ok("delete", "bad1", "--yes")

    page = done(web, key)

    assert "1 deleted" in page
    assert "1 had changed since you were asked, and was left" in page
    assert 'href="/token?id=bad0"' in page
    assert "1 was not there any more" in page
    assert states(picas)["bad0"] == "todo"


def test_done_twice_is_done_once(web: Web, picas: Cli) -> None:
    key, _ = begun(web, verb="reset", scope="ticked", id="bad0")
    done(web, key)
    picas.ok("run")

    assert "1 put back" in done(web, key)
    assert states(picas)["bad0"] == "error"


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"verb": "explode", "id": "bad0"}, 400, "verb &#39;explode&#39; is not known"),
        ({"verb": "reset"}, 400, "no tokens were chosen"),
        ({"verb": "reset", "scope": "universe", "id": "bad0"}, 400, "is not known"),
        ({"verb": "priority", "priority": "high", "id": "bad0"}, 400, "not a whole number"),
        ({"verb": "priority", "id": "bad0"}, 400, "not a whole number"),
        ({"verb": "reset", "scope": "match", "where": "((("}, 400, ""),
        ({"verb": "reset", "scope": "match", "group": "none"}, 404, "no token fails in that way any more"),
    ],
)
def test_what_makes_no_sense_is_said(web: Web, given: dict[str, str], status: int, said: str) -> None:
    answer = post(web, "/change", **given)

    assert (answer.status, said in answer.text) == (status, True), answer.text
    assert "Traceback" not in answer.text


def test_nothing_is_left_to_do(web: Web) -> None:
    _, page = begun(web, verb="cancel", scope="match", view="done")
    assert "There is nothing to do" in page
    assert "1 had ended already" in page
    _, page = begun(web, verb="reset", scope="match", text="nothing like it")
    assert "No token matches any more" in page


def test_an_unknown_change_is_none(web: Web) -> None:
    for answer in (web.ask("GET", "/change?key=x"), post(web, "/change/do", key="x"), post(web, "/change/stop")):
        assert answer.status == 404
        assert "Traceback" not in answer.text


def test_the_page_of_a_token_has_what_can_be_done_to_it(web: Web) -> None:
    page = web.get("/token?id=good").text
    assert ('value="reset"' in page, 'value="cancel"' in page, 'value="delete"' in page) == (True, False, True)
    page = web.get("/token?id=waits0").text
    assert ('value="reset"' in page, 'value="cancel"' in page, 'value="hold"' in page) == (False, True, True)
    key, page = begun(web, verb="hold", id="waits0", **{"from": "token"})
    assert "Hold 1 token?" in page
    assert 'href="/token?id=waits0"' in page
    assert "1 held" in done(web, key)


def test_without_write_nothing_of_it_is_there(picas: Cli) -> None:
    with serving(picas) as plain:
        for path in ("/tokens", "/token?id=bad0", "/"):
            assert "/change" not in plain.get(path).text
        for place in PLACES:
            if place.writes:
                assert plain.ask(place.method, place.path, OURS).status in (404, 405), place
    assert states(picas)["bad0"] == "error"


def test_the_pool_is_paused_and_goes_on(web: Web, picas: Cli) -> None:
    page = web.get("/pool/pause").text
    assert "Pause the pool?" in page
    assert "/pool/pause" in web.get("/").text
    assert json.loads(picas.ok("status", "-o", "json").out)["paused"] is None

    assert post(web, "/pool/pause", why="the disk <is> full").status == 303
    assert json.loads(picas.ok("status", "-o", "json").out)["paused"]["why"] == "the disk <is> full"
    assert "the disk &lt;is&gt; full" in web.get("/pool/pause").text
    until("the overview says so", lambda: "the disk &lt;is&gt; full" in web.get("/").text)
    assert post(web, "/pool/pause", why="x" * 501).status == 400

    assert post(web, "/pool/resume").status == 303
    assert json.loads(picas.ok("status", "-o", "json").out)["paused"] is None


def test_pilots_are_told_to_end(web: Web, picas: Cli) -> None:
    assert "No pilot is alive" in web.get("/pilots/order?orders=drain").text
    assert post(web, "/pilots/order", orders="drain").status == 404
    argv = picas.argv(["run", "--lease", "1.5s", "--idle", "1m"])
    pilot = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.DEVNULL)
    try:
        until("it is there", lambda: web.get("/api/v1/pilots").json["pilots"])
        name = web.get("/api/v1/pilots").json["pilots"][0]["id"]
        page = web.get(f"/pilots/order?orders=drain&pilot={name}").text
        assert "Drain 1 pilot?" in page
        assert name in page
        assert pilot.poll() is None
        assert post(web, "/pilots/order", orders="explode", pilot=name).status == 400
        assert post(web, "/pilots/order", orders="drain", pilot=name).status == 303
        assert pilot.wait(30.0) == 0
    finally:
        pilot.kill()
        pilot.wait()
