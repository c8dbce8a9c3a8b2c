"""Slurm's back end: by the checks that all have in common, and by its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from picas.errors import UsageError
from picas.schedulers.base import JobSpec, JobState, Rejected, SchedulerAway, SchedulerError
from picas.schedulers.book import GRACE, PATIENCE
from picas.schedulers.slurm import Slurm
from support.dialects.slurm import Slurm as Words
from support.fake_systems import FakeSystem
from support.scheduler_suite import HANGS, LOST, Clock, Rig, SchedulerSuite, spec_in


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystem]:
    with FakeSystem(tmp_path / "slurm", "slurm") as made:
        monkeypatch.setenv("PATH", made.path())
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slurm(fake: FakeSystem, clock: Clock) -> Slurm:
    return Slurm(clock=clock, timeout=30.0)


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return JobSpec(name="picas-a-1", argv=["true"], folder=tmp_path, cores=2, memory=1 << 30, time=3600.0)


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, slurm: Slurm, fake: FakeSystem, clock: Clock, tmp_path: Path) -> Rig:
        return Rig(
            scheduler=slurm,
            fake=fake,
            clock=clock,
            spec=spec_in(tmp_path),
            states=[
                ({"state": "PENDING"}, JobState.PENDING),
                ({"state": "RUNNING"}, JobState.RUNNING),
                ({"state": "SUSPENDED"}, JobState.RUNNING),
                ({"state": "COMPLETING"}, JobState.ENDING),
                ({"state": "PENDING", "reason": "JobHeldUser"}, JobState.HELD),
            ],
            ends=[
                ({"state": "COMPLETED", "code": "0:0"}, JobState.DONE, 0),
                ({"state": "FAILED", "code": "3:0"}, JobState.FAILED, 3),
                ({"state": "CANCELLED by 1000", "code": "0:15"}, JobState.CANCELLED, -15),
                ({"state": "TIMEOUT", "code": "0:0"}, JobState.TIMEOUT, 0),
                ({"state": "OUT_OF_MEMORY", "code": "0:125"}, JobState.MEMORY, -125),
                ({"state": "NODE_FAIL", "code": "0:0"}, JobState.NODE, 0),
                ({"state": "PREEMPTED", "code": "0:15"}, JobState.PREEMPTED, -15),
            ],
            unknown={"state": "MELTED"},
            quoted="'MELTED'",
        )


def test_submit_hands_in_the_script_on_standard_input(slurm: Slurm, fake: FakeSystem, spec: JobSpec) -> None:
    assert slurm.submit(spec) == "1"
    assert fake.calls("sbatch") == [["--parsable"]]
    assert fake.jobs["1"].script == slurm.script(spec)
    assert "#SBATCH --signal=B:TERM@120\n#SBATCH --no-requeue\n" in slurm.script(spec)
    assert (
        "#SBATCH --nodes=1 --ntasks=1 --cpus-per-task=2\n#SBATCH --mem=1024M\n#SBATCH --time=1:00:00\n"
        in slurm.script(spec)
    )


def test_nodes_to_avoid_are_avoided_beside_those_of_the_user(slurm: Slurm, spec: JobSpec) -> None:
    assert "\n#SBATCH --exclude=n1,n2\n" in slurm.script(replace(spec, avoid=["n1", "n2"]))
    own = slurm.script(replace(spec, avoid=["n1"], native=["--exclude=n8,n9", "--qos=low"]))
    assert own.count("--exclude") == 1
    assert "\n#SBATCH --exclude=n8,n9,n1 --qos=low\n" in own


def test_one_call_for_all_jobs_with_the_first_id_twice(slurm: Slurm, fake: FakeSystem, spec: JobSpec) -> None:
    ids = [slurm.submit(replace(spec, name=f"picas-a-{number}")) for number in range(1, 4)]
    fake.set("2", state="RUNNING", node="n2", reason="None")
    fake.set("3", reason="ReqNodeNotAvail, UnavailableNodes:n[1-3]", name="a|b")
    found = slurm.status(ids)
    assert [(found[i].state, found[i].node, found[i].reason, found[i].name) for i in ids] == [
        (JobState.PENDING, "", "Priority", "picas-a-1"),
        (JobState.RUNNING, "n2", "", "picas-a-2"),
        (JobState.PENDING, "", "ReqNodeNotAvail, UnavailableNodes:n[1-3]", "a|b"),
    ]
    assert fake.calls("squeue")[0][-1] == "--jobs=1,1,2,3"
    assert len(fake.calls("squeue")) == 1
    assert fake.calls("sacct") == []


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", JobState.PENDING), ("CONFIGURING", JobState.PENDING), ("REQUEUED", JobState.PENDING),
        ("REQUEUE_HOLD", JobState.HELD), ("SPECIAL_EXIT", JobState.HELD), ("RUNNING", JobState.RUNNING),
        ("SUSPENDED", JobState.RUNNING), ("STOPPED", JobState.RUNNING), ("COMPLETING", JobState.ENDING),
        ("COMPLETED", JobState.DONE), ("FAILED", JobState.FAILED), ("CANCELLED", JobState.CANCELLED),
        ("TIMEOUT", JobState.TIMEOUT), ("DEADLINE", JobState.TIMEOUT), ("OUT_OF_MEMORY", JobState.MEMORY),
        ("NODE_FAIL", JobState.NODE), ("BOOT_FAIL", JobState.NODE), ("PREEMPTED", JobState.PREEMPTED),
    ],
)  # fmt: skip
def test_states(slurm: Slurm, fake: FakeSystem, word: str, state: JobState) -> None:
    fake.set("5", state=word)
    assert slurm.status(["5"])["5"].state is state


@pytest.mark.parametrize(
    "reason", ["JobHeldUser", "launch failed requeued held", "PartitionConfig", "DependencyNeverSatisfied"]
)
def test_a_job_that_will_not_start_by_itself_is_held(slurm: Slurm, fake: FakeSystem, reason: str) -> None:
    fake.set("5", reason=reason)
    assert slurm.status(["5"])["5"].state is JobState.HELD


def test_an_unknown_state_is_quoted(slurm: Slurm, fake: FakeSystem) -> None:
    fake.set("5", state="LEVITATING")
    with pytest.raises(SchedulerError, match="job 5 is 'LEVITATING', a state that picas does not know"):
        slurm.status(["5"])


@pytest.mark.parametrize(
    ("state", "code", "exit_code"),
    [("FAILED", "3:0", 3), ("FAILED", "0:15", -15), ("COMPLETED", "0:0", 0), ("CANCELLED by 1000", "0:0", 0)],
)
def test_what_has_left_the_queue_is_looked_up(
    slurm: Slurm, fake: FakeSystem, state: str, code: str, exit_code: int
) -> None:
    fake.set("5", state=state, code=code)
    fake.set("6")
    fake.forget("5")
    found = slurm.status(["5", "6"])
    assert found["5"].state.value == {"F": "failed", "C": "done"}[state[0]] or found["5"].state is JobState.CANCELLED
    assert found["5"].exit_code == exit_code
    assert fake.calls("sacct")[0][-1] == "--jobs=5"


def test_a_range_of_an_array_that_was_cancelled(slurm: Slurm, fake: FakeSystem) -> None:
    fake.set("619_[1-3,7%2]", state="CANCELLED by 0")
    assert slurm.status(["619_2"]) == {}
    fake.set("620_2", state="CANCELLED")
    fake.forget("620_2")
    assert slurm.status(["620_2"])["620_2"].state is JobState.CANCELLED


@pytest.mark.parametrize("accounting", [True, False])
def test_a_job_that_nobody_knows_is_gone_after_a_grace_period(
    slurm: Slurm, fake: FakeSystem, clock: Clock, accounting: bool
) -> None:
    assert isinstance(fake.words, Words)
    fake.words.accounting = accounting
    assert slurm.status(["9"]) == {}
    clock.now += GRACE - 1
    assert slurm.status(["9"]) == {}
    clock.now += 1
    assert slurm.status(["9"])["9"].state is JobState.GONE
    fake.set("9", state="COMPLETED")
    assert slurm.status(["9"])["9"].state is JobState.GONE, "final is final"


def test_a_job_that_comes_back_in_time_is_not_gone(slurm: Slurm, fake: FakeSystem, clock: Clock) -> None:
    slurm.status(["9"])
    fake.set("9", state="RUNNING")
    clock.now += GRACE
    assert slurm.status(["9"])["9"].state is JobState.RUNNING
    fake.forget("9", accounts=True)
    assert slurm.status(["9"]) == {}


def test_accounts_that_fail_only_make_it_take_longer(slurm: Slurm, fake: FakeSystem, clock: Clock) -> None:
    fake.tell(sacct="fail")
    slurm.status(["9"])
    clock.now += GRACE
    assert slurm.status(["9"]) == {}
    clock.now += PATIENCE
    assert slurm.status(["9"])["9"].state is JobState.GONE


def test_what_is_absent_can_be_kept_from_one_process_to_the_next(fake: FakeSystem, clock: Clock) -> None:
    first, second = Slurm(clock=clock), Slurm(clock=clock)
    first.status(["9"])
    clock.now += GRACE
    second.book.absent.update(first.book.absent)
    assert second.status(["9"])["9"].state is JobState.GONE


def test_an_end_is_never_rewritten(slurm: Slurm, fake: FakeSystem) -> None:
    fake.set("5", state="COMPLETED")
    assert slurm.status(["5"])["5"].state is JobState.DONE
    fake.set("5", state="PENDING")
    assert slurm.status(["5"])["5"].state is JobState.DONE


@pytest.mark.parametrize("told", ["fail", "garbage", "partial", "hang"])
def test_nothing_is_said_of_any_job_when_it_cannot_be_asked(fake: FakeSystem, clock: Clock, told: str) -> None:
    slurm = Slurm(clock=clock, timeout=HANGS if told == "hang" else 30.0)
    fake.set("5", state="RUNNING")
    fake.tell(squeue=told)
    with pytest.raises(SchedulerAway):
        slurm.status(["5"])
    assert slurm.book.absent == {}
    fake.tell(squeue="")
    assert slurm.status(["5"])["5"].state is JobState.RUNNING


def test_a_job_that_was_refused(slurm: Slurm, fake: FakeSystem, spec: JobSpec) -> None:
    fake.tell(sbatch="limit")
    with pytest.raises(Rejected, match=r"^sbatch: error: AssocMaxSubmitJobLimit$"):
        slurm.submit(spec)
    assert fake.jobs == {}


@pytest.mark.parametrize("told", ["fail", "garbage", "empty"])
def test_what_became_of_a_job_may_be_unknown(slurm: Slurm, fake: FakeSystem, spec: JobSpec, told: str) -> None:
    fake.tell(sbatch=told)
    with pytest.raises(SchedulerAway):
        slurm.submit(spec)


def test_a_job_whose_id_was_lost_is_found_by_its_name(fake: FakeSystem, spec: JobSpec) -> None:
    slurm = Slurm(timeout=LOST)
    fake.tell(sbatch="lost")
    with pytest.raises(SchedulerAway, match="did not answer"):
        slurm.submit(spec)
    slurm.timeout = 30.0
    fake.set("7", name="other")
    fake.set("8", name="picas-a-2", state="COMPLETED")
    assert [job.id for job in slurm.find("picas-a-")] == ["1"]


def test_cancel(slurm: Slurm, fake: FakeSystem, spec: JobSpec) -> None:
    job = slurm.submit(spec)
    slurm.cancel([job, "777"])
    assert slurm.status([job])[job].state is JobState.CANCELLED
    assert fake.calls("scancel") == [[job, "777"]]
    fake.tell(scancel="fail")
    with pytest.raises(SchedulerAway, match="Unable to contact"):
        slurm.cancel([job])


def test_an_array(slurm: Slurm, fake: FakeSystem, spec: JobSpec) -> None:
    ids = slurm.submit_array(spec, 3)
    assert ids == ["1_1", "1_2", "1_3"]
    assert set(slurm.status(ids)) == set(ids)


@pytest.mark.parametrize("job_id", ["-x", "1;id", "1,2", "", "all", "1\n"])
def test_what_is_no_id_reaches_no_command(slurm: Slurm, fake: FakeSystem, job_id: str) -> None:
    for verb in (slurm.status, slurm.cancel):
        with pytest.raises(UsageError, match="is no id of a Slurm job"):
            verb([job_id])
    assert fake.calls("scancel") == []


def test_options_of_the_environment_do_not_count(
    slurm: Slurm, fake: FakeSystem, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "long")
    monkeypatch.setenv("PICAS_PASSWORD", "hush")
    slurm.submit(spec)
    assert not any(name.startswith("SBATCH_") for name in fake.environments("sbatch")[0])
    assert "hush" not in fake.environments("sbatch")[0].values()
