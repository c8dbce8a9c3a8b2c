"""HTCondor's back end, with output as its manual describes it, and on a fake one. No HTCondor was run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from picas.errors import UsageError
from picas.schedulers import htcondor
from picas.schedulers.base import JobSpec, JobState, SchedulerAway
from picas.schedulers.commands import Answer
from support.scheduler_suite import Rig, SchedulerSuite, rig_of

QUEUE = """[
{
  "ClusterId": 21,
  "JobBatchName": "picas-a-1",
  "JobStatus": 2,
  "Owner": "ann",
  "ProcId": 0,
  "RemoteHost": "slot1_2@node7.example.org"
}
,
{
  "ClusterId": 22,
  "HoldReason": "Error from slot1@node8: memory usage exceeded request_memory",
  "JobBatchName": "picas-a-2",
  "JobStatus": 5,
  "Owner": "ann",
  "ProcId": 0
}
]
"""
BY_ITSELF = (
    "The job attribute PeriodicRemove expression '(JobStatus == 1 && NumJobStarts > 0) || ...' evaluated to TRUE"
)

ENDS: list[tuple[dict[str, Any], JobState, int | None]] = [
    ({"JobStatus": 4, "ExitCode": 0, "ExitBySignal": False}, JobState.DONE, 0),
    ({"JobStatus": 4, "ExitCode": 3, "ExitBySignal": False}, JobState.FAILED, 3),
    ({"JobStatus": 4, "ExitSignal": 11, "ExitBySignal": True}, JobState.FAILED, -11),
    ({"JobStatus": 3, "RemoveReason": "via condor_rm (by user ann)", "LastJobStatus": 2}, JobState.CANCELLED, None),
    ({"JobStatus": 3, "RemoveReason": BY_ITSELF, "LastJobStatus": 2}, JobState.TIMEOUT, None),
    ({"JobStatus": 3, "RemoveReason": BY_ITSELF, "LastJobStatus": 1}, JobState.PREEMPTED, None),
    ({"JobStatus": 3}, JobState.CANCELLED, None),
]


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        with rig_of(
            htcondor.make(),
            tmp_path,
            monkeypatch,
            states=[
                ({"JobStatus": 1}, JobState.PENDING),
                ({"JobStatus": 2}, JobState.RUNNING),
                ({"JobStatus": 3}, JobState.ENDING),
                ({"JobStatus": 5}, JobState.HELD),
                ({"JobStatus": 6}, JobState.ENDING),
                ({"JobStatus": 7}, JobState.RUNNING),
            ],
            ends=ENDS,
            unknown={"JobStatus": 9},
            quoted="'9'",
            strangers=("", "-all", "1", "1.0;2", "1.0 2.0", "ann", "1.0\n"),
        ) as made:
            yield made


def test_the_queue() -> None:
    first, second = htcondor.read("condor_q", Answer(0, QUEUE, ""))
    assert (first.id, first.name, first.state, first.node) == (
        "21.0",
        "picas-a-1",
        JobState.RUNNING,
        "node7.example.org",
    )
    assert (second.state, second.reason) == (
        JobState.HELD,
        "Error from slot1@node8: memory usage exceeded request_memory",
    )


def test_no_jobs_may_be_no_output_but_half_a_table_is_none() -> None:
    for text in ("", "\n", "[\n]\n"):
        assert htcondor.read("condor_q", Answer(0, text, "")) == []
    for length in range(1, len(QUEUE.rstrip())):
        with pytest.raises(SchedulerAway):
            htcondor.read("condor_q", Answer(0, QUEUE[:length], ""))
    for text in ("{}", "[1]", '[{"ClusterId": 1}]', '[{"ClusterId": "x", "ProcId": 0}]'):
        with pytest.raises(SchedulerAway):
            htcondor.read("condor_q", Answer(0, text, ""))


def test_a_job_that_is_said_to_be_complete_without_its_exit_is_not_done() -> None:
    said = [{"ClusterId": 1, "ProcId": 0, "JobStatus": 4}]
    (job,) = htcondor.read("condor_q", Answer(0, json.dumps(said), ""))
    assert job.state is JobState.GONE


def test_the_description(tmp_path: Path) -> None:
    spec = JobSpec(
        name="picas-a-1", argv=["/opt/picas", "run", "it's", 'a "b"', "$HOME $(x)"], folder=tmp_path, cores=4,
        memory=3 << 30, gpus=1, time=7200.0, queue="group_physics", native=["request_disk = 2GB", "+Site=\"A\""],
        environment={"PICAS_POOL": "couchdbs://x/y z"},
    )  # fmt: skip
    lines = htcondor.make().script(spec).splitlines()
    for line in (
        "universe = vanilla", '+JobBatchName = "picas-a-1"', f"initialdir = {tmp_path}", "executable = /opt/picas",
        "arguments = \"'run' 'it''s' 'a \"\"b\"\"' '$(DOLLAR)HOME $(DOLLAR)(x)'\"",
        "environment = \"PICAS_POOL='couchdbs://x/y z'\"", "transfer_executable = false", "request_cpus = 4",
        "request_memory = 3072", "request_gpus = 1", "accounting_group = group_physics",
        "want_graceful_removal = true", "job_max_vacate_time = 120", "request_disk = 2GB", '+Site="A"', "queue",
    ):  # fmt: skip
        assert line in lines, line
    assert "time() - JobCurrentStartExecutingDate > 7080" in "\n".join(lines)
    assert lines[-1] == "queue"


def test_nodes_to_avoid_are_required_beside_what_else_is(tmp_path: Path) -> None:
    spec = JobSpec(name="a", argv=["true"], folder=tmp_path, avoid=["n1.example.org", "n2"])
    off = '(Machine != "n1.example.org") && (Machine != "n2")'
    assert f"\nrequirements = {off}\nqueue\n" in htcondor.make().script(spec)
    own = htcondor.make().script(replace(spec, native=["Requirements = A || B"]))
    assert f"\nrequirements = (A || B) && {off}\nqueue\n" in own
    assert "\nRequirements" not in own


def test_a_program_that_is_looked_up(tmp_path: Path) -> None:
    script = htcondor.make().script(JobSpec(name="a", argv=["picas", "run"], folder=tmp_path))
    assert "executable = /usr/bin/env\narguments = \"'picas' 'run'\"\n" in script


@pytest.mark.parametrize("native", ["queue 100", "x = 1\nqueue", "a=b\\", "", "= 1", "request_disk"])
def test_native_lines_are_lines(tmp_path: Path, native: str) -> None:
    with pytest.raises(UsageError):
        htcondor.make().script(JobSpec(name="a", argv=["true"], folder=tmp_path, native=[native]))


def test_a_line_cannot_go_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        htcondor.make().script(JobSpec(name="a", argv=["/bin/x\\"], folder=tmp_path))


@pytest.mark.parametrize("word", ["$$(OpSys)", "a\nqueue", "\x00"])
def test_what_it_would_replace_is_refused(tmp_path: Path, word: str) -> None:
    for spec in (
        JobSpec(name="a", argv=["true", word], folder=tmp_path),
        JobSpec(name="a", argv=["true"], folder=tmp_path, environment={"A": word}),
        JobSpec(name="a", argv=[f"/bin/{word}"], folder=tmp_path),
        JobSpec(name="a", argv=["true"], folder=tmp_path / word),
    ):
        with pytest.raises(UsageError):
            htcondor.make().script(spec)


def test_there_is_no_condor_here() -> None:
    """These tests claim no more than they can: with one installed, it should be used."""
    assert shutil.which("condor_schedd") is None
