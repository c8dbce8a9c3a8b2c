"""What is remembered of jobs from one look to the next: which have ended, and since when others are not to be found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from picas.schedulers.base import Job, JobState

__all__ = ["GRACE", "PATIENCE", "Book"]

GRACE = 120.0
"""Seconds for which a batch system and its accounts may both not know a job, as a new one, before it is gone."""

PATIENCE = 1800.0
"""The same where the accounts could not be asked."""


class Book:
    """Settles what batch systems say of jobs. An ended job stays as it ended; one that nobody knows is gone in time.

    ``absent`` is since when (unix seconds) each job was not found. Whoever looks once per process keeps it until the
    next look: it is a plain dict, to be read and filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.absent: dict[str, float] = {}
        self._ended: dict[str, Job] = {}
        self._clock = clock

    def open(self, ids: Sequence[str]) -> list[str]:
        """Those of the jobs that have not ended as far as is known, each once: ask about them."""
        return [job_id for job_id in dict.fromkeys(ids) if job_id not in self._ended]

    def settle(self, ids: Sequence[str], said: Iterable[Job], *, accounts: bool = True) -> dict[str, Job]:
        """What is known of each job, after what was said of those that are `open`.

        ``accounts``: whether the accounts were asked about what is not in the queue, or there are none.
        """
        now, found = self._clock(), {job.id: job for job in said}
        for job_id in self.open(ids):
            job = found.get(job_id) or self._missing(job_id, now, GRACE if accounts else PATIENCE)
            if job is None:
                continue
            found[job_id] = job
            self.absent.pop(job_id, None)
            if job.state.is_final:
                self._ended[job_id] = job
        self._forget(set(ids))
        known: Mapping[str, Job] = {**found, **self._ended}
        return {job_id: known[job_id] for job_id in dict.fromkeys(ids) if job_id in known}

    def _missing(self, job_id: str, now: float, grace: float) -> Job | None:
        since = min(self.absent.setdefault(job_id, now), now)
        if now - since < grace:
            return None
        return Job(id=job_id, state=JobState.GONE, reason="neither in the queue nor in the accounts")

    def _forget(self, asked: set[str]) -> None:
        """What is asked about no more is remembered no more."""
        for job_id in self._ended.keys() - asked:
            del self._ended[job_id]
        for job_id in self.absent.keys() - asked:
            del self.absent[job_id]
