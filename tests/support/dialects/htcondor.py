"""The words of HTCondor, as the manual of version 25 has them. What is said of a job are its attributes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from support.dialects.base import Call, Dialect, FakeJob, Reply, Said, user


class HTCondor(Dialect):
    """HTCondor."""

    submits = "condor_submit"
    asks = ("condor_q", "condor_history")
    accounts = "condor_history"
    cancels = "condor_rm"
    away = Reply(err="Error: Couldn't contact the condor_collector on m. Can't find address of schedd\n", code=1)
    refused = Reply(err="\nERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER\n", code=1)
    broken = Reply(err="\nERROR: Failed to commit job submission into the queue.\n", code=1)
    reuses_ids = False

    waiting: ClassVar[Said] = {"JobStatus": 1}
    held: ClassVar[Said] = {"JobStatus": 5, "HoldReason": "via condor_hold (by user ann)"}
    running: ClassVar[Said] = {"JobStatus": 2}
    ends = (
        {"JobStatus": 4, "ExitCode": 0, "ExitBySignal": False},
        {"JobStatus": 4, "ExitCode": 3, "ExitBySignal": False},
        {"JobStatus": 4, "ExitSignal": 11, "ExitBySignal": True},
        {"JobStatus": 3, "RemoveReason": "via condor_rm (by user ann)", "LastJobStatus": 2},
        {"JobStatus": 3, "RemoveReason": "The job attribute PeriodicRemove expression '...' evaluated to TRUE"},
    )
    unfit: ClassVar[Said] = {"JobStatus": 4, "ExitCode": 8, "ExitBySignal": False}

    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        cluster, _, process = job_id.partition(".")
        said = {"ClusterId": int(cluster), "ProcId": int(process or 0), "Owner": user(), "JobBatchName": name}
        return FakeJob(id=job_id, name=name, script=script, said={**said, **self.waiting})

    def made(self, number: int, call: Call) -> list[FakeJob]:
        found = re.search(r'^\+JobBatchName = "(.*)"$', call.stdin, re.MULTILINE)
        return [self.job(f"{number}.0", found[1] if found else "", call.stdin)]

    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        return f"{jobs[0].id} - {jobs[-1].id}\n"

    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        ids = {word for word in call.words if re.fullmatch(r"[0-9]+\.[0-9]+", word)}
        if call.name == "condor_rm":
            return _remove(jobs, sorted(ids))
        in_queue = call.name == "condor_q"
        there = [job for job in jobs.values() if job.queue is in_queue and (in_queue or job.account)]
        shown = [job.said for job in there if not ids or job.id in ids]
        rows = "\n,\n".join(map(json.dumps, shown))
        return Reply(f"[\n{rows}\n]\n" if shown or in_queue else "")

    def on(self, node: str) -> Said:
        return {"RemoteHost": f"slot1@{node}", "LastRemoteHost": f"slot1@{node}"}

    def avoided(self, script: str) -> set[str]:
        found = re.search("^requirements = (.*)$", script, re.MULTILINE)
        return set(re.findall(r'Machine != "([^"]*)"', found[1])) if found else set()

    def array(self, number: int) -> list[FakeJob]:
        made = [self.job(f"{number}.{process}", "other") for process in range(40)]
        for job in made[:2]:
            job.said.update({**self.running, **self.on("n1")})
        return made

    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        said = dict(re.findall(r"^(\w+) = (.*)$", job.script.replace("$(ClusterId)", job.id), re.MULTILINE))
        words = _words(said["arguments"])
        environ = dict(word.partition("=")[::2] for word in _words(said.get("environment", '""')))
        output, errors = Path(said["output"]), Path(said["error"])
        job.run([said["executable"], *words], Path(said["initialdir"]), {**environ, "USER": user()}, output, errors)

    def ended(self, code: int) -> Said:
        if code < 0:
            return {"JobStatus": 4, "ExitBySignal": True, "ExitSignal": -code}
        return {"JobStatus": 4, "ExitBySignal": False, "ExitCode": code}


def _remove(jobs: Mapping[str, FakeJob], ids: Sequence[str]) -> Reply:
    lines, code = "", 0
    for job_id in ids:
        if job_id in jobs and jobs[job_id].queue:
            jobs[job_id].cancel(JobStatus=3, RemoveReason=f"via condor_rm (by user {user()})")
            jobs[job_id].queue = False
            lines += f"Job {job_id} marked for removal\n"
        else:
            lines, code = f"{lines}Job {job_id} not found\n", 1
    return Reply(lines, code=code)


def _words(quoted: str) -> list[str]:
    """As the manual has it: words between blanks, partly within single quotes, of which two stand for one."""
    text = quoted[1:-1].replace('""', '"').replace("$(DOLLAR)", "$")
    found = re.findall(r"((?:[^' ]|'(?:[^']|'')*')+)(?: |$)", text)
    return [re.sub(r"'((?:[^']|'')*)'", lambda part: part[1].replace("''", "'"), word) for word in found]


DIALECT = HTCondor
