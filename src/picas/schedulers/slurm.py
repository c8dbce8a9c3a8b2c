"""Slurm, by ``sbatch``, ``squeue``, ``sacct`` and ``scancel``. Measured on 22.05; read in the manuals up to 25.05.

One job per pilot; an array only where it is asked for, since its waiting elements can vanish from ``squeue`` and
``sacct`` alike. No requeue: Slurm begins a second run while the first is still alive on a node it has lost sight of.
"""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence

from picas.errors import UsageError
from picas.schedulers import commands
from picas.schedulers.base import Job, JobSpec, JobState, Rejected, SchedulerAway
from picas.schedulers.batch import failed, must_be_whole, parts, state_of, whole_lines
from picas.schedulers.book import Book
from picas.schedulers.commands import Answer, NoCommand, first_line
from picas.schedulers.template import Template, nodes, render

__all__ = ["Slurm", "make"]

_TEMPLATE = Template(
    prefix="#SBATCH",
    options=(
        "--job-name={name}",
        "--output={output}/%x-%j.out",
        "--partition={queue}",
        "--nodes=1 --ntasks=1 --cpus-per-task={cores}",
        "--mem={memory_mib}M",
        "--gres=gpu:{gpus}",
        "--time={time}",
        # B: the batch shell alone, which has become the pilot; without it nothing reaches a script before the limit.
        "--signal=B:TERM@{warning}",
        "--no-requeue",
        "--exclude={avoid}",
    ),
)

_STATES = {
    "BOOT_FAIL": JobState.NODE,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.DONE,
    "COMPLETING": JobState.ENDING,
    "CONFIGURING": JobState.PENDING,
    "DEADLINE": JobState.TIMEOUT,
    "EXPEDITING": JobState.PENDING,
    "FAILED": JobState.FAILED,
    "LAUNCH_FAILED": JobState.NODE,
    "NODE_FAIL": JobState.NODE,
    "OUT_OF_MEMORY": JobState.MEMORY,
    "PENDING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "PREEMPTED": JobState.PREEMPTED,
    "RECONFIG_FAIL": JobState.NODE,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.HELD,
    "RESIZING": JobState.RUNNING,
    "RESV_DEL_HOLD": JobState.HELD,
    "REVOKED": JobState.GONE,  # another cluster of the federation took it
    "RUNNING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SPECIAL_EXIT": JobState.HELD,
    "STAGE_OUT": JobState.ENDING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "TIMEOUT": JobState.TIMEOUT,
    "UPDATE_DB": JobState.ENDING,
}

_NEVER = re.compile(
    r"JobHeld|Held|held|Never|BadConstraints|PartitionConfig|PartitionTimeLimit|PartitionNodeLimit|NotAllowed|Invalid"
)
"""Reasons to wait that do not go by themselves."""

_UNSETTLED = re.compile(
    r"unable to contact|timed out|connection|communication|transport|zero bytes|temporarily|try again|munge"
    r"|authentication|not responding|socket|interrupted",
    re.IGNORECASE,
)
"""What the commands say when it is not known whether the controller has heard them."""

_FORMAT = "%i|%T|%N|%r|%j"
"""Free text last: a name may have the separator in it."""

_ID = re.compile(r"[0-9]+(_[0-9]+)?", re.ASCII)
_SUBMITTED = re.compile(r"^([0-9]+)(;[^\s;]+)?$", re.ASCII | re.MULTILINE)
_RANGE = re.compile(r"([0-9]+)_\[([0-9,-]+)(%[0-9]+)?\]", re.ASCII)
_MOST_ELEMENTS = 100_000


class Slurm:
    """The `Scheduler` of a Slurm cluster. `book` is what is remembered between two looks."""

    name = "slurm"
    avoids, is_far = True, False

    def __init__(self, *, timeout: float = commands.TIMEOUT, clock: Callable[[], float] = time.time) -> None:
        self.book = Book(clock)
        self.timeout = timeout

    def script(self, spec: JobSpec) -> str:
        """The script for ``sbatch``."""
        return render(_with_exclusions(spec), _TEMPLATE)

    def submit(self, spec: JobSpec) -> str:
        """Hand in one job; its id. `Rejected` or `SchedulerAway` when not."""
        return self._sbatch(spec)

    def submit_array(self, spec: JobSpec, count: int) -> list[str]:
        """Hand in one array of jobs that are alike; the ids of its elements."""
        if count < 1:
            raise UsageError(f"an array of {count} jobs makes no sense")
        array = self._sbatch(spec, f"--array=1-{count}")
        return [f"{array}_{number}" for number in range(1, count + 1)]

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        """What ``squeue`` says of these jobs and, where it does not know them, ``sacct``."""
        asked = self.book.open([_checked(job_id) for job_id in ids])
        said = {job.id: job for part in parts(asked) for job in self._squeue(part)}
        absent = [job_id for job_id in asked if job_id not in said]
        ended, accounts = self._sacct(absent)
        return self.book.settle(ids, [*said.values(), *ended], accounts=accounts)

    def find(self, prefix: str) -> list[Job]:
        """This user's jobs, not yet ended, with a name that begins so."""
        answer = self._ask("squeue", "-h", "-r", "-t", "all", "-o", _FORMAT, f"--user={os.getuid()}")
        found = [job for row in _rows(answer) if row[4].startswith(prefix) for job in _expanded(_from_row(row))]
        return [job for job in found if not job.state.is_final]

    def cancel(self, ids: Sequence[str]) -> None:
        """Have Slurm end these jobs; one that has ended is no error."""
        for part in parts([_checked(job_id) for job_id in ids]):
            answer = self._run("scancel", *part)
            if answer.code and not re.search("already complet|Invalid job id", answer.err):
                raise failed("scancel", answer)

    def _sbatch(self, spec: JobSpec, *options: str) -> str:
        argv = ["sbatch", "--parsable", *options]
        script = self.script(spec)
        answer = commands.run(argv, stdin=script, timeout=self.timeout, folder=spec.folder, for_job=True)
        if answer.code == 0:
            if found := _SUBMITTED.search(whole_lines(answer.out)):
                return found[1]
            raise SchedulerAway(f"sbatch did not say the job's id, but {first_line(answer.out)!r}")
        away = answer.code < 0 or _UNSETTLED.search(answer.err)
        raise (SchedulerAway if away else Rejected)(f"sbatch: {_error_in(answer)}")

    def _squeue(self, ids: Sequence[str]) -> Iterator[Job]:
        # The first id twice: a single one that is not known any more would be an error, in a list it is left out.
        listed = ",".join([ids[0], *ids])
        answer = self._run("squeue", "-h", "-r", "-t", "all", "-o", _FORMAT, f"--jobs={listed}")
        if answer.code and "Invalid job id" in answer.err:
            return
        _must_have_worked("squeue", answer)
        wanted = set(ids)
        for row in _rows(answer):
            yield from (job for job in _expanded(_from_row(row)) if job.id in wanted)

    def _sacct(self, ids: Sequence[str]) -> tuple[list[Job], bool]:
        """What the accounts say of these jobs, and whether they could be asked or there are none."""
        said: list[Job] = []
        wanted = set(ids)
        columns = "--format=JobID,State,NodeList,ExitCode,JobName"
        for part in parts(ids):
            try:
                answer = self._run("sacct", "-n", "-X", "-P", columns, f"--jobs={','.join(part)}")
                if answer.code:
                    return said, "accounting storage is disabled" in answer.err
                said += [job for row in _rows(answer) for job in _expanded(_from_account(row)) if job.id in wanted]
            except NoCommand:
                return said, True
            except SchedulerAway:
                return said, False
        return said, True

    def _ask(self, *argv: str) -> Answer:
        answer = self._run(*argv)
        _must_have_worked(argv[0], answer)
        return answer

    def _run(self, *argv: str) -> Answer:
        return commands.run(argv, timeout=self.timeout)


def make() -> Slurm:
    """The Slurm that the commands on PATH speak to."""
    return Slurm()


def _with_exclusions(spec: JobSpec) -> JobSpec:
    """A second list of nodes would take the place of the first: ours joins that of the user, where there is one."""
    own = next((word for word in spec.native if word.startswith("--exclude=")), None)
    if own is None or not spec.avoid:
        return spec
    joined = ",".join([own, *nodes(spec)])
    native = [joined if word is own else word for word in spec.native]
    return dataclasses.replace(spec, native=native, avoid=())


def _rows(answer: Answer) -> list[list[str]]:
    """The lines of a table of five columns; `SchedulerAway` for any other, as from a command that was cut off."""
    must_be_whole("what Slurm said", answer)
    rows = [line.split("|", 4) for line in answer.out.splitlines() if line.strip()]
    for row in rows:
        if len(row) != 5 or not re.match(r"[0-9]+(_|\Z)", row[0]) or not re.match("[A-Z]", row[1]):
            raise SchedulerAway(f"Slurm said what is no row of a table: {'|'.join(row)!r:.200}")
    return rows


def _from_row(row: Sequence[str]) -> Job:
    job_id, word, node, reason, name = row
    state = state_of(word, _STATES, job_id, "Slurm")
    if state is JobState.PENDING and _NEVER.search(reason):
        state = JobState.HELD
    return Job(id=job_id, state=state, node=node, reason="" if reason == "None" else reason, name=name)


def _from_account(row: Sequence[str]) -> Job:
    job_id, words, node, code, name = row
    # "CANCELLED by 1000"
    state = state_of(words.split()[0].rstrip("+"), _STATES, job_id, "Slurm")
    node = "" if node == "None assigned" else node
    exit_code = _exit_code(code) if state.is_final else None
    return Job(id=job_id, state=state, node=node, reason=words, exit_code=exit_code, name=name)


def _exit_code(text: str) -> int | None:
    """``3:0`` is an exit code, ``0:15`` a signal: minus its number."""
    found = re.fullmatch(r"([0-9]+):([0-9]+)", text)
    return None if not found else -int(found[2]) if int(found[2]) else int(found[1])


def _expanded(job: Job) -> Iterator[Job]:
    """The elements of an array that stand in one row, as ``619_[1-3,7%2]``; any other job as it is."""
    found = _RANGE.fullmatch(job.id)
    if not found:
        yield job
        return
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        for number in numbers[:_MOST_ELEMENTS]:
            yield dataclasses.replace(job, id=f"{found[1]}_{number}")


def _checked(job_id: str) -> str:
    if not _ID.fullmatch(job_id):
        raise UsageError(f"{job_id!r:.60} is no id of a Slurm job")
    return job_id


def _must_have_worked(name: str, answer: Answer) -> None:
    if answer.code:
        raise failed(name, answer)


def _error_in(answer: Answer) -> str:
    """The first line that is an error: warnings may stand before it."""
    lines = [line for line in answer.err.splitlines() if "error:" in line or "fatal:" in line]
    return (first_line(lines[0]) if lines else answer.complaint).removeprefix("sbatch: ")
