"""DIRAC: ``dirac-wms-job-submit``, ``-status``, ``-attributes`` and ``-kill``. Jobs on the Grid, far from here.

States and what the commands print are those of DIRAC 9.0a (``JobStatus.py``, ``JobMinorStatus.py``, the scripts of its
WMS), attributes of a job description those of its user guide. Not run for real: it needs a Grid certificate and a
server. The job's script travels in the input sandbox, with the files of `JobSpec.sandbox` and those that native options
add (``InputSandbox=FILE,FILE``), and begins where they are unpacked; output comes back in the output sandbox. DIRAC
keeps its accounts and its queue in one. It finds jobs by group alone. Memory is not asked for: there is no attribute
for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from picas.errors import UsageError
from picas.schedulers.base import Job, JobSpec, JobState, Rejected, SchedulerAway
from picas.schedulers.batch import Batch, Call, System, failed, must_be_whole, state_of
from picas.schedulers.commands import Answer
from picas.schedulers.template import Template, checked, nodes, render

__all__ = ["description", "make", "read"]

Attributes = Sequence[tuple[str, str | int | Sequence[str]]]

_STATES = {
    "Checking": JobState.PENDING,
    "Completed": JobState.ENDING,  # its program has ended, its requests for files have not: Done or Failed follows
    "Completing": JobState.ENDING,
    "Deleted": JobState.CANCELLED,
    "Done": JobState.DONE,
    "Failed": JobState.FAILED,
    "Killed": JobState.CANCELLED,
    "Matched": JobState.PENDING,
    "Received": JobState.PENDING,
    "Rescheduled": JobState.PENDING,
    "Running": JobState.RUNNING,
    "Scouting": JobState.PENDING,
    "Staging": JobState.PENDING,
    "Stalled": JobState.RUNNING,  # not heard of for a while; it may be heard of again
    "Submitting": JobState.PENDING,
    "Waiting": JobState.PENDING,
}

_FAILURES = {
    "Job has exceeded maximum wall clock time": JobState.TIMEOUT,
    "Job has reached the CPU limit of the queue": JobState.TIMEOUT,
    "Job has insufficient disk space to continue": JobState.NODE,
    "Job stalled: pilot not running": JobState.NODE,
    "Watchdog identified this job as stalled": JobState.NODE,
}
"""Minor statuses of failed jobs that say more."""

_HS06 = 10
"""What a core of the Grid does in a second, roughly, in the unit in which DIRAC counts processor time."""

_TIMEOUT = 90.0
"""Seconds; its commands are slow to start."""

_TEMPLATE = Template(prefix="#", options=())
_ID = re.compile(r"[0-9]+", re.ASCII)
_SUBMITTED = re.compile(r"^JobID = ([0-9]+)\s*$", re.ASCII | re.MULTILINE)
_CANCELLED = re.compile(r"^killed jobs?\b", re.IGNORECASE)
_LINE = re.compile(r"JobID=([0-9]+) ", re.ASCII)
_STATUS = re.compile(r"(?:^|[ ;])(Status|MinorStatus|Site)=([^;]*);")
_SITE = re.compile(r"(?!Group\.)[^.]+\.[^.]+\.[^.]+")
"""A site, as ``LCG.CERN.ch``. A job that has not begun is at ``ANY``, ``Multiple`` or a group of sites."""
_LOG = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} ")
_NONE = re.compile(r"^error: no jobs selected", re.IGNORECASE | re.MULTILINE)
_NAMED = re.compile(r"'JobName': '([^']*)'")
_NUMBERED = re.compile(r"'JobID': '?([0-9]+)'?")
_LISTS = ("InputSandbox", "BannedSites")
_NATIVE = re.compile(r"([A-Za-z][A-Za-z0-9]*) *= *([A-Za-z0-9._@:/+,=-]+)", re.ASCII)


def make() -> Batch:
    """The DIRAC that the commands on PATH speak to."""
    system = System(
        name="dirac",
        ids=_ID,
        script=lambda spec: f"{_description(spec)}\n# {_names(spec)[0]}:\n{_script(spec)}",
        submit=_submit,
        submitted=_SUBMITTED,
        queue=lambda ids: ["dirac-wms-job-status", *ids],
        read_queue=read,
        accounts=None,
        read_accounts=read,
        mine=lambda prefix: ["dirac-wms-job-status", "-g", _group(prefix)],
        read_mine=_mine,
        names=lambda ids: ["dirac-wms-job-attributes", *ids],
        read_names=_names_of,
        cancel=["dirac-wms-job-kill"],
        cancelled=_CANCELLED,
        avoids=True,
        is_far=True,
    )
    return Batch(system, timeout=_TIMEOUT)


def read(answer: Answer) -> list[Job]:
    """The jobs, one a line between lines of a log. A user's own words may stand in a line, after what is read."""
    if answer.code:
        raise failed("dirac-wms-job-status", answer)
    must_be_whole("dirac-wms-job-status", answer)
    return [job for line in answer.out.splitlines() if (job := _job(line)) is not None]


def _job(line: str) -> Job | None:
    found = _LINE.match(line)
    if not found:
        if line.strip() and not _LOG.match(line):
            raise SchedulerAway(f"dirac-wms-job-status printed what is no status of a job: {line!r:.200}")
        return None
    said: dict[str, str] = {}
    for name, value in _STATUS.findall(line, found.end() - 1):
        said.setdefault(name, value)
    if "Status" not in said:
        raise SchedulerAway(f"dirac-wms-job-status printed no whole line: {line!r:.200}")
    state = state_of(said["Status"], _STATES, found[1], "DIRAC")
    reason = said.get("MinorStatus", "")
    if state is JobState.FAILED:
        state = _FAILURES.get(reason, state)
    site = said.get("Site", "")
    return Job(id=found[1], state=state, reason=reason, node=site if _SITE.fullmatch(site) else "")


def _mine(answer: Answer) -> list[Job]:
    """The jobs of a group."""
    return [] if answer.code and _NONE.search(answer.out) else read(answer)


def _names_of(answer: Answer) -> dict[str, str]:
    """The names of jobs by their ids, each in a part of its own among their other attributes."""
    if answer.code:
        raise failed("dirac-wms-job-attributes", answer)
    names: dict[str, str] = {}
    for part in re.split(r"^=+\s*$", answer.out, flags=re.MULTILINE):
        number, name = _NUMBERED.search(part), _NAMED.search(part)
        if number and name:
            names[number[1]] = name[1]
    return names


def _group(name: str) -> str:
    """The group of a job, by its name or by what the names of its group begin with."""
    return checked(name.rpartition("-")[0] or name, "the job's name")


def description(
    name: str, executable: str, sandbox: Sequence[str], *, arguments: Sequence[str] = (), more: Attributes = ()
) -> str:
    """A job in DIRAC's language, which starts ``executable`` of its sandbox and brings back what it printed.

    UsageError for what could be taken for something else: nothing but harmless characters comes within quotes.
    """
    out, err = f"{name}.out", f"{name}.err"
    given: Attributes = [
        ("JobName", name),
        ("Executable", executable),
        *(
            [("Arguments", " ".join(checked(word, "the argument", option=True) for word in arguments))]
            if arguments
            else []
        ),
        ("InputSandbox", sandbox),
        ("OutputSandbox", [out, err]),
        ("StdOutput", out),
        ("StdError", err),
        *more,
    ]
    return "[\n" + "".join(f"  {key} = {_value(key, value)};\n" for key, value in given) + "]\n"


def _value(key: str, value: str | int | Sequence[str]) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"' if key == "Arguments" else f'"{checked(value, key)}"'
    return "{" + ", ".join(f'"{checked(one, key)}"' for one in value) + "}"


def _names(spec: JobSpec) -> tuple[str, str]:
    """The files of a job, in its folder: its script and its description."""
    name = checked(spec.name, "the job's name")
    if "/" in name or "," in name or name.startswith((".", "-")):
        raise UsageError(f"the job's name {name!r:.80} cannot be the name of a file")
    return f"{name}.sh", f"{name}.jdl"


def _submit(spec: JobSpec, _: str) -> Call:
    """The command; what it reads is written before, where the job's output would go that was here."""
    (script, jdl), folder = _names(spec), spec.output or spec.folder
    texts = {script: _script(spec), jdl: _description(spec)}
    for name, text in texts.items():
        try:
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise Rejected(f"{folder / name}: cannot be written: {error.strerror}; nothing was submitted") from None
    return Call(argv=["dirac-wms-job-submit", jdl], folder=folder)


def _script(spec: JobSpec) -> str:
    """What runs on the node, in the folder where the sandbox was unpacked."""
    here = replace(spec, folder=Path(), output=None, queue="", native=(), avoid=())
    return render(here, _TEMPLATE)


def _description(spec: JobSpec) -> str:
    script, _ = _names(spec)
    native = [_native(option) for option in spec.native]
    here = spec.output or spec.folder
    files = [path.name if path.parent == here else str(path) for path in spec.sandbox]
    files += [str(spec.folder / path) for path in _listed("InputSandbox", native)]
    return description(spec.name, script, [script, *files], more=list(_requirements(spec, native)))


def _requirements(spec: JobSpec, native: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str | int | Sequence[str]]]:
    yield "JobGroup", _group(spec.group or spec.name)
    yield "NumberOfProcessors", spec.cores
    if spec.time:
        yield "CPUTime", math.ceil(spec.time * _HS06)
    if spec.gpus:
        yield "Tags", ["GPU"]
    if spec.queue:
        yield "Site", [checked(spec.queue, "the site")]
    if banned := [*_listed("BannedSites", native), *nodes(spec)]:
        yield "BannedSites", banned
    for name, value in native:
        if name not in _LISTS:
            yield name, int(value) if value.isdecimal() else value


def _listed(wanted: str, native: Sequence[tuple[str, str]]) -> list[str]:
    """What native options add to a list that has other things in it."""
    return [part for name, value in native if name == wanted for part in value.split(",")]


def _native(option: str) -> tuple[str, str]:
    found = _NATIVE.fullmatch(option)
    if not found:
        hint = "each is an attribute of a job description, as Platform=Linux_x86_64_glibc-2.17"
        raise UsageError(f"the native option {option!r:.80} is no attribute of a job description", hint=hint)
    return found[1], found[2]
