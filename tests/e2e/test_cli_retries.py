"""Retry rules, the quiet limit and the disk floor on the command line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support.cli import Cli


def shown(picas: Cli, token_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(picas.ok("show", token_id).out)
    return found


def test_rules_of_tokens_and_of_the_pilot(picas: Cli) -> None:
    picas.ok("add", "--id", "busy", "--retry-on", "75:delay=0s:retries=2", "--", "exit 75")
    picas.ok("add", "--id", "wrong", "--max-scrub", "5", "--", "exit 64")
    picas.ok("add", "--id", "own", "--retry-on", "64:retries=1:delay=0s", "--", "exit 64")
    picas.ok("add", "--id", "plain", "--max-scrub", "0", "--", "exit 1")
    picas.ok("run", "--cores", "1", "--retry-on", "64:never,SIGKILL:memory*2")

    busy = shown(picas, "busy")
    assert [attempt["exit_code"] for attempt in busy["attempts"]] == [75] * 3
    assert (busy["scrub_count"], busy["retried"]) == (2, {"75": 2})
    assert [len(shown(picas, name)["attempts"]) for name in ("wrong", "own", "plain")] == [1, 2, 1]
    assert "rule 64:never: not tried again" in picas.ok("explain", "wrong").out
    assert "rule 75:retries=2:delay=0s: tried again in 0 s" in picas.ok("explain", "busy").out


def test_memory_grows_until_it_is_enough(picas: Cli) -> None:
    enough = 'grep -q \'"memory":268435456\' "$PICAS_TOKEN" || kill -9 $$'
    picas.ok("add", "--id", "big", "--requires", "memory=64MiB", "--", enough)
    picas.ok("run", "--cores", "1", "--retry-on", "SIGKILL:memory*2:max=1GiB:delay=0s")

    big = shown(picas, "big")
    assert (big["exit_code"], big["requires"]["memory"]) == (0, 256 * 2**20)
    assert [attempt.get("then", "")[-len("128 MiB") :] for attempt in big["attempts"]] == ["128 MiB", "256 MiB", ""]


def test_a_token_that_outgrows_the_pilot_waits_for_a_larger_one(picas: Cli) -> None:
    picas.ok("add", "--id", "big", "--requires", "memory=1GiB", "--", "kill -9 $$")
    picas.ok("run", "--cores", "1", "--memory", "1GiB", "--retry-on", "SIGKILL:memory*4:delay=0s")
    big = shown(picas, "big")
    assert (big["lock"], big["requires"]["memory"], big["scrub_count"]) == (0, 4 * 2**30, 1)


def test_time_grows_beyond_that_of_the_pilot(picas: Cli) -> None:
    picas.ok("add", "--id", "slow", "--requires", "time=1s", "--", "sleep 1.5")
    picas.ok("run", "--cores", "1", "--token-time", "1s", "--retry-on", "time:time*4:delay=0s")
    slow = shown(picas, "slow")
    assert [attempt["reason"] for attempt in slow["attempts"]] == ["time", "exit"]
    assert (slow["exit_code"], slow["requires"]["time"]) == (0, 4)


def test_a_rule_is_tried_without_being_followed(picas: Cli) -> None:
    picas.ok("add", "--id", "a", "--requires", "memory=8GiB", "--", "kill -9 $$")
    picas.ok("add", "--id", "b", "--max-scrub", "1", "--", "exit 64")
    words = ["--retry-on", "SIGKILL:delay=5m:memory*2,64:never", "--retry-dry-run"]
    picas.ok("run", "--cores", "1", "--memory", "64GiB", "--max-time", "60s", *words)

    a, b = shown(picas, "a"), shown(picas, "b")
    (attempt,) = a["attempts"]
    assert attempt["rule"] == "SIGKILL:delay=5m:memory*2"
    assert attempt["would"].startswith("tried again in 3")
    assert attempt["would"].endswith(" s with memory 16 GiB")
    assert (a["exit_code"], a["requires"], a["scrub_count"], "retried" in a) == (-9, {"memory": "8GiB"}, 0, False)
    assert "would have it tried again in 3" in picas.ok("explain", "a").out
    # b is tried again, as --max-scrub has it.
    assert [attempt["would"] for attempt in b["attempts"]] == ["not tried again"] * 2
    assert b["scrub_count"] == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["run", "--retry-on", "75:delay=5m,mem:never"], "--retry-on: at character 13, 'mem': no cause"),
        (["run", "--retry-on", "75:later\x1b[2J"], "no act of that name"),
        (["run", "--quiet-limit", "soon"], "--quiet-limit 'soon' is not a time"),
        (["run", "--disk-floor", "some"], "--disk-floor 'some' is not a size"),
        (["add", "--retry-on", "75", "--", "true"], "retry_on: at character 1"),
        (["add", "--quiet-limit", "soon", "--", "true"], "quiet_limit must be a time"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(picas_here: Cli, words: list[str], problem: str) -> None:
    answer = picas_here(*words)
    assert answer.code == 2
    assert problem in answer.err
    assert "\x1b" not in answer.err
    assert picas_here.ok("ls", "-o", "id").out == ""


def test_an_object_in_a_token_and_a_bad_one(picas: Cli) -> None:
    good = {"_id": "t", "command": "exit 75", "retry_on": {"75": "retries=1:delay=0s", "*": "never"}}
    bad = {"_id": "u", "command": "true", "retry_on": {"75": "retries=1", "sometimes": "never"}}
    answer = picas("add", "--jsonl", "-", stdin=f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    assert answer.code == 2
    assert "-:2: " in answer.err or "standard input:2: " in answer.err
    assert "retry_on: in the object, 'sometimes': no cause of that name; nothing was added" in answer.err
    picas.ok("add", "--jsonl", "-", stdin=f"{json.dumps(good)}\n")
    picas.ok("run", "--cores", "1")
    assert shown(picas, "t")["retried"] == {"75": 1}


def test_a_quiet_command_is_ended(picas: Cli) -> None:
    picas.ok("add", "--id", "spins", "--", "while :; do :; done")
    picas.ok("add", "--id", "patient", "--quiet-limit", "1h", "--", "sleep 2.5")
    picas.ok("run", "--cores", "2", "--quiet-limit", "1s")
    assert [shown(picas, name)["reason"] for name in ("spins", "patient")] == ["quiet", "exit"]
    assert "had written nothing for too long" in picas.ok("explain", "spins").out


def test_a_pilot_where_nothing_can_be_started_ends_with_8(picas: Cli) -> None:
    picas.ok("add", "--range", "1-50")
    answer = picas("run", "--cores", "2", "--", "no-such-program", "{i}")
    assert answer.code == 8
    assert "3 starts in a row failed" in answer.err
    assert "(no-such-program: ENOENT): something is wrong with this node, or with the command" in answer.err
    counts = json.loads(picas.ok("status", "-o", "json").out)["counts"]
    assert (counts["todo"], counts["error"]) == (47, 3)


def test_a_pilot_without_room_on_its_disk_claims_nothing(picas: Cli) -> None:
    picas.ok("add", "--range", "1-5", "--", "true")
    answer = picas.ok("run", "--cores", "1", "--disk-floor", "100000TB", "--max-time", "3s")
    assert "claiming nothing until there is room" in answer.err
    assert answer.err.count("claiming nothing") == 1
    assert json.loads(picas.ok("status", "-o", "json").out)["counts"]["todo"] == 5
    picas.ok("run", "--cores", "1", "--disk-floor", "0")
    begun = time.monotonic()
    # With nothing to claim it ends at once, room or not.
    assert "no work is left" in picas.ok("run", "--cores", "1", "--disk-floor", "100000TB").err
    assert time.monotonic() - begun < 20
