"""A pretended Slurm: ``sbatch squeue sacct scancel`` as programs in a folder, which do what a test tells them to.

    fake = FakeSlurm(tmp_path / "slurm")            # FakeSlurm(folder, runs=True): jobs really run, as processes
    monkeypatch.setenv("PATH", fake.path())
    ...                                              # sbatch makes jobs: PENDING, or RUNNING when they really run
    fake.set("1", state="FAILED", code="3:0")        # also reason=, node=, name=; state="" forgets it in squeue
    fake.forget("1")                                 # squeue does not know it any more, sacct does
    fake.forget("1", accounts=True)                  # nobody does
    fake.tell(squeue="fail")                         # and back: fake.tell(squeue="")
    fake.calls("squeue")                             # the argv of each call so far; fake.environments("sbatch")

What a command can be told, and stays told: ``fail`` (the controller cannot be reached, exit code 1), ``hang`` (60 s),
``garbage``, ``partial`` (the table is cut off in a line, with exit code 0), ``empty`` (no output, exit code 0),
``limit`` (``sbatch``: refused, a limit is exceeded), ``lost`` (``sbatch``: the job is made, but the answer is lost).
``fake.accounting(False)``: ``sacct`` says that there is none. ``fake.next_id = 7`` has ids used again.
All that is known lies in ``state.json``, changed under a lock; the programs start in about 20 ms.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.fake_programs import FakePrograms, changing, note_call

COMMANDS = ("sbatch", "squeue", "sacct", "scancel")
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)


class FakeSlurm(FakePrograms):
    """The programs in a folder, and what is behind them."""

    def __init__(self, folder: Path, *, runs: bool = False) -> None:
        state = {"next": 1, "jobs": {}, "told": {}, "accounting": True, "runs": runs}
        super().__init__(folder, __file__, COMMANDS, state)

    def accounting(self, there: bool) -> None:
        """Whether there are accounts."""
        with changing(self.folder) as state:
            state["accounting"] = there

    def set(self, job_id: str, **values: str) -> None:
        """Change what is said of a job; one that is not there is made."""
        with changing(self.folder) as state:
            state["jobs"].setdefault(job_id, new_job("", "")).update(values)

    def forget(self, job_id: str, *, accounts: bool = False) -> None:
        """Take a job out of the queue, and out of the accounts as well."""
        self.set(job_id, queue="", **({"account": ""} if accounts else {}))

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """All jobs there have been, by id: name, state, reason, node, code, script, and so on."""
        with changing(self.folder) as state:
            refresh(state)
            found: dict[str, dict[str, Any]] = state["jobs"]
            return found

    @property
    def next_id(self) -> int:
        """The id that the next job gets."""
        with changing(self.folder) as state:
            return int(state["next"])

    @next_id.setter
    def next_id(self, number: int) -> None:
        with changing(self.folder) as state:
            state["next"] = number

    def close(self) -> None:
        """End jobs that run."""
        for job in self.jobs.values():
            if job["pid"] and ended(job) is None:
                os.killpg(job["pid"], signal.SIGKILL)


def new_job(name: str, script: str) -> dict[str, Any]:
    return {
        "name": name, "state": "PENDING", "reason": "Priority", "node": "", "code": "0:0", "queue": "yes",
        "account": "yes", "script": script, "pid": 0,
    }  # fmt: skip


def refresh(state: dict[str, Any]) -> None:
    """Jobs that really run and have ended since."""
    for job in state["jobs"].values():
        if job["pid"] and job["state"] == "RUNNING" and (code := ended(job)) is not None:
            # 128 and more: what a shell says of a signal.
            signalled = f"0:{code - 128}" if code > 128 else f"{code}:0"
            job.update(state="FAILED" if code else "COMPLETED", code=signalled, reason="None")


def ended(job: dict[str, Any]) -> int | None:
    path = Path(job["exit"])
    return int(path.read_text()) if path.exists() and path.read_text().strip() else None


def main(folder: Path, name: str, words: list[str]) -> int:
    """One call of one of the commands."""
    note_call(folder, name, words)
    stdin = sys.stdin.read() if name == "sbatch" else ""
    with changing(folder) as state:
        told = state["told"].get(name, "")
        refresh(state)
        out, code = "", 0
        if told not in ("fail", "hang", "limit"):
            out, code = {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": scancel}[name](
                folder, state, words, stdin
            )
    if told in ("hang", "lost"):
        time.sleep(60)
    if told == "fail":
        sys.stderr.write(f"{name}: error: Unable to contact slurm controller (connect failure)\n")
        return 1
    if told == "limit":
        text = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        sys.stderr.write(f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: {text}\n")
        return 1
    written = {"garbage": "<html>\x00\x1b[31m502 Bad Gateway\n", "partial": out[: max(0, len(out) - 12)], "empty": ""}
    sys.stdout.write(written.get(told, out))
    return code


def sbatch(folder: Path, state: dict[str, Any], words: list[str], script: str) -> tuple[str, int]:
    if not script.startswith("#!"):
        sys.stderr.write("sbatch: error: This does not look like a batch script.\n")
        return "", 1
    number = state["next"]
    state["next"] = number + 1
    arrays = [word for word in words if word.startswith("--array=")]
    ids = [str(number)]
    if arrays:
        first, last = arrays[0].partition("=")[2].split("-")
        ids = [f"{number}_{element}" for element in range(int(first), int(last) + 1)]
    name = directive(script, "--job-name=(.*)") or "sbatch"
    for job_id in ids:
        state["jobs"][job_id] = new_job(name, script)
        if state["runs"]:
            start(folder, state["jobs"][job_id], job_id)
    return f"{number}\n", 0


def start(folder: Path, job: dict[str, Any], job_id: str) -> None:
    """Run the script as a process of its own; what it prints goes where the script says."""
    path, code = folder / f"{job_id}.sh", folder / f"{job_id}.exit"
    path.write_text(job["script"])
    output = directive(job["script"], "--output=(.*)") or "slurm-%j.out"
    target = output.replace("%x", job["name"]).replace("%j", job_id)
    # As Slurm does, the signal goes to the batch shell alone, which by then is what it has exec'ed.
    shell = f"trap : TERM; sh {path} & p=$!; echo $p > {folder / job_id}.pid; wait $p; c=$?; "
    shell += "while kill -0 $p 2>/dev/null; do wait $p; c=$?; done; "
    environ = {**os.environ, "SLURM_JOB_ID": job_id}
    with open(target, "ab") as out:  # noqa: PTH123
        process = subprocess.Popen(
            ["sh", "-c", f"{shell} echo $c > {code}"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, start_new_session=True,
        )  # fmt: skip
    job.update(state="RUNNING", reason="None", node="fake1", pid=process.pid, exit=str(code))
    process.returncode = 0  # it outlives this program


def squeue(folder: Path, state: dict[str, Any], words: list[str], stdin: str) -> tuple[str, int]:
    wanted = named(words)
    shown = {job_id: job for job_id, job in state["jobs"].items() if job["queue"] and (not wanted or job_id in wanted)}
    if wanted and len(wanted) == 1 and not shown:
        sys.stderr.write("slurm_load_jobs error: Invalid job id specified\n")
        return "", 1
    form = words[words.index("-o") + 1]
    return "".join(f"{filled(form, job_id, job)}\n" for job_id, job in shown.items()), 0


def sacct(folder: Path, state: dict[str, Any], words: list[str], stdin: str) -> tuple[str, int]:
    if not state["accounting"]:
        sys.stderr.write("Slurm accounting storage is disabled\n")
        return "", 1
    columns = next(word for word in words if word.startswith("--format=")).partition("=")[2].split(",")
    form = "|".join(
        {"JobID": "%i", "State": "%T", "NodeList": "%N", "ExitCode": "%c", "JobName": "%j"}[c] for c in columns
    )
    rows = [(job_id, job) for job_id, job in state["jobs"].items() if job_id in named(words) and job["account"]]
    return "".join(f"{filled(form, job_id, job)}\n" for job_id, job in rows), 0


def scancel(folder: Path, state: dict[str, Any], words: list[str], stdin: str) -> tuple[str, int]:
    for job_id in words:
        job = state["jobs"].get(job_id)
        if job and job["state"] not in ENDED:
            if job["pid"]:
                os.kill(int((folder / f"{job_id}.pid").read_text()), signal.SIGTERM)
            job.update(state="CANCELLED", reason="None", code="0:15")
    return "", 0


def named(words: list[str]) -> list[str]:
    return [one for word in words if word.startswith("--jobs=") for one in word.partition("=")[2].split(",")]


def filled(form: str, job_id: str, job: dict[str, Any]) -> str:
    values = {
        "%i": job_id, "%T": job["state"], "%r": job["reason"], "%N": job["node"], "%j": job["name"], "%c": job["code"],
    }  # fmt: skip
    return re.sub("%[a-zA-Z]", lambda found: str(values[found[0]]), form)


def directive(script: str, pattern: str) -> str:
    found = re.search(f"^#SBATCH .*{pattern}$", script, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
