"""The words of DIRAC, as the scripts of version 9 print them. What is said of a job: ``Status MinorStatus Site``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from support.dialects.base import Call, Dialect, FakeJob, Reply, Said


class Dirac(Dialect):
    """DIRAC. A job that runs does so in an empty folder, with its sandbox and ``environ`` alone, as on the Grid."""

    submits = "dirac-wms-job-submit"
    asks = ("dirac-wms-job-status", "dirac-wms-job-attributes")
    accounts = ""
    cancels = "dirac-wms-job-kill"
    away = Reply("ERROR: Error while connecting to the server: connection refused\n", code=2)
    refused = Reply("ERROR job.jdl: Illegal Job JDL: no Executable\n", code=2)
    broken = Reply("ERROR job.jdl: Connection closed by peer ( 1112 : Cannot receive )\n", code=2)
    reuses_ids = False

    waiting: ClassVar[Said] = {"Status": "Waiting", "MinorStatus": "Pilot Agent Submission", "Site": "ANY"}
    held: ClassVar[Said] = {"Status": "Staging", "MinorStatus": "Request To Be Sent"}
    running: ClassVar[Said] = {"Status": "Running", "MinorStatus": "Application"}
    ends = (
        {"Status": "Done", "MinorStatus": "Execution Complete"},
        {"Status": "Failed", "MinorStatus": "Application Finished With Errors"},
        {"Status": "Failed", "MinorStatus": "Job has exceeded maximum wall clock time"},
        {"Status": "Failed", "MinorStatus": "Job stalled: pilot not running"},
        {"Status": "Killed", "MinorStatus": "Marked for termination"},
        {"Status": "Deleted", "MinorStatus": ""},
    )
    unfit: ClassVar[Said] = {"Status": "Failed", "MinorStatus": "Application Finished With Errors"}
    environ: ClassVar[Mapping[str, str]] = {"PATH": "/usr/bin:/bin"}

    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        return FakeJob(id=job_id, name=name, script=script, said=dict(self.waiting))

    def made(self, number: int, call: Call) -> list[FakeJob]:
        text = (call.folder / call.words[-1]).read_text()
        job = self.job(str(number), str(attribute(text, "JobName")), text)
        job.extra["group"] = attribute(text, "JobGroup")
        for name in attribute(text, "InputSandbox"):
            if not (call.folder / name).is_file():
                raise ValueError(f"Input Sandbox is not valid: {name}")
        return [job]

    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        return f"JobID = {jobs[0].id}\n"

    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        words = call.words
        if call.name == self.cancels:
            for job in (jobs[word] for word in words if word in jobs):
                if job.queue and not job.over:
                    job.cancel(Status="Killed", MinorStatus="Marked for termination")
            return Reply(f"Killed jobs {','.join(words)}\n")
        if "-g" in words:
            group = words[words.index("-g") + 1]
            words = [key for key, job in jobs.items() if job.extra.get("group") == group and job.queue]
            if not words:
                return Reply("Error: No jobs selected\n", code=255)
        known = [jobs[word] for word in words if word in jobs and jobs[word].queue]
        return Reply("".join(map(_attributes if call.name == self.asks[1] else _status, known)))

    def on(self, node: str) -> Said:
        return {"Site": f"LCG.{node}.nl"}

    def avoided(self, script: str) -> set[str]:
        return {site.split(".")[1] for site in attribute(script, "BannedSites")}

    def array(self, number: int) -> list[FakeJob]:
        return [self.job(str(number + one), "other") for one in range(40)]

    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        worker = folder / f"worker-{job.id}"
        worker.mkdir()
        for name in attribute(job.script, "InputSandbox"):
            shutil.copy(call.folder / name, worker / Path(name).name)
        program = worker / str(attribute(job.script, "Executable"))
        program.chmod(0o755)
        out, err = (worker / str(attribute(job.script, name)) for name in ("StdOutput", "StdError"))
        words = str(attribute(job.script, "Arguments") or "").split()
        job.run([str(program), *words], worker, {**self.environ, "DIRACJOBID": job.id}, out, err)

    def ended(self, code: int) -> Said:
        return self.ends[1] if code else self.ends[0]


def attribute(description: str, name: str) -> str | list[str]:
    """An attribute of a job description: a text, or a list of texts; "" where it is not there."""
    found = re.search(rf'^\s*{name} = (?:"([^"\\]*)"|\{{([^}}\\]*)\}}|([0-9]+));$', description, re.MULTILINE)
    if found is None:
        return ""
    return re.findall('"([^"]*)"', found[2]) if found[2] is not None else found[1] or found[3] or ""


def _attributes(job: FakeJob) -> str:
    return (
        f"=================\n {job.id}\n{{'ApplicationStatus': 'Unknown',\n 'JobID': '{job.id}',\n"
        f" 'JobName': '{job.name}',\n 'Owner': 'someone'}}\n"
    )


def _status(job: FakeJob) -> str:
    return f"JobID={job.id} " + "".join(f"{key}={value}; " for key, value in job.said.items()) + "\n"


DIALECT = Dirac
