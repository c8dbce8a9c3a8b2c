"""GridEngine's back end, with output captured from 8.1.9, and on a fake one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.schedulers import gridengine
from picas.schedulers.base import JobSpec, JobState, SchedulerAway, SchedulerError
from picas.schedulers.commands import Answer
from support.scheduler_suite import Rig, SchedulerSuite, rig_of

QUEUE = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>10</JB_job_number>
      <JAT_prio>0.50000</JAT_prio>
      <JB_name>srt</JB_name>
      <JB_owner>root</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-24T18:03:17</JAT_start_time>
      <queue_name>all.q@node7</queue_name>
      <slots>1</slots>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>13</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>eqw</JB_name>
      <JB_owner>root</JB_owner>
      <state>Eqw</state>
      <JB_submission_time>2026-11-24T18:03:17</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
    </job_list>
  </job_info>
</job_info>
"""

RECORD = """==============================================================
qname        all.q               
hostname     node7               
group        root                
owner        root                
project      NONE                
department   defaultdepartment   
jobname      hrt                 
jobnumber    9                   
taskid       undefined
account      sge                 
priority     0                   
qsub_time    Tue Nov 24 18:03:17 2026
start_time   Tue Nov 24 18:03:17 2026
end_time     Tue Nov 24 18:03:21 2026
granted_pe   NONE                
slots        1                   
failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit
exit_status  137                  (Killed)
ru_wallclock 4s
ru_utime     0.012s
maxvmem      1.750MB
arid         undefined
ar_sub_time  undefined
category     -l h_rt=3
"""  # noqa: W291 - as captured

NO_RECORDS = f"""OWNER      WALLCLOCK         UTIME         STIME           CPU
{"=" * 119}
"""

STATES = {
    JobState.PENDING: "qw Rq",
    JobState.HELD: "hqw hRwq Eqw Ehqw EhRqw",
    JobState.RUNNING: "r hr t Rr Rt s ts S tS T tT Rs Rts RS RtS RT RtT",
    JobState.ENDING: "dr dt dRr dRt ds dS dT dRs dRS dRT z",
}
"""All that sge_status(5) has."""

KILLED = "100 : assumedly after job"
ENDS = [
    ({"failed": "0", "exit_status": "0"}, JobState.DONE, 0),
    ({"failed": "0", "exit_status": "3"}, JobState.FAILED, 3),
    ({"failed": KILLED, "exit_status": "139                  (Segmentation fault)"}, JobState.FAILED, -11),
    ({"failed": KILLED, "exit_status": "137                  (Killed)"}, JobState.CANCELLED, -9),
    (
        {"failed": KILLED, "exit_status": "137", "category": "-l h_rt=90,mem_free=1G", "ru_wallclock": "91s"},
        JobState.TIMEOUT,
        -9,
    ),
    (
        {"failed": KILLED, "exit_status": "137", "category": "-l h_rt=90", "ru_wallclock": "24s"},
        JobState.CANCELLED,
        -9,
    ),
    ({"failed": KILLED, "exit_status": "140"}, JobState.CANCELLED, -12),
    ({"failed": KILLED, "exit_status": "138"}, JobState.TIMEOUT, -10),
    ({"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "exit_status": "137"}, JobState.TIMEOUT, None),
    ({"failed": "1   : assumedly before job", "exit_status": "0"}, JobState.NODE, None),
    ({"failed": "26  : opening input/output file", "exit_status": "0"}, JobState.NODE, None),
    ({"failed": "19  : before writing exit_status", "exit_status": "0"}, JobState.NODE, None),
    ({"failed": "25  : rescheduling", "exit_status": "0"}, JobState.PREEMPTED, None),
    ({"failed": "15  : in epilog", "exit_status": "0"}, JobState.DONE, 0),
    ({"failed": "30  : application error returned", "exit_status": "100"}, JobState.FAILED, 100),
]


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        with rig_of(
            gridengine.make(),
            tmp_path,
            monkeypatch,
            states=[
                ({"state": word, "queue": "all.q@n1" if state is JobState.RUNNING else ""}, state)
                for state, words in STATES.items()
                for word in words.split()
            ],
            ends=ENDS,
            unknown={"state": "rX"},
            quoted="'rX'",
        ) as made:
            yield made


def test_the_queue_as_captured() -> None:
    jobs = gridengine.read_queue(Answer(0, QUEUE, ""))
    assert [(job.id, job.name, job.state, job.reason, job.node) for job in jobs] == [
        ("10", "srt", JobState.RUNNING, "r", "node7"),
        ("13", "eqw", JobState.HELD, "Eqw", ""),
    ]


def test_a_queue_that_was_cut_off_is_none() -> None:
    for length in range(len(QUEUE.rstrip())):
        with pytest.raises(SchedulerAway):
            gridengine.read_queue(Answer(0, QUEUE[:length], ""))
    for text in ("<html></html>", "garbage", QUEUE.replace("JB_job_number", "JB_number")):
        with pytest.raises(SchedulerAway):
            gridengine.read_queue(Answer(0, text, ""))


def test_a_record_as_captured_and_cut_off_anywhere() -> None:
    (whole,) = gridengine.read_accounts(Answer(0, RECORD, ""))
    assert (whole.id, whole.name, whole.state, whole.node) == ("9", "hrt", JobState.TIMEOUT, "node7")
    for length in range(len(RECORD)):
        try:
            jobs = gridengine.read_accounts(Answer(0, RECORD[:length], ""))
        except SchedulerAway:
            continue
        assert jobs in ([], [whole])


def test_the_last_record_of_a_job_that_was_run_again_counts() -> None:
    again = RECORD.replace("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "0").replace("137  ", "0    ")
    (job,) = gridengine.read_accounts(Answer(0, RECORD + again, ""))
    assert job.state is JobState.DONE


def test_no_records() -> None:
    assert gridengine.read_accounts(Answer(0, NO_RECORDS, "")) == []
    assert gridengine.read_accounts(Answer(1, "", "error: job id 999 not found\n")) == []
    missing = "/var/lib/gridengine/default/common/accounting: No such file or directory\n"
    assert gridengine.read_accounts(Answer(1, "no jobs running since startup\n", missing)) == []
    with pytest.raises(SchedulerAway):
        gridengine.read_accounts(Answer(1, "", "error: commlib error: got select error\n"))


def test_an_unknown_failure_is_quoted() -> None:
    with pytest.raises(SchedulerError, match="99  : melted"):
        gridengine.read_accounts(Answer(0, RECORD.replace("37  : qmaster enforced", "99  : melted"), ""))


def test_a_job_that_was_taken_with_a_warning_and_exit_code_1_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As captured: nothing on standard output, exit code 1, and the job runs later."""
    program = tmp_path / "bin/qsub"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\ncat > /dev/null\n"
        'echo "Unable to run job: warning: ann\'s job is not allowed to run in any queue" >&2\n'
        "echo 'Your job 2 (\"ab\") has been submitted' >&2\necho Exiting. >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert gridengine.make().submit(JobSpec(name="ab", argv=["true"], folder=tmp_path)) == "2"


def test_the_script_asks_for_what_was_asked_for(tmp_path: Path) -> None:
    spec = JobSpec(
        name="picas-a-1", argv=["picas", "run", "a b"], folder=tmp_path, cores=4, memory=3 << 30, gpus=1,
        time=7200.0, queue="long.q", native=["-P", "physics"],
    )  # fmt: skip
    script = gridengine.make(parallel="threads", memory="m_mem_free", gpu="ngpus").script(spec)
    for line in (
        "#$ -N picas-a-1", "#$ -q long.q", "#$ -l h_rt=7200", "#$ -notify", "#$ -l m_mem_free=3072M",
        "#$ -l ngpus=1", "#$ -pe threads 4", "#$ -P physics",
        "exec picas run 'a b'",
    ):  # fmt: skip
        assert line in script.splitlines(), line


def test_nodes_to_avoid(tmp_path: Path) -> None:
    spec = JobSpec(name="a", argv=["true"], folder=tmp_path, avoid=["n1", "n2.example.org"])
    assert "#$ -l hostname=!(n1|n2.example.org)\n" in gridengine.make().script(spec)


def test_a_native_parallel_environment_takes_the_place_of_ours(tmp_path: Path) -> None:
    spec = JobSpec(name="a", argv=["true"], folder=tmp_path, cores=4, native=["-pe", "mpi", "8"])
    assert "-pe smp" not in gridengine.make().script(spec)
    assert "#$ -pe mpi 8\n" in gridengine.make().script(spec)
