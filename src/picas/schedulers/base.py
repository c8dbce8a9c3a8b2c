"""The contract between picas and a batch system: submit, status, cancel. What has a job in it knows nothing of tokens.

What a scheduler says is advice: the pilot's own beat is the truth. So no answer of it ever makes a job *finished* that
might still run: an id that it no longer knows is looked up in its accounts and, when those do not know it either, is
`JobState.GONE` after a grace period; and when it cannot be asked, nothing is said about any job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from picas.enums import Word
from picas.errors import PicasError

__all__ = ["Job", "JobSpec", "JobState", "Rejected", "Scheduler", "SchedulerAway", "SchedulerError"]


class SchedulerError(PicasError):
    """A batch system did not do what was asked; the message quotes what its command said."""

    exit_code = 9


class SchedulerAway(SchedulerError):
    """Its command failed, hung or said nothing that can be read; what became of the request is not known."""


class Rejected(SchedulerError):
    """It refused the job; nothing was submitted, and the same job would be refused again."""


class JobState(Word):
    """What a batch job is doing, or how it ended."""

    PENDING = "pending"
    HELD = "held"
    """Waits for a person, or for something that cannot come; it will not start by itself."""
    RUNNING = "running"
    ENDING = "ending"
    """It was told to end, or is being cleaned up after."""
    DONE = "done"
    FAILED = "failed"
    """Its program ended with another exit code than 0, or by a signal."""
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NODE = "node"
    """The node died, or could not start it."""
    PREEMPTED = "preempted"
    GONE = "gone"
    """The batch system does not know it any more, and has no record of how it ended."""

    @property
    def is_final(self) -> bool:
        """Whether it stays so: a final state is never rewritten."""
        return self not in (JobState.PENDING, JobState.HELD, JobState.RUNNING, JobState.ENDING)

    @property
    def is_waiting(self) -> bool:
        """Whether the job has not begun."""
        return self in (JobState.PENDING, JobState.HELD)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a batch system says of one job. ``reason`` is its own text; ``exit_code`` None where it does not tell."""

    id: str
    name: str = ""
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    node: str = ""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job to be submitted: a pilot. Times in seconds, memory in bytes of the whole job.

    ``name`` is unique where the submitter wants to find the job again (`Scheduler.find`), and ``group`` what it will
    then be looked for by: what the names of jobs begin with that belong together, if that is not the name up to its
    last hyphen. ``argv`` is what the job runs, in ``folder``; what it prints goes to a file in ``output``, or else in
    ``folder``. ``environment`` is set in the job's script, which others may read: never a secret. ``warning`` is how
    long before its end the job gets a TERM signal. ``sandbox`` are files that it finds where it begins, where jobs see
    nothing else of this machine (`Scheduler.is_far`). ``avoid`` are nodes that it is kept off, where the batch system
    can do that (`Scheduler.avoids`). ``native`` are options in the batch system's own words.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    group: str = ""
    output: Path | None = None
    cores: int = 1
    memory: int | None = None
    gpus: int = 0
    time: float | None = None
    warning: float = 120.0
    queue: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    sandbox: Sequence[Path] = ()
    avoid: Sequence[str] = ()
    native: Sequence[str] = ()


class Scheduler(Protocol):
    """A batch system, as its commands on this machine show it. Every call has a time-out of its own."""

    name: str
    avoids: bool
    """Whether jobs can be kept off nodes."""
    is_far: bool
    """Whether jobs run where nothing is to be seen of this machine, but what goes with them."""

    def script(self, spec: JobSpec) -> str:
        """The job script that `submit` hands in, as a person reads it."""

    def submit(self, spec: JobSpec) -> str:
        """Hand in one job; its id.

        Raises `Rejected` when nothing was submitted, `SchedulerAway` when that is not known (`find` tells later).
        """

    def status(self, ids: Sequence[str]) -> dict[str, Job]:
        """What is known of each of these jobs; an id that is missing in the answer is not settled yet: ask again.

        One command for all of them, and one more for those that have left the queue. Raises `SchedulerAway` when
        it cannot be asked, `SchedulerError` when it says a state that is in no table.
        """

    def find(self, prefix: str) -> list[Job]:
        """This user's jobs, not yet ended, of this group, or with a name that begins so; one command."""

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs; one that has ended is no error."""
