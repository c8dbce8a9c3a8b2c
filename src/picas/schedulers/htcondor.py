"""HTCondor: ``condor_submit``, ``condor_q``, ``condor_history``, ``condor_rm``. Jobs of the vanilla universe.

States, attributes and the syntax of submit descriptions are those of the HTCondor manual, version 25. Not run for
real: there is no HTCondor in Debian 12. There is no script: HTCondor runs the pilot itself, in its folder, on a shared
file system unless native lines say otherwise. It removes a job whose time is over, or which would begin a second
time, and a job that is removed gets TERM, and KILL after the warning (or sooner, where a machine's owner says so).
"""

from __future__ import annotations

import getpass
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from picas.errors import UsageError
from picas.schedulers.base import Job, JobSpec, JobState, SchedulerAway
from picas.schedulers.batch import Batch, Call, System, failed, state_of
from picas.schedulers.commands import Answer
from picas.schedulers.template import fields, nodes, quoted, variable

__all__ = ["make", "read"]

_QUEUE = {
    "1": JobState.PENDING,
    "2": JobState.RUNNING,
    "3": JobState.ENDING,
    "4": JobState.DONE,
    "5": JobState.HELD,
    "6": JobState.ENDING,
    "7": JobState.RUNNING,  # suspended
}

_HISTORY = {
    # Ended; the attributes of its exit, or of its removal, tell how.
    "3": JobState.CANCELLED,
    "4": JobState.DONE,
}

_ATTRIBUTES = (
    "ClusterId,ProcId,JobStatus,JobBatchName,Owner,ExitCode,ExitBySignal,ExitSignal,HoldReason,RemoveReason,"
    "LastJobStatus,RemoteHost,LastRemoteHost"
)
_PRINTED = ("-json", "-attributes", _ATTRIBUTES)
_IDLE, _RUNNING = 1, 2
_ID = re.compile(r"[0-9]+\.[0-9]+", re.ASCII)
_SUBMITTED = re.compile(r"^([0-9]+\.[0-9]+) - [0-9]+\.[0-9]+\s*$", re.ASCII | re.MULTILINE)
_CANCELLED = re.compile(r"marked for removal|not found|already (completed|marked)|couldn't find/remove", re.IGNORECASE)
_REQUIREMENTS = re.compile(r"requirements *=", re.IGNORECASE)
_NATIVE = re.compile(r"[+A-Za-z][A-Za-z0-9_.]* *=[\x20-\x7e]*", re.ASCII)


def make() -> Batch:
    """The HTCondor that the commands on PATH speak to."""
    return Batch(
        System(
            name="htcondor",
            ids=_ID,
            script=lambda spec: "\n".join(_description(spec)) + "\n",
            submit=lambda _, script: Call(argv=["condor_submit", "-terse"], stdin=script),
            submitted=_SUBMITTED,
            queue=lambda ids: ["condor_q", *ids, *_PRINTED],
            read_queue=lambda answer: read("condor_q", answer),
            accounts=lambda ids: ["condor_history", *ids, "-limit", str(len(ids)), *_PRINTED],
            read_accounts=lambda answer: read("condor_history", answer, _HISTORY),
            mine=lambda _: ["condor_q", "-constraint", f'Owner == "{getpass.getuser()}"', *_PRINTED],
            read_mine=lambda answer: read("condor_q", answer),
            cancel=["condor_rm"],
            cancelled=_CANCELLED,
            avoids=True,
        )
    )


def read(name: str, answer: Answer, states: Mapping[str, JobState] = _QUEUE) -> list[Job]:
    """The jobs that a command printed as JSON; where there are none it may print nothing at all."""
    if answer.code:
        raise failed(name, answer)
    try:
        said: list[dict[str, Any]] = json.loads(answer.out) if answer.out.strip() else []
        if not isinstance(said, list):
            raise TypeError(type(said).__name__)
        return [_job(job, states) for job in said]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SchedulerAway(f"{name} printed what is no table of jobs: {error}") from None


def _job(said: Mapping[str, Any], states: Mapping[str, JobState]) -> Job:
    job_id = f"{int(said['ClusterId'])}.{int(said['ProcId'])}"
    state = state_of(str(said["JobStatus"]), states, job_id, "HTCondor")
    code, reason = None, str(said.get("HoldReason", "")) if state is JobState.HELD else ""
    if state is JobState.DONE:
        state, code = _end(said)
    elif state is JobState.CANCELLED:
        reason = str(said.get("RemoveReason", ""))
        state = _removal(reason, said.get("LastJobStatus"))
    host = str(said.get("RemoteHost") or said.get("LastRemoteHost") or "").rpartition("@")[2]
    return Job(id=job_id, name=str(said.get("JobBatchName", "")), state=state, reason=reason, exit_code=code, node=host)


def _end(said: Mapping[str, Any]) -> tuple[JobState, int | None]:
    """How a job that ended by itself ended; one of which it is not said is not taken for done."""
    if said.get("ExitBySignal"):
        return JobState.FAILED, -int(said["ExitSignal"]) if "ExitSignal" in said else None
    if "ExitCode" not in said:
        return JobState.GONE, None
    code = int(said["ExitCode"])
    return JobState.FAILED if code else JobState.DONE, code


def _removal(reason: str, before: Any) -> JobState:
    """Why a job was removed: by its own description, when its time was over or it had lost its machine, or by hand."""
    if "PeriodicRemove" not in reason:
        return JobState.CANCELLED
    return {_RUNNING: JobState.TIMEOUT, _IDLE: JobState.PREEMPTED}.get(before, JobState.CANCELLED)


def _description(spec: JobSpec) -> Iterator[str]:
    """The lines of a submit description. In HTCondor's own quoting, not in that of a shell."""
    known = fields(spec)
    program, *words = spec.argv if "/" in spec.argv[0] else ("/usr/bin/env", *spec.argv)
    yield "universe = vanilla"
    yield f'+JobBatchName = "{known["name"]}"'
    yield f"initialdir = {_line(known['folder'], 'the folder')}"
    yield f"executable = {_line(program, 'the program')}"
    yield f"arguments = {_listed([_word(word, 'the argument') for word in words])}"
    if spec.environment:
        yield f"environment = {_listed([_variable(*item) for item in spec.environment.items()])}"
    yield "transfer_executable = false"
    yield f"output = {known['output']}/{known['name']}-$(ClusterId).out"
    yield f"error = {known['output']}/{known['name']}-$(ClusterId).err"
    yield f"request_cpus = {spec.cores}"
    if spec.memory:
        yield f"request_memory = {known['memory_mib']}"
    if spec.gpus:
        yield f"request_gpus = {spec.gpus}"
    if spec.queue:
        yield f"accounting_group = {known['queue']}"
    yield from _removed_when(spec)
    native = [_native(line) for line in spec.native]
    yield from (line for line in native if not (spec.avoid and _REQUIREMENTS.match(line)))
    if spec.avoid:
        # A second line of requirements would take the place of the first.
        asked = [f"({line.partition('=')[2].strip()})" for line in native if _REQUIREMENTS.match(line)]
        off = [f'(Machine != "{name}")' for name in nodes(spec)]
        yield f"requirements = {' && '.join(asked[-1:] + off)}"
    yield "queue"


def _removed_when(spec: JobSpec) -> Iterator[str]:
    """A pilot that has lost its machine is not begun again, as the pool's other pilots have its work by then."""
    rules = ["JobStatus == 1 && NumJobStarts > 0"]
    if spec.time:
        soft = max(math.ceil(spec.time - spec.warning), 1)
        rules.append(f"JobStatus == 2 && time() - JobCurrentStartExecutingDate > {soft}")
    yield f"periodic_remove = {' || '.join(f'({rule})' for rule in rules)}"
    yield "want_graceful_removal = true"
    yield "kill_sig = SIGTERM"
    yield f"job_max_vacate_time = {max(math.ceil(spec.warning), 1)}"


def _line(text: str, what: str) -> str:
    """A text as the rest of a line: it is one line, and has no macro."""
    quoted(text, what)
    if "$$" in text or text != text.strip() or text.endswith("\\"):
        raise UsageError(f"{what} {text!r:.80} cannot be written in a submit description")
    return text.replace("$", "$(DOLLAR)")


def _word(text: str, what: str) -> str:
    """A text as one word of ``arguments`` and ``environment``, within single quotes."""
    quoted(text, what)
    if "$$" in text:
        raise UsageError(f"{what} {text!r:.80} has $$, which HTCondor would replace")
    return "'" + text.replace("'", "''").replace('"', '""').replace("$", "$(DOLLAR)") + "'"


def _variable(name: str, value: str) -> str:
    return f"{variable(name)}={_word(value, f'the variable {name}')}"


def _listed(words: Sequence[str]) -> str:
    return '"' + " ".join(words) + '"'


def _native(line: str) -> str:
    """A line of the description in HTCondor's own words: ``name = value``, and no second line."""
    if not _NATIVE.fullmatch(line) or line.rstrip().endswith("\\"):
        hint = "each is one line of a submit description, as 'request_disk = 2GB'"
        raise UsageError(f"the native option {line!r:.80} is no line of a submit description", hint=hint)
    return line
