"""Steering by ``picas web`` on every store: changed, saved, followed and paused as on the others."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from support.cli import Cli
from support.pilots import until
from support.web import Web, serving


def send(web: Web, path: str, **given: Any) -> Any:
    """A call that must be answered well."""
    headers = {"Authorization": f"Bearer {web.token}"}
    answer = web.ask("POST", f"/api/v1/{path}", headers, json.dumps(given).encode())
    assert answer.status in (200, 202), answer
    return answer.json


def over(web: Web, **given: Any) -> dict[str, int]:
    """Make a change to its end; what came of it."""
    told = send(web, "change", **given)
    headers = {"Authorization": f"Bearer {web.token}"}
    path = f"/api/v1/change?key={told['key']}"
    until("it is over", lambda: web.ask("GET", path, headers).json["phase"] == "over", 60.0)
    outcome: dict[str, int] = web.ask("GET", path, headers).json["outcome"]
    return outcome


def test_tokens_are_changed_saved_and_counted(picas: Cli) -> None:
    picas.ok("add", "--range", "1-30", "--", "bash", "-c", "exit $(( {i} % 3 ))")
    picas.ok("run", "--cores", "2")
    picas.ok("add", "--range", "101-700", "--", "true")
    with serving(picas, "--write") as web:
        web.log_in()
        assert over(web, verb="reset", view="error", expect=20)["ended"] == 20
        assert over(web, verb="priority", priority=3, where="i>600")["ended"] == 100
        assert over(web, verb="hold", text="true", view="todo")["ended"] == 600
        assert over(web, verb="delete", view="held", where="i<=650", expect=550)["ended"] == 550
        left = [json.loads(line) for line in web.get("/export?form=jsonl&view=held").text.splitlines()]
        assert sorted(doc["i"] for doc in left) == list(range(651, 701))
        assert {doc["priority"] for doc in left} == {3}
        assert len(web.get("/export?form=csv").text.splitlines()) == 81
        send(web, "pool/pause", why="for the test")
        assert json.loads(picas.ok("status", "-o", "json").out)["paused"]["why"] == "for the test"
        send(web, "pool/resume")
    counts = json.loads(picas.ok("status", "-o", "json").out)["counts"]
    assert counts == {"todo": 20, "locked": 0, "done": 10, "error": 0, "held": 50}


def test_what_is_written_is_seen_while_it_is(picas: Cli) -> None:
    script = "echo begun; until [ -e end ]; do sleep 0.1; done; echo ended >&2"
    picas.ok("add", "--id", "talks", "--", "bash", "-c", script)
    argv = picas.argv(("run", "--cores", "1", "--lease", "3s"))
    with serving(picas) as web:
        pilot = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.DEVNULL)
        try:
            until("it is seen", lambda: ">begun\n</pre>" in web.get("/live/token?id=talks").text, 60.0)
            assert "is-locked" in web.get("/live/token?id=talks").text
            (picas.folder / "end").touch()
            assert pilot.wait(30) == 0
        finally:
            pilot.kill()
            pilot.wait()
        page = web.get("/live/token?id=talks").text
        assert ">begun\n</pre>" in page
        assert ">ended\n</pre>" in page
        assert "is-done" in page
