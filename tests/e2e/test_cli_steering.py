"""Steering by the command line: pause and resume, hold, drain and stop, cancel."""

from __future__ import annotations

import json
import subprocess
import time

from support.cli import Cli
from support.pilots import until


def _status(picas: Cli) -> dict:
    answer: dict = json.loads(picas.ok("status", "-o", "json").out)
    return answer


def test_a_paused_pool_says_so_everywhere(picas: Cli) -> None:
    picas.ok("add", "--range", "1-3", "--", "true")

    told = picas.ok("pool", "pause", "--why", "the disk is full\x1b[2J")

    assert "picas pool resume" in told.err
    paused = _status(picas)["paused"]
    assert paused["why"].startswith("the disk is full")
    assert "@" in paused["by"]
    for words in (("status",), ("explain",)):
        said = picas.ok(*words).out
        assert "paused by" in said
        assert "the disk is full" in said
        assert "\x1b" not in said
    waited = picas("wait", "--timeout", "1s")
    assert waited.code == 7
    assert "paused by" in waited.err

    again = picas.ok("pool", "resume")
    assert "goes on" in again.err
    assert _status(picas)["paused"] is None
    assert "was not paused" in picas.ok("pool", "resume").err
    assert picas.ok("run").err.count("3 done") == 1


def test_a_pilot_that_is_started_on_a_paused_pool_waits_for_its_end(picas: Cli) -> None:
    picas.ok("add", "--", "true")
    picas.ok("pool", "pause")
    err = picas.folder / "run.err"
    with err.open("wb") as file:
        argv = picas.argv(["run", "--lease", "3s"])
        pilot = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=file)
    try:
        until("it says that the pool is paused", lambda: b"paused by" in err.read_bytes(), 20.0)
        assert pilot.poll() is None
        picas.ok("pool", "resume")
        assert pilot.wait(30.0) == 0
    finally:
        pilot.kill()
        pilot.wait()
    assert _status(picas)["counts"]["done"] == 1


def test_held_tokens_are_nobodys_until_they_are_reset(picas: Cli) -> None:
    picas.ok("add", "--range", "1-4", "--", "true")

    told = picas.ok("hold", "--where", "i>2", "--yes")

    assert "2 held" in told.err
    assert "2 done" in picas.ok("run").err
    assert picas.ok("reset", "held", "--yes").err.startswith("2 put back")
    assert "2 done" in picas.ok("run").err
    assert picas("hold", "done", "--yes").err.startswith("0 held; 4 did not wait")


def test_tokens_that_wait_are_given_a_priority(picas: Cli) -> None:
    picas.ok("add", "--range", "1-4", "--", "true")
    picas.ok("run", "--max-tasks", "1")

    assert picas.ok("priority", "7", "--where", "i>2", "--yes").err.startswith("2 given that priority")
    assert picas.ok("priority", "7", "--all", "--yes").err.startswith("1 given that priority; 3 had it already")
    assert picas.ok("priority", "--yes", "--", "-1", "todo").err.startswith("3 given")
    assert picas.ok("priority", "9", "--where", "i=4").err.startswith("1 given")
    first = json.loads(picas.ok("ls", "todo", "-o", "jsonl").out.splitlines()[0])
    assert (first["i"], first["priority"]) == (4, 9)
    assert picas("priority", "high", "todo").code == 2


def test_pilots_are_drained_and_stopped_by_name_or_all(picas: Cli) -> None:
    picas.ok("add", "--range", "1-99", "--", "sh", "-c", "echo begun >> side; sleep 1")
    argv = picas.argv(["run", "--cores", "1", "--lease", "1.5s", "--idle", "1m"])
    pilots = [subprocess.Popen(argv, cwd=picas.folder, env=picas.environ) for _ in range(2)]
    try:
        until("both work", lambda: len(_status(picas)["pilots"]) == 2 and _status(picas)["counts"]["locked"], 20.0)
        name = picas.ok("pilot", "ls", "-o", "id").out.split()[0]
        told = picas("pilot", "drain", name, "nobody")
        assert told.code == 6
        assert "told 1 pilot to drain" in told.err
        assert "there is no pilot nobody" in told.err
        until("one has ended", lambda: any(pilot.poll() == 0 for pilot in pilots), 20.0)
        assert "told 1 pilot to stop" in picas.ok("pilot", "stop", "--all").err
        assert [pilot.wait(20.0) for pilot in pilots] == [0, 0]
    finally:
        for pilot in pilots:
            pilot.kill()
            pilot.wait()
    counts = _status(picas)["counts"]
    assert (counts["locked"], counts["error"]) == (0, 0)
    assert counts["todo"] > 0
    assert picas("pilot", "drain").code == 2
    assert picas("pilot", "drain", "--all").code == 6
    assert picas("pilot", "drain", "x", "--all").code == 2


def test_a_running_command_is_ended_by_cancel(picas: Cli) -> None:
    picas.ok("add", "--", "sh", "-c", "echo begun > side; exec sleep 60")
    argv = picas.argv(["run", "--lease", "1.5s", "--grace", "1s"])
    pilot = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ)
    try:
        until("it runs", lambda: (picas.folder / "side").exists(), 20.0)
        begun = time.monotonic()
        assert "1 being cancelled" in picas.ok("cancel", "--all", "--yes").err
        assert pilot.wait(20.0) == 0
        assert time.monotonic() - begun < 20.0
    finally:
        pilot.kill()
        pilot.wait()
    assert json.loads(picas.ok("ls", "-o", "jsonl").out)["reason"] == "cancelled"
