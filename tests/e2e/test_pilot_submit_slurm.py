"""``picas pilot submit`` on a real Slurm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.schedulers.sites import scheduler
from support.cli import Cli
from support.pilots import until
from support.slurm import Slurm


@pytest.fixture
def here(slurm: Slurm, tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(tmp_path)
    cli.environ |= slurm.environ
    cli.environ.pop("XDG_STATE_HOME", None)
    cli.ok("init")
    yield cli
    slurm.clear()


def listed(picas: Cli) -> dict[str, str]:
    rows = json.loads(picas.ok("pilot", "ls", "-o", "json").out)["rows"]
    return {row["job"]: row["state"] for row in rows}


def test_jobs_work_and_are_listed_with_pilots(here: Cli, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    here.ok("add", "--range", "1-50", "--", "echo {i} > out-{i}")
    ids = here.ok(
        "pilot", "submit", "slurm", "-n", "2", "--memory", "300MB", "--time", "1h", "--idle", "30m"
    ).out.split()
    array = here.ok("pilot", "submit", "slurm", "-n", "2", "--array", "--idle", "30m").out.split()
    (held,) = here.ok("pilot", "submit", "slurm", "--", "--hold").out.split()
    want = {**dict.fromkeys([*ids, *array], "alive"), held: "held"}
    until("four are pilots, and one is held", lambda: listed(here) == want, 90)
    until("all are done", lambda: json.loads(here.ok("status", "-o", "json").out)["counts"]["done"] == 50, 90)
    docs = [json.loads(line) for line in here.ok("ls", "done", "-o", "jsonl").out.splitlines()]
    assert {doc["slurm_job_id"] for doc in docs} <= {*ids, *array}
    assert len(list(here.folder.glob("out-*"))) == 50

    monkeypatch.setenv("SLURM_CONF", slurm.environ["SLURM_CONF"])
    assert {job.id for job in scheduler("slurm").find("picas-")} == {*ids, *array, held}
    for job_id in [*ids, *array, held]:
        slurm.run("scancel", job_id)
    until("no pilot and no job is listed", lambda: listed(here) == {}, 90)
    outputs = list(here.folder.glob(".local/state/picas/jobs/*/*.out"))
    assert len(outputs) == 4
    assert all("pilot ended, told to stop by a signal" in output.read_text() for output in outputs)


def test_what_slurm_refuses_is_quoted(here: Cli, slurm: Slurm) -> None:
    answer = here("pilot", "submit", "slurm", "--queue", "nosuch")
    assert answer.code == 9
    assert "sbatch: error: invalid partition specified: nosuch" in answer.err
    answer = here("pilot", "submit", "slurm", "--", "--no-such-option")
    assert answer.code == 9
    assert "unrecognized option '--no-such-option'" in answer.err
    assert listed(here) == {}
