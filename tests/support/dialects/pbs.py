"""The words of PBS, as the sources of OpenPBS 23 have them. What is said of a job is what ``qstat -f`` says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from support.dialects.base import Call, Dialect, FakeJob, Reply, Said, run_script, user


class Pbs(Dialect):
    """OpenPBS, which keeps a history."""

    submits = "qsub"
    asks = ("qstat",)
    accounts = "qstat"
    cancels = "qdel"
    away = Reply(err="{name}: cannot connect to server pbs (errno=15010)\n", code=1)
    refused = Reply(err="qsub: would exceed queue generic's per-user limit of jobs in 'Q' state\n", code=1)
    broken = Reply(err="qsub: End of File\n", code=1)

    waiting: ClassVar[Said] = {"job_state": "Q", "substate": 10}
    held: ClassVar[Said] = {"job_state": "H", "substate": 20}
    running: ClassVar[Said] = {"job_state": "R", "substate": 42}
    ends = (
        {"job_state": "F", "Exit_status": 0},
        {"job_state": "F", "Exit_status": 3},
        {"job_state": "F", "Exit_status": 271, "substate": 91},
        {"job_state": "F", "Exit_status": -29},
        {"job_state": "F", "Exit_status": -27},
        {"job_state": "F", "Exit_status": -2},
        {"job_state": "F", "substate": 91},
    )
    unfit: ClassVar[Said] = {"job_state": "F", "Exit_status": 8}

    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        said = {"Job_Name": name, "Job_Owner": f"{user()}@node1", "queue": "workq", **self.waiting}
        return FakeJob(id=job_id, name=name, script=script, said=said)

    def made(self, number: int, call: Call) -> list[FakeJob]:
        return [self.job(f"{number}.pbs", _option(call.stdin, "-N (.*)"), call.stdin)]

    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        return f"{jobs[0].id}\n"

    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        return _qdel(jobs, call.words) if call.name == "qdel" else _qstat(jobs, call.words)

    def on(self, node: str) -> Said:
        return {"exec_host": f"{node}/0*1"}

    def avoided(self, script: str) -> set[str]:
        return set()

    def array(self, number: int) -> list[FakeJob]:
        job = self.job(f"{number}[].pbs", "other")
        job.said.update(job_state="B", array=True, array_indices_submitted="1-40", array_indices_remaining="3-40")
        return [job]

    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        output = Path(_option(job.script, "-o (.*)"), f"{job.id}.OU")
        run_script(job, call, folder, output, PBS_JOBID=job.id)

    def ended(self, code: int) -> Said:
        return {"job_state": "F", "Exit_status": code if code >= 0 else 256 - code}


def _qdel(jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
    errors = ""
    for word in words:
        if word not in jobs:
            errors += f"qdel: Unknown Job Id {word}\n"
        elif not jobs[word].queue:
            errors += f"qdel: Job has finished {word}\n"
        else:
            jobs[word].cancel(job_state="F", Exit_status=271, substate=91)
            jobs[word].queue = False
    return Reply(err=errors, code=153 if errors else 0)


def _qstat(jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
    wanted = [word for word in words if word[0].isdigit()] or [key for key, job in jobs.items() if job.queue]
    shown, errors = {}, ""
    for word in wanted:
        job = jobs.get(word)
        if job and (job.queue or ("-x" in words and job.account)):
            shown[job.id] = job.said
        elif job and job.account:
            errors += f"qstat: {word} Job has finished, use -x or -H to obtain historical job information\n"
        else:
            errors += f"qstat: Unknown Job Id {word}\n"
    rows = ",\n".join(f"        {json.dumps(job_id)}:{json.dumps(said)}" for job_id, said in shown.items())
    jobs_said = f',\n    "Jobs":{{\n{rows}\n    }}' if shown else ""
    table = f'{{\n    "timestamp":1795543401,\n    "pbs_version":"23.06.06",\n    "pbs_server":"pbs"{jobs_said}\n}}\n'
    return Reply(table, errors, 153 if errors else 0)


def _option(script: str, pattern: str) -> str:
    found = re.search(f"^#PBS {pattern}$", script, re.MULTILINE)
    return found[1] if found else ""


DIALECT = Pbs
