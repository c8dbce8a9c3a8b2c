"""What an autopilot is to do now, from what is known: no clock, no socket, no memory.

A pilot is submitted for every ``backlog`` ready tokens that nobody will take: not the pilots that have room, nor the
jobs that wait, here or at other sites. Whatever may become a pilot counts against ``max``: jobs that wait, run or
are in doubt, and those whose pilots fell silent. So an answer that never came costs a pilot for a while, never one too
many. Jobs are cancelled only before they begin, and only when there has been nothing to do for the grace time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from picas.autopilot.entries import Entry
from picas.schedulers.base import JobState
from picas.stores.base import PilotRecord
from picas.stores.records import is_autopilot

__all__ = ["Counts", "Demand", "Limits", "Plan", "decide"]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The work there is for a kind of pilots.

    ``ready`` tokens could be claimed now by such a pilot; with ``more`` there are others that were not counted.
    ``quiet`` is for how many seconds there have been none. ``others`` is how many tokens the jobs will take that
    autopilots of other sites have in their queues. ``paused`` is why the pool is paused, None when it is not.
    """

    ready: int
    more: bool = False
    quiet: float = 0.0
    others: int = 0
    paused: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many pilots of a kind there may be, and what they are like.

    ``prefix`` is what the names of their jobs begin with, ``room`` how many more jobs the site may have at all.
    """

    max: int
    min: int = 0
    backlog: int = 1
    cores: int = 1
    view: str = "Monitor/todo"
    grace: float = 600.0
    prefix: str = ""
    room: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What there is of a kind. Together they count against its ``max``.

    ``starting`` jobs run, and their pilots have not been heard of; ``lost`` ones run, and their pilots fell silent or
    never came.
    """

    waiting: int = 0
    held: int = 0
    doubt: int = 0
    starting: int = 0
    running: int = 0
    lost: int = 0
    ending: int = 0

    @property
    def total(self) -> int:
        """All that is or may become a pilot."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = [f"{count} {name if name != 'doubt' else 'in doubt'}" for name, count in vars(self).items() if count]
        return ", ".join(parts) or "no pilots"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many jobs to submit, and the names of those to cancel, with the reason for each in a sentence.

    ``cause`` is the reason in one word, the same as long as it is the same reason.
    """

    submit: int
    cancel: tuple[str, ...]
    cause: str
    why: str
    counts: Counts


def decide(demand: Demand, pilots: Sequence[PilotRecord], jobs: Sequence[Entry], limits: Limits, now: float) -> Plan:
    """The plan for one kind: ``pilots`` are all of the pool, ``jobs`` those of this kind that may not have ended."""
    mine = {pilot.job_name: pilot for pilot in pilots if pilot.alive and _is_ours(pilot, limits)}
    standings = [_standing(job, mine.get(job.name), limits, now) for job in jobs]
    # Whose jobs nobody has told us of: they run all the same.
    known = {job.name for job in jobs}
    standings += [("running", _room(pilot, limits)) for name, pilot in mine.items() if name not in known]
    counts = Counts(**{name: sum(one == name for one, _ in standings) for name in Counts.__dataclass_fields__})
    taken = sum(room for _, room in standings) + demand.others + sum(_foreign(pilots, limits))
    submit, cause, why = _submissions(demand, counts, taken, limits)
    cancel = _cancellations(demand, jobs, mine, counts, limits) if not submit else ()
    if cancel:
        cause, why = "cancel", f"there has been no work for {demand.quiet:.0f} s"
    return Plan(submit=submit, cancel=cancel, cause=cause, why=why, counts=counts)


def _is_ours(pilot: PilotRecord, limits: Limits) -> bool:
    return bool(limits.prefix) and pilot.job_name.startswith(limits.prefix)


def _standing(job: Entry, pilot: PilotRecord | None, limits: Limits, now: float) -> tuple[str, int]:
    """What a job counts as, and how many more tokens it will take."""
    if pilot is not None:
        return "running", _room(pilot, limits)
    if job.in_doubt:
        return "doubt", limits.backlog
    if job.state is JobState.HELD:
        return "held", 0
    if job.state.is_waiting:
        return "waiting", 0 if job.cancelled_at is not None else limits.backlog
    if job.state is not JobState.RUNNING:
        return "ending", 0
    is_new = not job.heard and now - job.since < limits.grace
    return ("starting", limits.backlog) if is_new else ("lost", 0)


def _room(pilot: PilotRecord, limits: Limits) -> int:
    """How many more tokens a pilot will take: its share of them, less what it runs; none when it was told to end."""
    share = max(limits.backlog, pilot.cores // limits.cores)
    return 0 if pilot.orders else max(0, share - pilot.running)


def _foreign(pilots: Sequence[PilotRecord], limits: Limits) -> Iterator[int]:
    """The same of pilots that somebody else has started, for the same view and with as many cores."""
    for pilot in pilots:
        fits = pilot.view == limits.view and pilot.cores >= limits.cores
        if pilot.alive and fits and not is_autopilot(pilot) and not _is_ours(pilot, limits):
            yield _room(pilot, limits)


def _submissions(demand: Demand, counts: Counts, taken: int, limits: Limits) -> tuple[int, str, str]:
    if demand.paused is not None:
        return 0, "paused", f"the pool is paused ({demand.paused}): nothing is submitted"
    uncovered = max(0, demand.ready - taken)
    wanted = math.ceil(uncovered / limits.backlog)
    least = limits.min - counts.total
    allowed = max(0, min(limits.max - counts.total, int(min(limits.room, limits.max))))
    submit = max(0, min(max(wanted, least), allowed))
    why = _because(demand, uncovered)
    if submit and wanted <= least:
        return submit, "min", f"{why}, but there are to be {limits.min} at least"
    if submit < wanted:
        bound = f"max is {limits.max}" if counts.total + submit >= limits.max else "the site's max is reached"
        return submit, "max", f"{why}: {wanted} more pilots would do, but {bound}"
    if submit:
        return submit, "work", f"{why}, one pilot for each {limits.backlog}"
    return 0, "enough" if demand.ready else "idle", why


def _because(demand: Demand, uncovered: int) -> str:
    ready = f"{'at least ' if demand.more else ''}{demand.ready}"
    if not demand.ready:
        return "no token is ready"
    tokens = f"{ready} token is ready" if demand.ready == 1 else f"{ready} tokens are ready"
    if not uncovered:
        return f"{tokens}, all to be taken by the pilots there are or will be"
    return tokens if uncovered == demand.ready else f"{tokens}, {uncovered} of them for nobody yet"


def _cancellations(
    demand: Demand, jobs: Sequence[Entry], mine: dict[str, PilotRecord], counts: Counts, limits: Limits
) -> tuple[str, ...]:
    """Jobs that wait for nothing, the youngest first; ``min`` of all are left."""
    if demand.ready or demand.paused is not None or demand.quiet < limits.grace:
        return ()
    waiting = [
        job
        for job in jobs
        if job.state.is_waiting and not job.in_doubt and job.cancelled_at is None and job.name not in mine
    ]
    leaving = sum(job.cancelled_at is not None for job in jobs)
    spare = max(0, counts.total - leaving - limits.min)
    youngest = sorted(waiting, key=lambda job: (-job.at, job.name))
    return tuple(job.name for job in youngest[:spare])
