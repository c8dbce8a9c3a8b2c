"""Jobs that were submitted from here and have no pilot yet, for ``pilot ls``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from picas.cli.output import say
from picas.errors import PicasError

if TYPE_CHECKING:
    from picas.schedulers.base import Job
    from picas.schedulers.journal import Entry
    from picas.stores.base import PilotRecord

__all__ = ["jobs_without_pilots"]

_REMEMBERED = 86400.0
"""Seconds for which a job that did not end well is listed."""


def jobs_without_pilots(pool: str, pilots: Iterable[PilotRecord]) -> Iterator[dict[str, Any]]:
    """A row for each; their batch systems are asked once each, and one that is away is a line of talk."""
    from picas.schedulers.journal import journal_here

    journal = journal_here()
    theirs = {str(value) for record in pilots for value in record.job.values()}
    entries = [entry for entry in journal.entries(pool) if entry.id not in theirs and entry.name not in theirs]
    for system in dict.fromkeys(entry.system for entry in entries):
        mine = [entry for entry in entries if entry.system == system]
        found = _ask(system, [entry for entry in mine if entry.state is None], journal)
        yield from (row for entry in mine if (row := _row(entry, found.get(entry.id))))


def _ask(system: str, open_ones: list[Entry], journal: Any) -> dict[str, Job]:
    """What a batch system says of jobs that have not ended, written down where it is final or they are absent."""
    from picas.schedulers.sites import scheduler

    if not open_ones:
        return {}
    try:
        batch = scheduler(system)
        book = getattr(batch, "book", None)
        absent = book.absent if book is not None else {}
        absent.update({entry.id: entry.absent for entry in open_ones if entry.absent})
        found = batch.status([entry.id for entry in open_ones])
    except PicasError as error:
        say(f"warning: {system} does not say how its jobs are: {error.message}")
        return {}
    changes = []
    for entry in open_ones:
        job = found.get(entry.id)
        changes.append((entry, absent.get(entry.id), job.state if job and job.state.is_final else None))
    try:
        journal.note(changes)
    except OSError:  # a listing needs no place to write to
        return found
    return found


def _row(entry: Entry, job: Job | None) -> dict[str, Any] | None:
    """What a listing shows of a job; None for one that is over and has nothing to tell."""
    from picas.schedulers.base import JobState

    state = entry.state or (job.state if job else None)
    age = max(0.0, time.time() - entry.at)
    if state in (JobState.DONE, JobState.CANCELLED) or (state and state.is_final and age > _REMEMBERED):
        return None
    return {
        "id": entry.name,
        "state": str(state) if state else "unknown",
        "host": job.node if job else "",
        "age": round(age),
        "job": entry.id,
        "system": entry.system,
        "reason": job.reason if job else "",
    }
