"""PBS Pro and OpenPBS: ``qsub``, ``qstat``, ``qdel``.

States are those of the manual page qstat(1B) of OpenPBS 23; the meaning of exit statuses is that of its source
(``JOB_EXEC_*`` in ``job.h``); what ``qstat -f -F json`` prints is that of ``qstat.c``. Not run for real: there is no
PBS in Debian. PBS has no warning before the end of a job's time, which a pilot knows by its own clock. When the time
is over, and after ``qdel``, it sends TERM, and KILL some seconds later.
"""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from picas.schedulers.base import Job, JobSpec, JobState, SchedulerAway
from picas.schedulers.batch import Batch, Call, System, failed, state_of
from picas.schedulers.commands import Answer
from picas.schedulers.template import Template, render

__all__ = ["make", "read"]

_TEMPLATE = Template(
    prefix="#PBS",
    options=(
        "-N {name}",
        "-S /bin/sh",
        "-o {output}/",
        "-j oe",
        "-r n",
        "-q {queue}",
        "-l walltime={time}",
    ),
)

_STATES = {
    "B": JobState.RUNNING,  # an array, of which a job runs
    "E": JobState.ENDING,
    "H": JobState.HELD,
    "M": JobState.PENDING,  # moved to another server, which this one does not ask
    "Q": JobState.PENDING,
    "R": JobState.RUNNING,
    "S": JobState.RUNNING,  # suspended
    "T": JobState.PENDING,
    "U": JobState.RUNNING,  # suspended, as somebody uses the machine
    "W": JobState.PENDING,
    # Ended; the exit status tells how.
    "F": JobState.DONE,
    "X": JobState.DONE,
}

_REFUSED_TO_RUN = {
    -24: JobState.FAILED,  # more cores than it asked for
    -25: JobState.FAILED,
    -26: JobState.MEMORY,
    -27: JobState.MEMORY,
    -28: JobState.TIMEOUT,
    -29: JobState.TIMEOUT,
}
"""Exit statuses below 0: PBS ended the job. All others mean that it could not start, or that its node was lost."""

_TERM, _KILL = 15, 9
_ID = re.compile(r"[0-9]+(\[[0-9]*\])?(\.[A-Za-z0-9._-]+)?", re.ASCII)
_SUBMITTED = re.compile(rf"^({_ID.pattern})\s*$", re.ASCII | re.MULTILINE)
_ABSENT = re.compile(r"unknown job id|job has finished|job_history_enable", re.IGNORECASE)
_CANCELLED = re.compile(r"unknown job id|job has finished", re.IGNORECASE)


def make() -> Batch:
    """The PBS that the commands on PATH speak to."""
    return Batch(
        System(
            name="pbs",
            ids=_ID,
            script=_script,
            submit=lambda _, script: Call(argv=["qsub"], stdin=script),
            submitted=_SUBMITTED,
            queue=lambda ids: ["qstat", "-f", "-F", "json", *ids],
            read_queue=read,
            accounts=lambda ids: ["qstat", "-x", "-f", "-F", "json", *ids],
            read_accounts=read,
            mine=lambda _: ["qstat", "-f", "-F", "json"],
            read_mine=lambda answer: read(answer, getpass.getuser()),
            cancel=["qdel"],
            cancelled=_CANCELLED,
            avoids=False,
            key=lambda job_id: job_id.partition(".")[0],
        )
    )


def read(answer: Answer, owner: str | None = None) -> list[Job]:
    """The jobs, those of one user where it is given; jobs that PBS does not know are left out.

    ``qstat`` prints what it knows and ends with an error when there is a job that it does not know.
    """
    unknown = [line for line in answer.err.splitlines() if line.strip()]
    if answer.code and not (unknown and all(_ABSENT.search(line) for line in unknown)):
        raise failed("qstat", answer)
    try:
        said = json.loads(answer.out)
        jobs: dict[str, dict[str, Any]] = said.get("Jobs", {})
        mine = {key: job for key, job in jobs.items() if owner in (None, str(job["Job_Owner"]).partition("@")[0])}
        return [_job(key, job) for key, job in mine.items()]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise SchedulerAway(f"qstat printed what is no table of jobs: {error}") from None


def _job(job_id: str, said: Mapping[str, Any]) -> Job:
    state = state_of(str(said["job_state"]), _STATES, job_id, "PBS")
    reason, code = str(said.get("comment", "")), None
    if state.is_final:
        state, code, why = _end(said)
        reason = why or reason
    host = str(said.get("exec_host", "")).partition("/")[0]
    return Job(id=job_id, name=str(said.get("Job_Name", "")), state=state, reason=reason, exit_code=code, node=host)


def _end(said: Mapping[str, Any]) -> tuple[JobState, int | None, str]:
    """How a job ended, its exit code, and why."""
    if "Exit_status" not in said:
        return JobState.CANCELLED, None, "deleted before it began"
    status = int(said["Exit_status"])
    if status < 0:
        return _REFUSED_TO_RUN.get(status, JobState.NODE), None, f"PBS ended it with status {status}"
    if status < 256:
        return JobState.FAILED if status else JobState.DONE, status, ""
    number = status - 256
    state = JobState.CANCELLED if number in (_TERM, _KILL) else JobState.FAILED
    if number in (_TERM, _KILL) and _over(said, "walltime", _seconds):
        state = JobState.TIMEOUT
    elif number == _KILL and _over(said, "mem", _bytes):
        state = JobState.MEMORY
    return state, -number, f"signal {number}"


def _over(said: Mapping[str, Any], resource: str, number: Callable[[str], int]) -> bool:
    """Whether a job has used all that it asked for of a resource."""
    used, asked = (said.get(key, {}).get(resource) for key in ("resources_used", "Resource_List"))
    return bool(used and asked and number(str(used)) >= number(str(asked)))


def _seconds(text: str) -> int:
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([kmgt]?)([bw]?)", text.lower())
    if not found:
        raise ValueError(f"{text!r} is no size")
    power = " kmgt".index(found[2] or " ")
    return int(found[1]) * (1 << 10 * power) * (8 if found[3] == "w" else 1)


def _script(spec: JobSpec) -> str:
    chunk = "-l select=1:ncpus={cores}"
    chunk += ":mem={memory_mib}mb" if spec.memory else ""
    chunk += ":ngpus={gpus}" if spec.gpus else ""
    own = not any(word.startswith(("select=", "-lselect=")) for word in spec.native)
    options = (*_TEMPLATE.options, chunk) if own else _TEMPLATE.options
    return render(spec, replace(_TEMPLATE, options=options))
