"""The words of GridEngine, as captured from 8.1.9. What is said of a job: ``state queue failed exit_status ...``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from support.dialects.base import Call, Dialect, FakeJob, Reply, Said, run_script, user

_KILLED = "137                  (Killed)"


class GridEngine(Dialect):
    """GridEngine; it shows one row for each task of an array that runs, and one for all that wait."""

    submits = "qsub"
    asks = ("qstat", "qacct")
    accounts = "qacct"
    cancels = "qdel"
    away = Reply(err='error: unable to send message to qmaster using port 6444 on host "m": got send error\n', code=1)
    refused = Reply(
        err="Unable to run job: job rejected: only 2 jobs are allowed per user (job count: 2).\nExiting.\n", code=1
    )
    broken = Reply(err='error: commlib error: got read error (closing "m/qmaster/1")\nExiting.\n', code=1)

    waiting: ClassVar[Said] = {"state": "qw", "queue": ""}
    held: ClassVar[Said] = {"state": "hqw", "queue": ""}
    running: ClassVar[Said] = {"state": "r"}
    ends = (
        {"failed": "0", "exit_status": "0"},
        {"failed": "0", "exit_status": "3"},
        {"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "exit_status": "137"},
        {"failed": "26  : opening input/output file", "exit_status": "0"},
        {"failed": "25  : rescheduling", "exit_status": "0"},
        {"failed": "100 : assumedly after job", "exit_status": _KILLED},
    )
    unfit: ClassVar[Said] = {"failed": "0", "exit_status": "8"}

    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        said = {"failed": "0", "exit_status": "0", "ru_wallclock": "3s", "category": "NONE", "host": "n1"}
        return FakeJob(id=job_id, name=name, script=script, said={**said, **self.waiting})

    def made(self, number: int, call: Call) -> list[FakeJob]:
        return [self.job(str(number), _option(call.stdin, "-N (.*)"), call.stdin)]

    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        return f"{jobs[0].id}\n"

    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        if call.name == "qdel":
            return _qdel(jobs, call.words)
        if call.name == "qacct":
            return Reply("".join(_record(job) for job in jobs.values() if job.account and not job.queue))
        rows = {True: "", False: ""}
        for job in jobs.values():
            if job.queue:
                rows[bool(job.said["queue"])] += _row(job)
        return Reply(
            "<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://arc.liv.ac.uk/qstat.xsd\">\n"
            f"  <queue_info>\n{rows[True]}  </queue_info>\n  <job_info>\n{rows[False]}  </job_info>\n</job_info>\n"
        )

    def on(self, node: str) -> Said:
        return {"queue": f"all.q@{node}", "host": node}

    def avoided(self, script: str) -> set[str]:
        return set(re.findall(r"[^!()|]+", _option(script, r"-l hostname=(!\(.*\))")))

    def array(self, number: int) -> list[FakeJob]:
        made = []
        for tasks in ("1", "2", "3-40:1"):
            job = self.job(str(number), "other")
            job.extra["tasks"] = tasks
            job.said.update({} if "-" in tasks else {**self.running, **self.on("n1")})
            made.append(job)
        return made

    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        output = Path(_option(job.script, "-o (.*)"), f"{job.name}.o{job.id}")
        run_script(job, call, folder, output, JOB_ID=job.id)

    def ended(self, code: int) -> Said:
        if code < 0:
            return {"failed": "100 : assumedly after job", "exit_status": str(128 - code)}
        return {"failed": "0", "exit_status": str(code)}


def _qdel(jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
    lines, some = "", False
    for word in words:
        job = jobs.get(word)
        if job is None or not job.queue:
            lines += f'denied: job "{word}" does not exist\n'
            continue
        job.cancel(failed="100 : assumedly after job", exit_status=_KILLED)
        # One that had not begun leaves no record.
        job.queue, job.account, some = False, bool(job.said["queue"]), True
        lines += f"root has {'registered the' if job.account else 'deleted'} job {word}"
        lines += " for deletion\n" if job.account else "\n"
    return Reply(lines, code=0 if some else 1)


def _row(job: FakeJob) -> str:
    said, tasks = job.said, job.extra.get("tasks")
    return (
        f'    <job_list state="{"running" if said["queue"] else "pending"}">\n'
        f"      <JB_job_number>{job.id}</JB_job_number>\n      <JAT_prio>0.50000</JAT_prio>\n"
        f"      <JB_name>{job.name}</JB_name>\n      <JB_owner>{user()}</JB_owner>\n"
        f"      <state>{said['state']}</state>\n      <JAT_start_time>2026-11-24T18:03:17</JAT_start_time>\n"
        f"      <queue_name>{said['queue']}</queue_name>\n      <slots>1</slots>\n"
        f"{f'      <tasks>{tasks}</tasks>{chr(10)}' if tasks else ''}    </job_list>\n"
    )


def _record(job: FakeJob) -> str:
    said = job.said
    lines = {
        "qname": "all.q", "hostname": said["host"], "owner": user(), "jobname": job.name, "jobnumber": job.id,
        "taskid": "undefined", "granted_pe": "NONE", "slots": "1", "failed": said["failed"],
        "exit_status": said["exit_status"], "ru_wallclock": said["ru_wallclock"], "maxvmem": "3.410MB",
        "category": said["category"],
    }  # fmt: skip
    return "=" * 62 + "\n" + "".join(f"{key:12} {value:20}\n" for key, value in lines.items())


def _option(script: str, pattern: str) -> str:
    found = re.search(rf"^#\$ {pattern}$", script, re.MULTILINE)
    return found[1] if found else ""


DIALECT = GridEngine
