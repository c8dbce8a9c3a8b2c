"""Tokens that ask for cores, memory, GPUs, time and resources of one's own, on real pilots and real stores."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.pilots import until

CPUS = sorted(os.sched_getaffinity(0))


def tokens(picas: Cli, *docs: dict[str, Any]) -> None:
    picas.ok("add", "--jsonl", "-", stdin="".join(json.dumps(doc) + "\n" for doc in docs))


def shown(picas: Cli, token_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(picas.ok("show", token_id).out)
    return found


def attempts(picas: Cli) -> dict[str, dict[str, Any]]:
    """The last attempt of each token, and what it required."""
    docs = [json.loads(line) for line in picas.ok("ls", "--all", "-o", "jsonl").out.splitlines()]
    return {doc["_id"]: {**doc["attempts"][-1], "requires": doc.get("requires", {})} for doc in docs}


def most_at_once(spans: list[tuple[float, float, float]]) -> float:
    """The most that was in use at any time, given (start, end, amount)."""
    events = sorted([(end, -amount) for _, end, amount in spans] + [(start, amount) for start, _, amount in spans])
    return max(itertools.accumulate(amount for _, amount in events))


def mixed(rounds: int, wide: float) -> list[dict[str, Any]]:
    """The mixed pool: many short ones of one core, some as wide as the pilot, some that want memory."""
    short = {"command": ["sleep", "0.1"]}
    whole = {"command": ["sleep", str(wide)], "requires": {"cores": 4}}
    large = {"command": ["sleep", str(wide / 4)], "requires": {"memory": "3 GiB"}}
    kinds = [*[short] * int(10 * wide), whole, *[large] * 3]
    return [{"_id": f"t{number:05d}", **doc} for number, doc in enumerate(kinds * rounds)]


def test_a_mixed_pool_keeps_the_cores_busy_and_starves_nothing(picas: Cli) -> None:
    work(picas, mixed(rounds=4, wide=1.0), least=0.5)  # so short a run, on a busy machine


@pytest.mark.soak
def test_a_longer_one_keeps_them_nine_tenths_busy(picas: Cli) -> None:
    work(picas, mixed(rounds=12, wide=2.0), least=0.9)


def work(picas: Cli, docs: list[dict[str, Any]], least: float) -> None:
    tokens(picas, *docs)
    picas.ok("run", "--cores", "4", "--memory", "8GiB")

    ran = attempts(picas)
    assert {attempt["reason"] for attempt in ran.values()} == {"exit"}
    # Times are kept to a millisecond, and taken a little before the start and after the end.
    spans = {name: (one["start"] + 0.003, one["start"] + one["runtime"] - 0.003) for name, one in ran.items()}
    begin, end = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    cores = {name: one["requires"].get("cores", 1) for name, one in ran.items()}
    busy = sum(cores[name] * (last - first) for name, (first, last) in spans.items())
    assert busy / (4 * (end - begin)) > least
    assert most_at_once([(*spans[name], cores[name]) for name in spans]) <= 4
    assert most_at_once([(*spans[name], 3) for name, one in ran.items() if "memory" in one["requires"]]) <= 8
    # Nothing starves: each kind is worked on from the first quarter to the last.
    for kind in ({"cores": 4}, {"memory": "3 GiB"}):
        began = sorted(spans[name][0] - begin for name, one in ran.items() if one["requires"] == kind)
        assert began[0] < (end - begin) / 3
        assert began[-1] > (end - begin) / 2


def test_gpus_and_named_resources_are_handed_out(picas: Cli) -> None:
    tell = 'printf "%s" "$CUDA_VISIBLE_DEVICES"; sleep 0.3'
    tokens(
        picas,
        *({"_id": f"one{number}", "command": tell, "requires": {"gpus": 1}} for number in range(4)),
        {"_id": "both", "command": tell, "requires": {"gpus": 2}},
        *({"_id": f"licensed{number}", "command": "sleep 0.2", "requires": {"licence": 1}} for number in range(3)),
        {"_id": "none", "command": tell},
        {"_id": "three", "command": tell, "requires": {"gpus": 3}},
        {"_id": "unheard", "command": tell, "requires": {"scratch": 1}},
    )
    picas.ok("run", "--cores", "4", "--gpus", "3,GPU-7", "--offer", "licence=1")

    assert {picas.ok("logs", "--out", f"one{number}").out for number in range(4)} <= {"3", "GPU-7"}
    assert set(picas.ok("logs", "--out", "both").out.split(",")) == {"3", "GPU-7"}
    assert picas.ok("logs", "--out", "none").out == ""
    assert sorted(picas.ok("ls", "todo", "-o", "id").out.split()) == ["three", "unheard"]
    docs = [shown(picas, f"licensed{number}")["attempts"][-1] for number in range(3)]
    assert most_at_once([(one["start"] + 0.003, one["start"] + one["runtime"] - 0.003, 1) for one in docs]) == 1


def test_a_wide_command_gets_its_cpus_and_a_narrow_one_is_left_alone(picas_here: Cli) -> None:
    tell = "taskset -cp $$ | sed 's/.*: //'; echo $PICAS_CORES ${OMP_NUM_THREADS-unset}"
    tokens(
        picas_here,
        {"_id": "wide", "command": tell, "requires": {"cores": len(CPUS)}},
        {"_id": "one", "command": tell, "requires": {"cores": 1}},
        {"_id": "plain", "command": tell},
    )
    environ = {} if "OMP_NUM_THREADS" not in os.environ else {"OMP_NUM_THREADS": ""}
    picas_here.ok("run", **environ)

    everywhere = subprocess.run(["bash", "-c", tell], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    assert picas_here.ok("logs", "--out", "wide").out.split("\n")[:2] == [everywhere, f"{len(CPUS)} {len(CPUS)}"]
    assert picas_here.ok("logs", "--out", "one").out.split("\n")[:2] == [everywhere, "1 1"]
    assert picas_here.ok("logs", "--out", "plain").out.split("\n")[:2] == [everywhere, "1 unset"]


def test_what_cannot_end_in_time_is_not_begun_and_what_lasts_too_long_is_ended(picas: Cli) -> None:
    tokens(
        picas,
        {"_id": "long", "command": "true", "requires": {"time": "1 h"}},
        {"_id": "late", "command": "sleep 30", "requires": {"time": 0.5}},
        {"_id": "short", "command": "true", "requires": {"time": "1 min"}},
    )
    answer = picas.ok("run", "--cores", "1", "--max-time", "30m", "--grace", "1s")

    assert "1 done, 1 failed" in answer.err
    assert "what is left needs more than this pilot offers" in answer.err
    assert shown(picas, "late")["reason"] == "time"
    assert shown(picas, "long")["lock"] == 0
    assert "fence" not in shown(picas, "long"), "it was not even claimed"


def test_a_token_waits_in_vain_and_explain_says_for_what(picas: Cli) -> None:
    tokens(
        picas,
        {"_id": "run", "command": "sleep 30"},
        {"_id": "wide", "command": "true", "requires": {"cores": 3}},
        {"_id": "large", "command": "true", "requires": {"memory": "2 GiB", "gpus": 1}},
        {"_id": "later", "command": "true", "requires": {"time": "2 h"}},
        {"_id": "fits", "command": "true", "requires": {"cores": 2, "licence": 1}},
    )
    argv = picas.argv(["run", "--cores", "2", "--memory", "1GiB", "--offer", "licence=2", "--max-time", "1h"])
    pilot = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.DEVNULL)
    try:
        until("it runs", lambda: shown(picas, "run")["lock"] > 0)
        assert "needs 3 cores, and the most that a pilot alive offers is 2 cores" in picas.ok("explain", "wide").out
        large = picas.ok("explain", "large").out
        assert "needs 2 GiB of memory, and the most that a pilot alive offers is 1 GiB" in large
        assert "needs 1 gpus, and the most that a pilot alive offers is 0 gpus" in large
        assert "needs 2 h, and the most that a pilot alive offers is" in picas.ok("explain", "later").out
        pool = picas.ok("explain").out
        assert 'no pilot takes 1 token that requires {"cores": 3}' in pool
        assert "licence" not in pool
        [record] = json.loads(picas.ok("pilot", "ls", "-o", "json").out)["rows"]
        assert (record["memory"], record["gpus"], record["offers"]) == (2**30, 0, {"licence": 2})
    finally:
        pilot.send_signal(signal.SIGINT)
        assert pilot.wait(20) == 0


def test_a_wide_token_that_cannot_begin_here_goes_to_a_pilot_that_has_room(picas_here: Cli, tmp_path: Path) -> None:
    tokens(
        picas_here,
        {"_id": "t0", "command": "sleep 25", "requires": {"cores": 2}},
        {"_id": "t1", "command": "true", "requires": {"cores": 2}},
    )
    pilots = []
    try:
        argv = picas_here.argv(["run", "--cores", "2", "--lease", "6s"])
        pilots.append(subprocess.Popen(argv, cwd=tmp_path, env=picas_here.environ, stderr=subprocess.DEVNULL))
        until("both are claimed", lambda: shown(picas_here, "t0")["lock"] > 0 and shown(picas_here, "t1")["lock"] > 0)
        other = picas_here.ok("run", "--cores", "2", "--lease", "6s", "--idle", "12s")
        assert "1 done" in other.err
        assert shown(picas_here, "t1")["released"] == 1
    finally:
        for pilot in pilots:
            pilot.send_signal(signal.SIGINT)
            assert pilot.wait(20) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gpus", "many"], "--gpus 'many' is not a number of GPUs or a list of ids"),
        (["--gpus", "1,1"], "--gpus '1,1'"),
        (["--offer", "licence"], "--offer 'licence' is not NAME=N"),
        (["--offer", "licence=lots"], "--offer licence 'lots' is not a size"),
        (["--offer", "cores=2"], "--offer cores: that is no name of your own"),
        (["--offer", "a=1", "--offer", "a=2"], "--offer a is there twice"),
    ],
)
def test_offers_that_cannot_be_read_are_refused(picas_here: Cli, words: list[str], expected: str) -> None:
    answer = picas_here("run", *words)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
