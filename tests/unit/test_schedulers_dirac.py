"""DIRAC's back end, with output as its scripts print it, and on a fake one. No DIRAC was run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from picas.errors import UsageError
from picas.schedulers import dirac
from picas.schedulers.base import JobSpec, JobState, SchedulerAway, SchedulerError
from picas.schedulers.commands import Answer
from support.scheduler_suite import Rig, SchedulerSuite, rig_of

WAITING = "JobID=11758 Status=Waiting; MinorStatus=Pilot Agent Submission; Site=DIRAC.CNAF.it; \n"
NOISE = "2026-11-24 18:03:17 UTC dirac-wms-job-status/DiracAPI WARN: Proxy is valid for 3 hours only\n"

STATES = {
    "Submitting": "PENDING", "Received": "PENDING", "Checking": "PENDING", "Staging": "PENDING",
    "Scouting": "PENDING", "Waiting": "PENDING", "Matched": "PENDING", "Rescheduled": "PENDING",
    "Running": "RUNNING", "Stalled": "RUNNING", "Completing": "ENDING", "Completed": "ENDING",
}  # fmt: skip

ENDS: list[tuple[dict[str, str], JobState, int | None]] = [
    ({"Status": "Done", "MinorStatus": "Execution Complete"}, JobState.DONE, None),
    ({"Status": "Failed", "MinorStatus": "Application Finished With Errors"}, JobState.FAILED, None),
    ({"Status": "Failed", "MinorStatus": "Job has exceeded maximum wall clock time"}, JobState.TIMEOUT, None),
    ({"Status": "Failed", "MinorStatus": "Job has reached the CPU limit of the queue"}, JobState.TIMEOUT, None),
    ({"Status": "Failed", "MinorStatus": "Job stalled: pilot not running"}, JobState.NODE, None),
    ({"Status": "Killed", "MinorStatus": "Marked for termination"}, JobState.CANCELLED, None),
    ({"Status": "Deleted", "MinorStatus": ""}, JobState.CANCELLED, None),
]


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        with rig_of(
            dirac.make(),
            tmp_path,
            monkeypatch,
            states=[({"Status": word}, JobState[state]) for word, state in STATES.items()],
            ends=ENDS,
            unknown={"Status": "Melted"},
            quoted="'Melted'",
        ) as made:
            yield made

    @pytest.mark.parametrize("mode", ["fail", "hang", "garbage", "partial", "empty"])
    def test_jobs_whose_names_are_not_told_are_not_passed_over(self, rig: Rig, mode: str) -> None:
        """Names are told by a command of their own: a job that it leaves out may be the one that is looked for."""
        rig.start(3)
        with rig.told("dirac-wms-job-attributes", mode), pytest.raises(SchedulerAway):
            rig.scheduler.find("picas-a-")
        assert len(rig.scheduler.find("picas-a-")) == 3


def test_a_status_between_lines_of_a_log() -> None:
    (job,) = dirac.read(Answer(0, NOISE + WAITING + "\n", ""))
    assert (job.id, job.state, job.reason, job.node) == (
        "11758",
        JobState.PENDING,
        "Pilot Agent Submission",
        "DIRAC.CNAF.it",
    )


@pytest.mark.parametrize("site", ["ANY", "Multiple", "Group.Tier1.eu", ""])
def test_a_job_that_has_not_begun_is_at_no_site(site: str) -> None:
    (job,) = dirac.read(Answer(0, f"JobID=1 Status=Failed; MinorStatus=x; Site={site}; \n", ""))
    assert job.node == ""


def test_an_application_cannot_say_what_became_of_its_job() -> None:
    line = "JobID=2 Status=Running; MinorStatus=Application; ApplicationStatus=x; Status=Done; Site=A; \n"
    (job,) = dirac.read(Answer(0, line, ""))
    assert job.state is JobState.RUNNING


def test_a_line_that_was_cut_off_is_none() -> None:
    for length in range(1, len(WAITING)):
        with pytest.raises(SchedulerAway):
            dirac.read(Answer(0, WAITING[:length], ""))


@pytest.mark.parametrize("text", ["Traceback (most recent call last):\n", "ERROR: no proxy\n", "JobID=7 Minor=x; \n"])
def test_anything_else_is_no_status(text: str) -> None:
    with pytest.raises(SchedulerAway):
        dirac.read(Answer(0, text, ""))
    with pytest.raises(SchedulerAway):
        dirac.read(Answer(2, WAITING, ""))


def test_the_description_and_the_script(tmp_path: Path) -> None:
    spec = JobSpec(
        name="picas-a-1", argv=["python3", "pilot.pyz", "run", "a b"], folder=tmp_path, cores=4, gpus=1, time=7200.0,
        queue="LCG.SURFsara.nl", native=["InputSandbox=/data/pilot.pyz,/data/x.conf", "Platform=Linux_x86_64"],
        environment={"PICAS_POOL": "couchdbs://x/y"},
    )  # fmt: skip
    text = dirac.make().script(spec)
    for line in (
        'JobName = "picas-a-1";', 'JobGroup = "picas-a";', 'Executable = "picas-a-1.sh";',
        'InputSandbox = {"picas-a-1.sh", "/data/pilot.pyz", "/data/x.conf"};',
        'OutputSandbox = {"picas-a-1.out", "picas-a-1.err"};', "NumberOfProcessors = 4;", "CPUTime = 72000;",
        'Site = {"LCG.SURFsara.nl"};', 'Platform = "Linux_x86_64";', 'Tags = {"GPU"};', "cd . || exit 1",
         "exec python3 pilot.pyz run 'a b'",
    ):  # fmt: skip
        assert line in [one.strip() for one in text.splitlines()], line


def test_sites_to_avoid_are_avoided_beside_those_of_the_user(tmp_path: Path) -> None:
    spec = JobSpec(name="a-1", argv=["true"], folder=tmp_path, avoid=["LCG.X.nl"])
    assert 'BannedSites = {"LCG.X.nl"};' in dirac.make().script(spec)
    own = dirac.make().script(replace(spec, native=["BannedSites=LCG.Y.nl,LCG.Z.nl"]))
    assert own.count("BannedSites") == 1
    assert 'BannedSites = {"LCG.Y.nl", "LCG.Z.nl", "LCG.X.nl"};' in own


@pytest.mark.parametrize("name", ["a b", "../a", "-f", ".a", 'a";X="', "a\n", ""])
def test_names_that_could_be_something_else_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        dirac.make().submit(JobSpec(name=name, argv=["true"], folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ['Site="x"', "Site", "=x", "A=b;C=d", "A={x}", "A=b\nC=d"])
def test_native_attributes_are_attributes(tmp_path: Path, option: str) -> None:
    with pytest.raises(UsageError):
        dirac.make().script(replace(JobSpec(name="a-1", argv=["true"], folder=tmp_path), native=[option]))


def test_an_unknown_state_is_quoted() -> None:
    with pytest.raises(SchedulerError, match="'Odd'"):
        dirac.read(Answer(0, WAITING.replace("Waiting", "Odd"), ""))
