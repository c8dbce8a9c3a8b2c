"""GridEngine and its heirs: ``qsub``, ``qstat``, ``qacct``, ``qdel``. Run for real with 8.1.9, from Debian.

Letters of states and codes of failures are those of its manual page sge_status(5). There is no TERM before the end:
``-notify`` sends USR2 when the time is over, and after ``qdel``, and KILL some seconds later, as the queue has it; a
pilot ends with USR2, and before that by its own clock. A soft limit (``s_rt``) is not asked for: a job that outlives
its USR1 is not killed at its hard limit any more. A job that was deleted before it began leaves no record: it is gone.
``qacct`` knows one job or all of a user, so those that ended in a week are read.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from xml.etree import ElementTree

from picas.schedulers.base import Job, JobSpec, JobState, SchedulerAway, SchedulerError
from picas.schedulers.batch import Batch, Call, System, complaints, failed, unknown_state
from picas.schedulers.commands import Answer
from picas.schedulers.template import Template, nodes, render

__all__ = ["make", "read_accounts", "read_queue"]

_STATES = (
    ("d", JobState.ENDING),
    ("E", JobState.HELD),  # it could not be started; a person must look
    ("rtsST", JobState.RUNNING),  # also suspended ones, by hand, by their queue or by its load
    ("h", JobState.HELD),
    ("qw", JobState.PENDING),
    ("z", JobState.ENDING),  # ended, which the accounts will say
)
"""A state has several letters; the first of these that is among them tells."""

_LETTERS = "dErtsSThqwzR"

_NOT_STARTED = frozenset([1, 3, 4, 6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 26, 27, 28, 29, 31, 32, 33, 34, 35, 36, 38])
_RAN = frozenset([0, 12, 13, 14, 15, 16, 17, 30, 100])
_MOVED = frozenset([24, 25])
_OVER_LIMIT = 37
"""Codes of ``failed``."""

_TERM, _KILL, _USR1, _USR2 = 15, 9, 10, 12
_WARNINGS = {_USR1: JobState.TIMEOUT, _USR2: JobState.CANCELLED, _TERM: JobState.CANCELLED, _KILL: JobState.CANCELLED}
_DAYS = 7

_ID = re.compile(r"[0-9]+", re.ASCII)
_SUBMITTED = re.compile(r'^(?:Your job )?([0-9]+)(?:$| \("[^"\n]*"\) has been submitted)', re.ASCII | re.MULTILINE)
_CANCELLED = re.compile(r"has registered |has deleted |does not exist|already in deletion")
_NO_RECORDS = re.compile(r"not found|no jobs running since startup|No such file", re.IGNORECASE)
_HARD_TIME = re.compile(r"\bh_rt=([0-9]+)", re.ASCII)

_OPTIONS = (
    "-N {name}",
    "-S /bin/sh",
    "-o {output}/",
    "-j y",
    "-r n",
    "-notify",
    "-q {queue}",
    "-l h_rt={seconds}",
)


def make(parallel: str = "smp", memory: str = "mem_free", gpu: str = "gpu") -> Batch:
    """The GridEngine that the commands on PATH speak to.

    The names are the site's: of the parallel environment for cores of one host (``-pe NAME N``, left out where the
    native options have one), and of the resources for memory, in MiB of the whole job, and for GPUs.
    """

    def script(spec: JobSpec) -> str:
        cores = (f"-pe {parallel} {{cores}}",) if spec.cores > 1 and "-pe" not in spec.native else ()
        avoid = (f"-l hostname=!({'|'.join(nodes(spec))})",) if spec.avoid else ()
        options = (*_OPTIONS, f"-l {memory}={{memory_mib}}M", f"-l {gpu}={{gpus}}", *cores, *avoid)
        return render(spec, Template(prefix="#$", options=options))

    return Batch(
        System(
            name="gridengine",
            ids=_ID,
            script=script,
            submit=lambda _, text: Call(argv=["qsub", "-terse"], stdin=text),
            submitted=_SUBMITTED,
            queue=lambda _: _mine(),
            read_queue=read_queue,
            accounts=lambda _: ["qacct", "-o", getpass.getuser(), "-E", "-d", str(_DAYS), "-j"],
            read_accounts=read_accounts,
            mine=lambda _: _mine(),
            read_mine=read_queue,
            cancel=["qdel"],
            cancelled=_CANCELLED,
            avoids=True,
        )
    )


def read_queue(answer: Answer) -> list[Job]:
    """The jobs that ``qstat -xml`` lists: those that have not ended."""
    if answer.code:
        raise failed("qstat", answer)
    try:
        root = ElementTree.fromstring(answer.out)  # noqa: S314 - the batch system's own, and no job can add to it
    except ElementTree.ParseError as error:
        raise SchedulerAway(f"qstat printed what is no table of jobs: {error}") from None
    if root.tag != "job_info":
        raise SchedulerAway(f"qstat printed what is no table of jobs, but {root.tag!r:.60}")
    return [_queued(row) for row in root.iter("job_list")]


def read_accounts(answer: Answer) -> list[Job]:
    """The jobs that ``qacct -j`` has records of, by their last one."""
    if answer.code and all(_NO_RECORDS.search(line) for line in complaints(answer)):
        return []
    if answer.code:
        raise failed("qacct", answer)
    return list({job.id: job for job in _records(answer.out)}.values())


def _mine() -> list[str]:
    return ["qstat", "-xml", "-u", getpass.getuser()]


def _queued(row: ElementTree.Element) -> Job:
    said = {part.tag: (part.text or "").strip() for part in row}
    try:
        job_id, letters = said["JB_job_number"], said["state"]
    except KeyError as missing:
        raise SchedulerAway(f"qstat printed a job without {missing}") from None
    host = said.get("queue_name", "").rpartition("@")[2]
    return Job(id=job_id, name=said.get("JB_name", ""), state=_state(letters, job_id), reason=letters, node=host)


def _state(letters: str, job_id: str) -> JobState:
    found = [state for known, state in _STATES if set(known) & set(letters)]
    if not found or set(letters) - set(_LETTERS):
        raise unknown_state(letters, job_id, "GridEngine")
    return found[0]


def _records(text: str) -> Iterator[Job]:
    """A record begins with a rule, and has a name and a value on each line."""
    for part in re.split(r"^=+\s*$", text, flags=re.MULTILINE):
        said = dict(words for line in part.splitlines() if len(words := line.split(None, 1)) == 2)
        if "jobnumber" in said:
            try:
                yield _record(said)
            except (KeyError, ValueError) as error:
                raise SchedulerAway(f"qacct printed a record that cannot be read: {error}") from None


def _record(said: Mapping[str, str]) -> Job:
    job_id, failure = said["jobnumber"].strip(), int(said["failed"].split()[0])
    status = int(said["exit_status"].split()[0])
    number = status - 128 if failure == 100 and status > 128 else 0
    job = Job(
        id=job_id,
        name=said.get("jobname", "").strip(),
        state=JobState.FAILED if status else JobState.DONE,
        reason=said["failed"].strip() if failure else "",
        exit_code=-number if number else status,
        node=said.get("hostname", "").strip(),
    )
    if failure in _RAN:
        return replace(job, state=_ending(said, number)) if number else job
    if failure == _OVER_LIMIT:
        return replace(job, state=JobState.TIMEOUT, exit_code=None)
    if failure in _MOVED:
        return replace(job, state=JobState.PREEMPTED, exit_code=None)
    if failure in _NOT_STARTED:
        return replace(job, state=JobState.NODE, exit_code=None)
    raise SchedulerError(f"GridEngine says that job {job_id} failed with {said['failed']!r:.60}, which is not known")


def _ending(said: Mapping[str, str], number: int) -> JobState:
    """Why a job ended by a signal: of what it asked for, only the time is told."""
    limit = _HARD_TIME.search(said.get("category", ""))
    took = float(said["ru_wallclock"].strip().rstrip("s"))
    if number in (_KILL, _TERM) and limit and took >= float(limit[1]):
        return JobState.TIMEOUT
    return _WARNINGS.get(number, JobState.FAILED)
