"""What the batch system says, worked into the journal. Its word is advice; a pilot's own beat is the truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from picas.autopilot.entries import Entry, kind_of
from picas.schedulers.base import Job, JobState, Scheduler

__all__ = ["ACCOUNTS", "Ended", "look"]

ACCOUNTS = 1800.0
"""Seconds after which a job that is in no queue, and of which accounts say nothing at all, is taken to have ended."""
_MISSES = 3
"""Looks in a row that must miss a job before it is given up, however long ago the first of them was."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job that has left: how, as far as is known."""

    entry: Entry
    job: Job


def look(
    scheduler: Scheduler, jobs: dict[str, Entry], *, prefix: str, alive: Collection[str], grace: float, now: float
) -> tuple[list[Entry], list[Ended]]:
    """Ask once for all jobs of the prefix, and once more for those that are in no queue any more.

    ``jobs`` is brought up to date; those that are new in it because nobody knew of them, and those that have left it.
    ``alive`` are the names of jobs whose pilots are alive: they have not ended, whatever is said of them. Raises what
    the scheduler raises, and then nothing was changed.
    """
    found = scheduler.find(prefix)
    listed = {job.name for job in found}
    absent = [entry for entry in jobs.values() if entry.name not in listed and entry.id]
    said = scheduler.status([entry.id for entry in absent]) if absent else {}
    adopted = [entry for job in found if (entry := _take_in(jobs, job, prefix, now)) is not None]
    # A second job of a name that is in the list twice has its own entry.
    missed = [(key, entry) for key, entry in jobs.items() if entry.name not in listed]
    ended = []
    for key, entry in missed:
        job = _settled(entry, said, grace, now)
        if job is None:
            continue
        if entry.name in alive:
            _update(entry, JobState.ENDING, job.reason, job.node, now)
            continue
        del jobs[key]
        ended.append(Ended(entry=entry, job=job))
    return adopted, ended


def _take_in(jobs: dict[str, Entry], job: Job, prefix: str, now: float) -> Entry | None:
    """A job that the batch system has: noted down, and given back when nobody knew of it."""
    key = job.name
    if key in jobs and jobs[key].id not in ("", job.id):
        key = f"{job.name}/{job.id}"
    adopted = None
    if key not in jobs:
        adopted = jobs[key] = Entry(name=job.name, kind=kind_of(prefix, job.name), at=now, since=now)
    jobs[key].id = job.id
    jobs[key].missing_at, jobs[key].misses = None, 0
    _update(jobs[key], job.state, job.reason, job.node, now)
    return adopted


def _update(entry: Entry, state: JobState, reason: str, node: str, now: float) -> None:
    if entry.state is not state:
        entry.state, entry.since = state, now
    entry.reason = reason
    entry.node = node or entry.node


def _settled(entry: Entry, said: Mapping[str, Job], grace: float, now: float) -> Job | None:
    """How a job that is in no queue has ended; None when it may still be there."""
    job = said.get(entry.id) if entry.id else None
    if job is not None and job.name and job.name != entry.name:
        # The number was given to somebody else's job.
        job = Job(id=entry.id, name=entry.name, state=JobState.GONE, reason="its number was given to another job")
    if job is not None and not job.state.is_final:
        entry.missing_at, entry.misses = None, 0
        _update(entry, job.state, job.reason, job.node, now)
        return None
    if job is not None and job.state is not JobState.GONE:
        return job
    entry.missing_at = now if entry.missing_at is None else min(entry.missing_at, now)
    entry.misses += 1
    patience = grace if entry.in_doubt or job is not None else max(grace, ACCOUNTS)
    if entry.misses < _MISSES or now - entry.missing_at < patience:
        return None
    return job or Job(id=entry.id, name=entry.name, state=JobState.GONE, reason="no queue and no account knows it")
