"""A day's work on the command line: add, run, look, put right."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from support.cli import Cli


def counts(picas: Cli) -> dict[str, int]:
    found: dict[str, int] = json.loads(picas.ok("status", "-o", "json").out)["counts"]
    return found


def test_a_thousand_lines_of_which_one_fails(picas: Cli) -> None:
    lines = "".join(f"{number}\n" for number in range(1, 1001))
    assert "added 1000 tokens" in picas.ok("add", "--each-line", "-", "--", "test {line} -ne 500", stdin=lines).err
    assert "999 done, 1 failed" in picas.ok("run", "--cores", "2").err
    assert counts(picas) == {"held": 0, "todo": 0, "locked": 0, "done": 999, "error": 1}
    [failed] = picas.ok("ls", "error", "-o", "id").out.split()
    assert "wrote nothing" in picas.ok("logs", failed).err
    assert "its command exited with 1" in picas.ok("explain", failed).out
    assert "1 put back to todo" in picas.ok("reset", "error").err
    assert counts(picas)["todo"] == 1
    assert picas("run", "--fail").code == 1
    assert picas("wait", "--fail").code == 1
    assert picas("wait").code == 0


def test_output_is_kept_and_printed_exactly(picas: Cli) -> None:
    picas.ok("add", "--id", "t", "--", "printf 'a\\tb\\n'; printf oops >&2; exit 3")
    picas.ok("run", "--cores", "1")
    assert picas.ok("logs", "--out", "t").out == "a\tb\n"
    assert picas.ok("logs", "--err", "t").out == "oops"
    shown = json.loads(picas.ok("show", "t").out)
    assert (shown["exit_code"], shown["reason"], shown["attempts"][0]["exit_code"]) == (3, "exit", 3)
    explained = picas.ok("explain", "t").out
    assert "exited with 3" in explained
    assert "stderr: oops" in explained


def test_results_retries_and_order(picas: Cli) -> None:
    picas.ok("add", "--id", "low", "--", "echo '{\"n\": 1}' > $PICAS_OUTPUT")
    picas.ok("add", "--id", "high", "--priority", "5", "--", "true")
    picas.ok("add", "--id", "later", "--after", "low", "--", "true")
    assert picas.ok("ls", "held", "-o", "id").out == "later\n"
    picas.ok("run", "--cores", "1", "--max-tasks", "1")
    assert picas.ok("ls", "done", "-o", "id").out == "high\n"
    picas.ok("run", "--cores", "1")
    assert json.loads(picas.ok("show", "low").out)["output"] == {"n": 1}
    assert counts(picas)["done"] == 3


def test_a_pilots_own_command_and_work_folders(picas: Cli, tmp_path: Path) -> None:
    picas.ok("add", "--sweep", "a=1,2", "--sweep", "b=x y,z")
    picas.ok("run", "--cores", "2", "--attach", "*.txt", "--", "sh", "-c", 'echo "$1 $2" > r.txt', "sh", "{a}", "{b}")
    found = [json.loads(line) for line in picas.ok("ls", "done", "-o", "jsonl").out.splitlines()]
    assert len(found) == 4
    assert all("r.txt" in doc["_attachments"] for doc in found)
    assert not list(tmp_path.glob("r.txt"))


def test_values_never_reach_a_shell(picas: Cli, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payloads = [
        f";touch {canary}",
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"' ; touch {canary} ; '",
        "{line}",
        "-n",
    ]
    picas.ok("add", "--each-line", "-", "--", "echo {line}", stdin="\n".join(payloads))
    picas.ok("add", "--each-line", "-", "--", "echo", "{line}", stdin="\n".join(payloads))
    picas.ok("run", "--cores", "2")
    assert counts(picas)["done"] == 2 * len(payloads)
    assert not canary.exists()


def test_views_and_export(picas: Cli, tmp_path: Path) -> None:
    picas.ok("add", "--range", "1-10", "--", "echo {i}")
    picas.ok("view", "add", "low", "--where", "i<=4")
    picas.ok("run", "--cores", "2", "--view", "low/todo")
    assert counts(picas)["done"] == 4
    assert len(picas.ok("ls", "low/done", "-o", "id").out.split()) == 4
    assert "exported 10 tokens and 4 attachments" in picas.ok("pool", "export", "x.jsonl").err
    picas.ok("--pool", "other.db", "init")
    assert "imported 10 tokens and 4 attachments" in picas.ok("--pool", "other.db", "pool", "import", "x.jsonl").err
    assert "10 tokens were there already" in picas.ok("--pool", "other.db", "pool", "import", "x.jsonl").err
    first = picas.ok("--pool", "other.db", "ls", "done", "-o", "id").out.split()[0]
    assert picas.ok("--pool", "other.db", "logs", first).out == picas.ok("logs", first).out != ""
    cut = "".join((tmp_path / "x.jsonl").read_text().splitlines(keepends=True)[:6])
    picas.ok("--pool", "third.db", "init")
    assert picas("--pool", "third.db", "pool", "import", "-", stdin=cut).code == 2
    assert picas("--pool", "third.db", "pool", "import", "-", stdin="{}\n").code == 2
    picas.ok("pool", "check")
    picas.ok("doctor")


def test_cancel_reaches_a_running_command(picas: Cli) -> None:
    picas.ok("add", "--id", "long", "--", "echo started > here; sleep 60")
    pilot = subprocess.Popen(picas.argv(["run", "--cores", "1", "--lease", "1s"]), cwd=picas.folder, env=picas.environ)
    try:
        picas.ok("wait", "done", "--timeout", "30s")
        until_exists(picas.folder / "here")
        picas.ok("cancel", "long")
        assert picas("wait", "--timeout", "30s", "--fail").code == 1
        assert pilot.wait(20) == 0
    finally:
        pilot.kill()
        pilot.wait()
    assert json.loads(picas.ok("show", "long").out)["reason"] == "cancelled"


def test_a_stopped_pilot_gives_back(picas: Cli) -> None:
    picas.ok("add", "--id", "long", "--", "echo started > here; sleep 60")
    pilot = subprocess.Popen(picas.argv(["run", "--cores", "1"]), cwd=picas.folder, env=picas.environ)
    try:
        until_exists(picas.folder / "here")
        assert "alive" in picas.ok("pilot", "ls").out
        pilot.send_signal(signal.SIGTERM)
        assert pilot.wait(20) == 0
    finally:
        pilot.kill()
        pilot.wait()
    doc = json.loads(picas.ok("show", "long").out)
    assert (doc["lock"], doc["released"], doc["scrub_count"]) == (0, 1, 0)
    assert picas.ok("pilot", "ls").out == ""


def until_exists(path: Path, seconds: float = 20) -> None:
    import time

    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)
