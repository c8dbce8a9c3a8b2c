"""A batch system as data: its commands, and how what they print is read; `Batch` is the scheduler made of it."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from picas.errors import UsageError
from picas.schedulers import commands
from picas.schedulers.base import Job, JobSpec, JobState, Rejected, SchedulerAway, SchedulerError
from picas.schedulers.book import Book
from picas.schedulers.commands import Answer

__all__ = [
    "Batch",
    "Call",
    "System",
    "complaints",
    "failed",
    "must_be_whole",
    "parts",
    "state_of",
    "unknown_state",
    "whole_lines",
]

_AWAY = re.compile(
    r"connect|communicat|commlib|contact|time[sd]?[ -]?out|send message|unreachable|not responding|temporarily"
    r"|try again|find address|getaddrinfo|no such host|broken pipe|expired|proxy|authenticat|traceback"
    r"|end of file|premature|protocol|closed|reset|commit",
    re.IGNORECASE,
)
"""What commands say that did not reach their batch system, or lost it. All else that they complain of is a refusal."""

_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command, what it reads, and where it runs: without a folder of its own in that of the job."""

    argv: Sequence[str]
    stdin: str = ""
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """A batch system.

    ``ids`` is what an id looks like; ``submitted`` finds it, as its first group, in what ``submit``'s command prints,
    and in nothing that it complains of.
    ``queue`` and ``accounts`` are the commands that tell of jobs, the second of those that the first does not know;
    ``mine`` tells of this user's jobs, among them those with a name that begins so; where it does not tell their names,
    ``names`` is asked for these. ``read_queue`` and the like make jobs of what is printed, or raise `SchedulerAway`.
    ``cancelled`` finds what a line of ``cancel`` says of a job that is ended, or was before. ``avoids``: whether the
    script can keep a job off nodes; ``is_far``: whether jobs see nothing of this machine.
    """

    name: str
    ids: re.Pattern[str]
    script: Callable[[JobSpec], str]
    submit: Callable[[JobSpec, str], Call]
    submitted: re.Pattern[str]
    queue: Callable[[Sequence[str]], Sequence[str]]
    read_queue: Callable[[Answer], list[Job]]
    accounts: Callable[[Sequence[str]], Sequence[str]] | None
    read_accounts: Callable[[Answer], list[Job]]
    mine: Callable[[str], Sequence[str]]
    read_mine: Callable[[Answer], list[Job]]
    cancel: Sequence[str]
    cancelled: re.Pattern[str]
    avoids: bool
    is_far: bool = False
    names: Callable[[Sequence[str]], Sequence[str]] | None = None
    read_names: Callable[[Answer], Mapping[str, str]] = lambda _: {}
    key: Callable[[str], str] = str
    """What of an id tells it from others, where a job may be spoken of by several."""


class Batch:
    """The `Scheduler` of a `System`. `book` is what is remembered between two looks."""

    def __init__(
        self, system: System, *, timeout: float = commands.TIMEOUT, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = system.name
        self.avoids, self.is_far = system.avoids, system.is_far
        self.book = Book(clock)
        self._system = system
        self.timeout = timeout

    def script(self, spec: JobSpec) -> str:
        """The job as it is handed in."""
        return self._system.script(spec)

    def submit(self, spec: JobSpec) -> str:
        """Hand in one job; its id. `Rejected` or `SchedulerAway` when not."""
        call = self._system.submit(spec, self.script(spec))
        name = call.argv[0]
        folder = call.folder or spec.folder
        answer = commands.run(call.argv, stdin=call.stdin, timeout=self.timeout, folder=folder, for_job=True)
        if found := self._system.submitted.search(whole_lines(answer.out) + whole_lines(answer.err)):
            return found[1]  # whatever the exit code: GridEngine takes a job, and warns of it, with 1
        if answer.code == 0:
            raise SchedulerAway(f"{name} did not say the job's id, but {commands.first_line(answer.out)!r}")
        lost = answer.code < 0 or _AWAY.search(f"{answer.err}\n{answer.out}")
        raise (SchedulerAway if lost else Rejected)(_said(name, answer.complaint))

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        """What the queue says of these jobs and, where it does not know them, the accounts."""
        asked = self._checked(self.book.open(ids))
        said = self._ask(self._system.queue, self._system.read_queue, asked)
        here = {job.id for job in said}
        absent = [job_id for job_id in asked if job_id not in here]
        known = True
        if absent and self._system.accounts:
            try:
                said += self._ask(self._system.accounts, self._system.read_accounts, absent)
            except SchedulerAway:
                known = False  # what the queue said counts; the others are not settled
        return self.book.settle(ids, said, accounts=known)

    def find(self, prefix: str) -> list[Job]:
        """This user's jobs, not yet ended, with a name that begins so."""
        mine = self._system.read_mine(self._run(self._system.mine(prefix)))
        jobs = self._named([job for job in mine if not job.state.is_final])
        return [job for job in jobs if job.name.startswith(prefix)]

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs; one that has ended is no error."""
        for part in parts(self._checked(ids)):
            answer = self._run([*self._system.cancel, *part])
            if answer.code == 0:
                continue
            odd = [line for line in complaints(answer) if not self._system.cancelled.search(line)]
            if odd or answer.code < 0 or not complaints(answer):
                lost = answer.code < 0 or _AWAY.search("\n".join(odd))
                text = odd[0] if odd else answer.complaint
                raise (SchedulerAway if lost else SchedulerError)(_said(self._system.cancel[0], text))

    def _named(self, jobs: list[Job]) -> list[Job]:
        """The jobs with their names; `SchedulerAway` where one is not told, which may be that of a job looked for."""
        if self._system.names is None or not jobs:
            return jobs
        said = [self._system.read_names(self._run(self._system.names(part))) for part in parts([j.id for j in jobs])]
        names = {job_id: name for part in said for job_id, name in part.items()}
        if nameless := [job.id for job in jobs if job.id not in names]:
            raise SchedulerAway(f"{self.name} did not tell the name of its job {nameless[0]}")
        return [dataclasses.replace(job, name=names[job.id]) for job in jobs]

    def _ask(
        self,
        argv: Callable[[Sequence[str]], Sequence[str]],
        read: Callable[[Answer], list[Job]],
        ids: Sequence[str],
    ) -> list[Job]:
        wanted = {self._system.key(job_id): job_id for job_id in ids}
        said = [job for part in parts(ids) for job in read(self._run(argv(part)))]
        named = [(wanted.get(self._system.key(job.id)), job) for job in said]
        return [dataclasses.replace(job, id=job_id) for job_id, job in named if job_id is not None]

    def _run(self, argv: Sequence[str]) -> Answer:
        return commands.run(argv, timeout=self.timeout)

    def _checked(self, ids: Sequence[str]) -> list[str]:
        for job_id in ids:
            if not self._system.ids.fullmatch(job_id):
                raise UsageError(f"{job_id!r:.60} is no id of a job of {self.name}")
        return list(ids)


def failed(name: str, answer: Answer) -> SchedulerAway:
    """That a command could not tell, with what it said."""
    return SchedulerAway(_said(name, answer.complaint))


def must_be_whole(name: str, answer: Answer) -> None:
    """`SchedulerAway` for output that ends within a line: it was cut off, and its last line is not what it seems."""
    if answer.out and not answer.out.endswith("\n"):
        raise SchedulerAway(f"{name} was cut off in a line")


def whole_lines(text: str) -> str:
    """What was printed, without a last line that was cut off: half of an id is the id of another job."""
    return text[: text.rfind("\n") + 1]


def _said(name: str, text: str) -> str:
    """What a command complained of, with its name once."""
    return f"{name}: {text.removeprefix(f'{name}: ')}"


def complaints(answer: Answer) -> list[str]:
    """All lines that a command printed and that say something."""
    return [line.strip() for line in f"{answer.err}\n{answer.out}".splitlines() if line.strip()]


def state_of(word: str, table: Mapping[str, JobState], job_id: str, system: str) -> JobState:
    """The state of a job from a table; SchedulerError, which quotes it, for one that is not there."""
    if word not in table:
        raise unknown_state(word, job_id, system)
    return table[word]


def unknown_state(word: str, job_id: str, system: str) -> SchedulerError:
    """That a system says of a job what is in no table."""
    return SchedulerError(f"{system} says that job {job_id} is {word!r:.60}, a state that picas does not know")


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in lists that are short enough for a command line."""
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
