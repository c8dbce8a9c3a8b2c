"""What ``picas web`` shows of pools on every store, to people and programs, and when the store is away."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import pytest

from support.cli import Cli
from support.couchdb_server import CouchServer
from support.door import Door
from support.fault_proxy import FaultProxy
from support.pilots import until
from support.postgres_proxy import PostgresProxy
from support.postgres_server import PostgresServer
from support.web import Web, serving

WORK = """if (( {i} % 4 == 0 )); then echo opening part {i} >&2
    echo "ValueError: no column {i} in part {i}" >&2; exit 3; fi
    printf '\\033[32mfine\\033[0m %s\\n' {i}"""


def fill(picas: Cli) -> None:
    """Twenty tokens that ended, five of them badly, and seven that wait."""
    picas.ok("add", "--range", "1-20", "--", "bash", "-c", WORK)
    picas.ok("run", "--cores", "2")
    picas.ok("add", "--range", "101-107", "--", "true")


def counted(page: str) -> dict[str, int]:
    """The counts on the overview."""
    found = re.findall(r'data-count="(\w+)">([0-9,]+)<', page)
    return {state: int(count.replace(",", "")) for state, count in found}


def status(picas: Cli) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(picas.ok("status", "-o", "json").out)
    return answer


def test_the_overview_agrees_with_the_command_line(picas: Cli) -> None:
    fill(picas)
    picas.ok("view", "add", "High", "--where", "i>100")
    with serving(picas) as web:
        page = web.get("/").text
        assert counted(page) == status(picas)["counts"]
        assert "ValueError: no column # in part #" in page
        assert "the end is not known" not in page
        assert "no pilot is alive" in page
        until("the view groups are counted", lambda: "High" in web.get("/live/overview").text)

        picas.ok("run", "--cores", "2")

        until("it is renewed", lambda: counted(web.get("/live/overview").text) == status(picas)["counts"])
        picas.ok("pool", "pause", "--why", "<b>moving</b>")
        until("the pause is told", lambda: "&lt;b&gt;moving&lt;/b&gt;" in web.get("/live/overview").text)
        picas.ok("pool", "resume")


def test_failed_tokens_are_found_by_what_they_have_in_common(picas: Cli) -> None:
    fill(picas)
    failed = set(picas.ok("ls", "error", "-o", "id").out.split())
    with serving(picas) as web:
        [group] = web.get("/api/v1/failures").json["groups"]
        assert (group["tokens"], group["reason"], group["exit_code"]) == (5, "exit", "3")
        assert group["line"] == "ValueError: no column # in part #"
        link = f"/tokens?group={group['key']}"
        assert link in web.get("/").text
        assert set(ids_in(web.get(link).text)) == failed
        assert web.ask("GET", "/tokens?group=none").status == 404

        page = web.get(f"/token?{urlencode({'id': group['examples'][0]})}").text
        assert "its command exited with 3" in page
        assert "opening part" in page


def ids_in(page: str) -> list[str]:
    """The tokens in a table."""
    return re.findall(r'<a class="id" href="/token\?id=([^"&]+)"', page)


def test_the_table_has_every_token_once(picas: Cli) -> None:
    fill(picas)
    everything = picas.ok("ls", "-o", "id").out.split()
    with serving(picas) as web:
        assert sorted(pages(web, limit="10")) == sorted(everything)
        assert sorted(pages(web, limit="4", view="todo")) == sorted(picas.ok("ls", "todo", "-o", "id").out.split())
        wanted = picas.ok("ls", "--where", "i>15", "-o", "id").out.split()
        assert sorted(pages(web, limit="3", where="i>15")) == sorted(wanted)
        assert len(pages(web, text="exit 3", limit="6")) == 20
        # What cannot be read is said, with what would be right.
        answer = web.ask("GET", "/tokens?where=i%3E")
        assert (answer.status, "expected a value" in answer.text) == (400, True)
        assert web.ask("GET", "/tokens?after=elsewhere").status == 400


def pages(web: Web, **given: str) -> list[str]:
    """Ids on all pages of the API, which the page's are as well."""
    seen: list[str] = []
    after = ""
    while True:
        answer = web.get(f"/api/v1/tokens?{urlencode({**given, **({'after': after} if after else {})})}").json
        page = web.get(f"/tokens?{urlencode({**given, 'after': after})}").text
        assert ids_in(page) == [row["id"] for row in answer["tokens"]]
        seen += ids_in(page)
        after = answer["next"]
        if not after:
            return seen


def test_a_token_is_shown_with_what_it_wrote(picas: Cli) -> None:
    fill(picas)
    token_id = picas.ok("ls", "done", "--limit", "1", "-o", "id").out.strip()
    with serving(picas) as web:
        page = web.get(f"/token?id={token_id}").text
        assert '<span class="ansi-green">fine</span>' in page
        assert "\x1b" not in page
        answer = web.get(f"/api/v1/file?id={token_id}&name=logs_{token_id}.out")
        assert answer.body.startswith(b"\x1b[32mfine\x1b[0m ")
        document = web.get(f"/api/v1/token?id={token_id}").json
        shown = json.loads(picas.ok("show", token_id).out)
        assert {"picas": 1, **document} == shown
        assert f"{token_id} is done" in web.get(f"/api/v1/explain?id={token_id}").json["lines"]
        assert web.ask("GET", "/token?id=nobody").status == 404


def test_programs_get_figures_and_a_description(picas: Cli) -> None:
    fill(picas)
    with serving(picas) as web:
        counts = status(picas)["counts"]
        assert web.get("/api/v1/pool").json["counts"] == counts
        assert web.get("/healthz").json == {"status": "ok"}
        metrics = web.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        for state, count in counts.items():
            assert f'picas_tokens{{state="{state}"}} {float(count)}\n' in metrics.text
        described = web.get("/api/v1/openapi.json").json
        for path, operation in described["paths"].items():
            needed = {one["name"]: "x" for one in operation["get"]["parameters"] if one["required"]}
            answer = web.ask("GET", f"{path}?{urlencode(needed)}")
            assert str(answer.status) in operation["get"]["responses"], (path, answer)
        assert web.ask("GET", "/api/v1/tokens?colour=red").status == 400
        assert web.ask("GET", "/api/v1/nothing").json["error"]["message"]


@contextmanager
def behind_a_door(picas: Cli, door: Door) -> Iterator[Cli]:
    """The pool by way of a proxy."""
    parts = urlsplit(picas.environ["PICAS_POOL"])
    login = parts.netloc.rpartition("@")[0]
    query = "sslmode=disable" if parts.scheme == "postgresql" else ""  # the proxy reads what goes through it
    address = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{door.port}", query=query))
    yield Cli(picas.folder, PICAS_POOL=address)


def _away(picas: Cli, door: Door) -> None:
    fill(picas)
    with behind_a_door(picas, door) as far, serving(far) as web:
        counts = counted(web.get("/").text)

        door.refuse()
        gone_at = time.time()
        until("it says that the store is away", lambda: "database is away" in web.get("/live/overview").text, 20.0)

        assert time.time() - gone_at < 12.0
        page = web.get("/live/overview").text
        assert counted(page) == counts
        since = float(re.findall(r'away</strong> since <time datetime="([0-9.]+)"', page)[0])
        assert gone_at - 3 < since < time.time()
        assert web.ask("GET", "/healthz").status == 503
        assert "picas_up 0.0" in web.get("/metrics").text
        assert web.ask("GET", "/tokens").status == 503
        door.accept()
        until("it is back", lambda: "database is away" not in web.get("/live/overview").text, 30.0)
        assert web.get("/tokens").status == 200


def test_a_couchdb_that_is_away_is_told_and_since_when(
    couchdb_server: CouchServer, picas_of: Callable[..., Cli]
) -> None:
    picas = picas_of(couchdb_server.address(couchdb_server.database("web")))
    server = urlsplit(couchdb_server.url)
    with FaultProxy(server.hostname or "", server.port or 0) as door:
        _away(picas, door)


def test_a_postgresql_that_is_away_is_told_and_since_when(
    postgres_server: PostgresServer, picas_of: Callable[..., Cli]
) -> None:
    picas = picas_of(postgres_server.address(postgres_server.database("web")))
    server = urlsplit(postgres_server.url)
    with PostgresProxy(server.hostname or "", server.port or 0) as door:
        _away(picas, door)


@pytest.fixture
def picas_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cli]]:
    """Makes a pool at an address, which is dropped in the end."""
    made: list[Cli] = []

    def make(address: str) -> Cli:
        cli = Cli(tmp_path_factory.mktemp("web"), PICAS_POOL=address)
        cli.ok("init")
        made.append(cli)
        return cli

    yield make
    for cli in made:
        cli("pool", "drop", "--yes")


def test_a_port_that_is_taken_is_said(picas_here: Cli) -> None:
    with serving(picas_here) as web:
        answer = picas_here("web", "--port", str(web.port))

    assert (answer.code, "cannot listen on port" in answer.err) == (3, True)


def test_without_its_libraries_the_command_says_what_to_install(picas_here: Cli) -> None:
    (picas_here.folder / "starlette.py").write_text("raise ModuleNotFoundError('no starlette', name='starlette')")

    answer = picas_here("web", PYTHONPATH=str(picas_here.folder))

    assert (answer.code, "pip install 'picas[web]'" in answer.err) == (3, True)


def test_interrupted_it_ends_quietly(picas_here: Cli) -> None:
    argv = picas_here.argv(("web", "--port", "0"))
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=picas_here.folder, env=picas_here.environ, **pipes) as process:
        assert b"is at http://127.0.0.1:" in process.stderr.readline()
        process.send_signal(2)
        assert process.wait(15) == 0
        assert process.stderr.read() == b""
