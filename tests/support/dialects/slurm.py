"""The words of Slurm, measured on 22.05. What is said of a job: ``state reason node code``, and another ``name``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from support.dialects.base import Call, Dialect, FakeJob, Reply, Said, run_script

_UNREACHED = "Unable to contact slurm controller (connect failure)"
_LIMIT = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


class Slurm(Dialect):
    """Slurm, with accounts as long as `accounting`."""

    submits = "sbatch"
    asks = ("squeue", "sacct")
    accounts = "sacct"
    cancels = "scancel"
    away = Reply(err=f"{{name}}: error: {_UNREACHED}\n", code=1)
    refused = Reply(
        err=f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: {_LIMIT}\n", code=1
    )
    broken = Reply(err="sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n", code=1)
    keeps_ended = True
    accounting = True

    waiting: ClassVar[Said] = {"state": "PENDING", "reason": "Priority", "node": "", "code": "0:0"}
    held: ClassVar[Said] = {"state": "PENDING", "reason": "JobHeldUser"}
    running: ClassVar[Said] = {"state": "RUNNING", "reason": "None"}
    ends = (
        {"state": "COMPLETED"},
        *({"state": word} for word in ("BOOT_FAIL", "DEADLINE", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")),
        {"state": "CANCELLED by 0", "code": "0:15"},
        {"state": "FAILED", "code": "3:0"},
    )
    unfit: ClassVar[Said] = {"state": "FAILED", "code": "8:0"}

    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        return FakeJob(id=job_id, name=name, script=script, said=dict(self.waiting))

    def made(self, number: int, call: Call) -> list[FakeJob]:
        if not call.stdin.startswith("#!"):
            raise ValueError("error: This does not look like a batch script.")
        name = _option(call.stdin, "--job-name=(.*)") or "sbatch"
        ids = [str(number)]
        for word in call.words:
            if word.startswith("--array="):
                first, last = word.partition("=")[2].split("-")
                ids = [f"{number}_{element}" for element in range(int(first), int(last) + 1)]
        return [self.job(job_id, name, call.stdin) for job_id in ids]

    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        return f"{jobs[0].id.partition('_')[0]}\n"

    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        return {"squeue": self._squeue, "sacct": self._sacct, "scancel": self._scancel}[call.name](jobs, call.words)

    def on(self, node: str) -> Said:
        return {"node": node}

    def avoided(self, script: str) -> set[str]:
        return set(filter(None, _option(script, "--exclude=(.*)").split(",")))

    def array(self, number: int) -> list[FakeJob]:
        runs, waits = self.job(f"{number}_1", "other"), self.job(f"{number}_[2-40%2]", "other")
        runs.said.update(self.running, node="n1")
        return [runs, waits]

    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        output = _option(job.script, "--output=(.*)").replace("%x", job.name).replace("%j", job.id)
        # As Slurm does, the signal of a cancelled job goes to the shell, which by then is what it has exec'ed.
        run_script(job, call, folder, Path(output), SLURM_JOB_ID=job.id)

    def ended(self, code: int) -> Said:
        state = "FAILED" if code else "COMPLETED"
        return {"state": state, "code": f"0:{-code}" if code < 0 else f"{code}:0", "reason": "None"}

    def _squeue(self, jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
        wanted = _named(words)
        shown = [job for key, job in jobs.items() if job.queue and (not wanted or key in wanted)]
        if len(wanted) == 1 and not shown:
            return Reply(err="slurm_load_jobs error: Invalid job id specified\n", code=1)
        form = words[words.index("-o") + 1]
        # The accounts alone say who has cancelled a job.
        return Reply("".join(f"{_filled(form, job, job.said['state'].split()[0])}\n" for job in shown))

    def _sacct(self, jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
        if not self.accounting:
            return Reply(err="Slurm accounting storage is disabled\n", code=1)
        columns = next(word for word in words if word.startswith("--format=")).partition("=")[2].split(",")
        codes = {"JobID": "%i", "State": "%T", "NodeList": "%N", "ExitCode": "%c", "JobName": "%j"}
        form, wanted = "|".join(codes[column] for column in columns), _named(words)
        shown = [job for key, job in jobs.items() if key in wanted and job.account]
        return Reply("".join(f"{_filled(form, job)}\n" for job in shown))

    def _scancel(self, jobs: Mapping[str, FakeJob], words: list[str]) -> Reply:
        for word in words:
            if word in jobs and not jobs[word].over:
                jobs[word].cancel(state="CANCELLED", reason="None", code="0:15")
        return Reply()


def _named(words: list[str]) -> set[str]:
    return {one for word in words if word.startswith("--jobs=") for one in word.partition("=")[2].split(",")}


def _filled(form: str, job: FakeJob, state: str = "") -> str:
    said = job.said
    values = {"i": job.id, "T": state or said["state"], "r": said["reason"], "N": said["node"], "c": said["code"]}
    values["j"] = said.get("name", job.name)
    return re.sub("%([a-zA-Z])", lambda found: str(values[found[1]]), form)


def _option(script: str, pattern: str) -> str:
    found = re.search(f"^#SBATCH .*{pattern}$", script, re.MULTILINE)
    return found[1] if found else ""


DIALECT = Slurm
