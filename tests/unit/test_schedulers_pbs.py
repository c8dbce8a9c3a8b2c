"""PBS Pro's back end, with output as OpenPBS's ``qstat`` writes it, and on a fake one. No PBS was run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas.schedulers import pbs
from picas.schedulers.base import JobSpec, JobState, SchedulerAway, SchedulerError
from picas.schedulers.commands import Answer
from support.scheduler_suite import Rig, SchedulerSuite, rig_of

RUNNING = """{
    "timestamp":1700000000,
    "pbs_version":"23.06.06",
    "pbs_server":"pbs",
    "Jobs":{
        "1234.pbs":{
            "Job_Name":"picas-a-1",
            "Job_Owner":"ann@login1.example.org",
            "resources_used":{"cpupercent":97, "cput":"00:01:10", "mem":"81236kb", "ncpus":4, "walltime":"00:01:12"},
            "job_state":"R",
            "queue":"workq",
            "server":"pbs",
            "exec_host":"node7/0*4",
            "exec_vnode":"(node7:ncpus=4:mem=2097152kb)",
            "Resource_List":{"mem":"2gb", "ncpus":4, "nodect":1, "select":"1:ncpus=4:mem=2gb", "walltime":"04:00:00"},
            "substate":42,
            "comment":"Job run at Tue Nov 14 at 22:13 on (node7:ncpus=4:mem=2097152kb)",
            "project":"_pbs_project_default"
        }
    }
}
"""


def finished(**said: Any) -> Answer:
    job = {"Job_Name": "a", "Job_Owner": "ann@n", "job_state": "F", "substate": 92, **said}
    return Answer(0, json.dumps({"Jobs": {"7.pbs": job}}), "")


def used(walltime: str, asked: str, **said: Any) -> dict[str, Any]:
    return {"resources_used": {"walltime": walltime}, "Resource_List": {"walltime": asked}, **said}


STATES = {"B": "RUNNING", "E": "ENDING", "H": "HELD", "M": "PENDING", "Q": "PENDING", "R": "RUNNING", "S": "RUNNING",
          "T": "PENDING", "U": "RUNNING", "W": "PENDING"}  # fmt: skip

ENDS: list[tuple[dict[str, Any], JobState, int | None]] = [
    ({"Exit_status": 0}, JobState.DONE, 0),
    ({"Exit_status": 3}, JobState.FAILED, 3),
    ({"Exit_status": 143}, JobState.FAILED, 143),
    ({"Exit_status": 271, "substate": 91}, JobState.CANCELLED, -15),
    ({"Exit_status": 265}, JobState.CANCELLED, -9),
    ({"Exit_status": 267}, JobState.FAILED, -11),
    (used("01:00:04", "01:00:00", Exit_status=271), JobState.TIMEOUT, -15),
    (used("00:59:04", "01:00:00", Exit_status=271), JobState.CANCELLED, -15),
    (
        {"Exit_status": 265, "resources_used": {"mem": "2097160kb"}, "Resource_List": {"mem": "2gb"}},
        JobState.MEMORY,
        -9,
    ),
    ({"Exit_status": -29}, JobState.TIMEOUT, None),
    ({"Exit_status": -28}, JobState.TIMEOUT, None),
    ({"Exit_status": -27}, JobState.MEMORY, None),
    ({"Exit_status": -26}, JobState.MEMORY, None),
    ({"Exit_status": -25}, JobState.FAILED, None),
    *[({"Exit_status": code}, JobState.NODE, None) for code in (-1, -2, -3, -4, -10, -16, -20)],
    ({"substate": 91}, JobState.CANCELLED, None),
]


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        with rig_of(
            pbs.make(),
            tmp_path,
            monkeypatch,
            states=[({"job_state": word}, JobState[state]) for word, state in STATES.items()],
            ends=[({"job_state": "F", **said}, state, code) for said, state, code in ENDS],
            unknown={"job_state": "Z"},
            quoted="'Z'",
        ) as made:
            yield made

    def test_a_server_without_history(self, rig: Rig) -> None:
        """``qstat -x`` then says so, with exit code 0 and no jobs: those that left the queue are gone after a while."""
        (job,) = rig.start()
        rig.fake.forget(job, accounts=True)
        rig.scheduler.status([job])
        answer = Answer(0, '{"pbs_server":"pbs"}', "qstat: job_history_enable is set to false\n")
        assert pbs.read(answer) == []


def test_a_running_job() -> None:
    (job,) = pbs.read(Answer(0, RUNNING, ""))
    assert (job.id, job.name, job.state, job.node) == ("1234.pbs", "picas-a-1", JobState.RUNNING, "node7")
    assert job.reason.startswith("Job run at")
    assert pbs.read(Answer(0, RUNNING, ""), "ann") == [job]
    assert pbs.read(Answer(0, RUNNING, ""), "bob") == []


def test_a_table_that_was_cut_off_is_none() -> None:
    for length in range(len(RUNNING.rstrip())):
        with pytest.raises(SchedulerAway):
            pbs.read(Answer(0, RUNNING[:length], ""))
    for text in ("[]", '{"Jobs": []}', '{"Jobs": {"1.pbs": {}}}', '{"Jobs": {"1.pbs": null}}'):
        with pytest.raises(SchedulerAway):
            pbs.read(Answer(0, text, ""))


def test_what_is_not_known_is_left_out_but_no_other_error_is_passed_over() -> None:
    unknown = "qstat: Unknown Job Id 9.pbs\n"
    assert [job.id for job in pbs.read(Answer(153, RUNNING, unknown))] == ["1234.pbs"]
    for error in (unknown + "qstat: End of File\n", "", "qstat: cannot connect to server pbs (errno=111)\n"):
        with pytest.raises(SchedulerAway):
            pbs.read(Answer(153, RUNNING, error))
    with pytest.raises(SchedulerAway):
        pbs.read(Answer(-9, RUNNING, ""))


@pytest.mark.parametrize(("said", "state", "code"), ENDS)
def test_exit_statuses(said: dict[str, Any], state: JobState, code: int | None) -> None:
    (job,) = pbs.read(finished(**said))
    assert (job.state, job.exit_code) == (state, code)


def test_an_unknown_state_is_quoted() -> None:
    with pytest.raises(SchedulerError, match="'Y'"):
        pbs.read(finished(job_state="Y"))


def test_a_job_is_the_same_by_its_number_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``qsub`` may name the server in another way than ``qstat`` does."""
    program = tmp_path / "qstat"
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{RUNNING}EOF\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert set(pbs.make().status(["1234.pbs.example.org"])) == {"1234.pbs.example.org"}


def test_the_script_asks_for_what_was_asked_for(tmp_path: Path) -> None:
    spec = JobSpec(
        name="picas-a-1", argv=["picas", "run", "a b"], folder=tmp_path, cores=4, memory=3 << 30, gpus=1,
        time=7200.0, queue="long", native=["-P", "physics"], environment={"PICAS_POOL": "couchdbs://x/y z"},
    )  # fmt: skip
    lines = pbs.make().script(spec).splitlines()
    for line in (
        "#PBS -N picas-a-1", "#PBS -q long", "#PBS -l walltime=2:00:00", "#PBS -j oe", "#PBS -r n",
        "#PBS -l select=1:ncpus=4:mem=3072mb:ngpus=1", "#PBS -P physics",
         "export PICAS_POOL='couchdbs://x/y z'",
        "exec picas run 'a b'",
    ):  # fmt: skip
        assert line in lines, line
    short = pbs.make().script(JobSpec(name="a", argv=["true"], folder=tmp_path, native=["-l", "select=2:ncpus=8"]))
    assert short.count("select=") == 1
    assert "walltime" not in short
