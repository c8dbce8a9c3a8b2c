"""The API by schemathesis: what its description says is what it does, whatever it is asked. A soak; by `make soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.installing import SERVERS, Missing, one_at_a_time, run
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
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A pool with tokens in each state, files, a view group, ways to fail, and a pilot."""
    picas = Cli(tmp_path_factory.mktemp("fuzz"))
    picas.ok("init")
    picas.ok("add", "--range", "1-40", "--", "bash", "-c", "echo {i} >&2; exit $(( {i} % 3 ))")
    picas.ok("add", "--jsonl", "-", stdin=json.dumps({"_id": "t", "command": ["bash", "-c", "echo x >&2; exit 5"]}))
    picas.ok("view", "add", "High", "--where", "i>20")
    picas.ok("run")
    picas.ok("add", "--range", "1-3", "--", "sleep", "600")
    with serving(picas) as web, piloted(picas, "--cores", "1"):
        yield web


def test_a_word_that_is_none_of_those_that_make_sense_is_refused(web: Web) -> None:
    for asked in ("full=AAA", "full=", "sort=colour", "limit=0", "limit=1e3", "unknown=1", "view=nothing"):
        answer = web.ask("GET", f"/api/v1/tokens?{asked}")
        assert (answer.status, "message" in answer.json["error"]) == (400, True), asked
    assert web.get("/api/v1/tokens?full=true&sort=id&limit=500&view=High/error").json["tokens"]


@pytest.mark.soak
@pytest.mark.parametrize("named", [{}, {"id": "t"}, {"id": "t", "name": "logs_t.err"}, {"view": "High/error"}])
def test_nothing_is_answered_that_the_description_does_not_say(web: Web, tmp_path: Path, named: dict[str, str]) -> None:
    """Random calls, and such that name what is there."""
    try:
        program = schemathesis()
    except Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in named.items()]
    (tmp_path / "schemathesis.toml").write_text("".join(["[parameters]\n", *lines] if lines else []))
    argv = [str(program), "run", f"{web.url}api/v1/openapi.json", "--phases", "examples,coverage,fuzzing"]
    argv += ["--max-examples", "200", "--exclude-checks", _WITHOUT, "--generation-deterministic"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
