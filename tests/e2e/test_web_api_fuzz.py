"""The API by schemathesis: what its description says is what it does, whatever it is asked. A soak; by `make soak`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.installing import SERVERS, one_at_a_time, or_skip, run
from support.web import Web, piloted, serving

_HOME = SERVERS / "schemathesis"
_WITHOUT = "positive_data_acceptance"
"""What a schema allows may still be refused: none can say which conditions, views and places in a list there are."""


def schemathesis() -> Path:
    """The program, in an environment of its own, since it brings much; raises Missing."""
    program = _HOME / "bin" / "schemathesis"
    with one_at_a_time():
        if not program.exists():
            run([sys.executable, "-m", "venv", str(_HOME)])
            run([str(_HOME / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "schemathesis>=4.4"])
    return program


@pytest.fixture(scope="module")
def picas_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A pool with tokens in most states, files, a view group, and ways to fail."""
    picas = Cli(tmp_path_factory.mktemp("fuzz"))
    picas.ok("init")
    picas.ok("add", "--range", "1-40", "--", "bash", "-c", "echo {i} >&2; exit $(( {i} % 3 ))")
    picas.ok("add", "--jsonl", "-", stdin=json.dumps({"_id": "t", "command": ["bash", "-c", "echo x >&2; exit 5"]}))
    picas.ok("view", "add", "High", "--where", "i>20")
    picas.ok("run")
    picas.ok("add", "--range", "1-3", "--", "sleep", "600")
    return picas


@pytest.fixture(scope="module")
def web(picas_with_tokens: Cli) -> Iterator[Web]:
    """Its page, and a pilot at work."""
    with serving(picas_with_tokens) as web, piloted(picas_with_tokens, "--cores", "1"):
        yield web


def test_a_word_that_is_none_of_those_that_make_sense_is_refused(web: Web) -> None:
    for asked in ("full=AAA", "full=", "sort=colour", "limit=0", "limit=1e3", "unknown=1", "view=nothing"):
        answer = web.ask("GET", f"/api/v1/tokens?{asked}")
        assert (answer.status, "message" in answer.json["error"]) == (400, True), asked
    assert web.get("/api/v1/tokens?full=true&sort=id&limit=500&view=High/error").json["tokens"]


def test_who_asks_in_a_way_that_there_is_not_is_told_which_there_are(web: Web) -> None:
    answer = web.ask("OPTIONS", "/api/v1/tokens")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.soak
@pytest.mark.parametrize("named", [{}, {"id": "t"}, {"id": "t", "name": "logs_t.err"}, {"view": "High/error"}])
def test_nothing_is_answered_that_the_description_does_not_say(web: Web, tmp_path: Path, named: dict[str, str]) -> None:
    """Random calls, and such that name what is there."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in named.items()]
    (tmp_path / "schemathesis.toml").write_text("".join(["[parameters]\n", *lines] if lines else []))
    ask_anything(web, tmp_path)


@pytest.mark.soak
def test_nothing_that_changes_the_pool_is_answered_otherwise(picas_with_tokens: Cli, tmp_path: Path) -> None:
    """The same of a page with ``--write``, whose pool is changed at random meanwhile."""
    with serving(picas_with_tokens, "--write") as web:
        ask_anything(web, tmp_path, "--header", f"Authorization: Bearer {web.token}")


def ask_anything(web: Web, folder: Path, *options: str) -> None:
    """Have schemathesis ask what it thinks of, as the configuration in the folder says; it finds nothing."""
    program = or_skip(schemathesis)
    argv = [str(program), "run", f"{web.url}api/v1/openapi.json", "--phases", "examples,coverage,fuzzing", *options]
    argv += ["--max-examples", "200", "--exclude-checks", _WITHOUT, "--generation-deterministic"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
