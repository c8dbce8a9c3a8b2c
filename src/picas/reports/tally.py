"""Tokens added up one by one, in memory that grows with pilots and hosts, and with neither beyond a limit."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from picas.lifecycle import Doc, State, state_of
from picas.reports.attempts import Attempt, Fate, attempts_of
from picas.reports.lanes import Span
from picas.reports.sketch import Load, Quantiles

__all__ = ["OTHERS", "Failure", "Host", "Tally", "Work"]

OTHERS = "(others)"
"""The name under which those beyond a limit are added up."""
_MOST_PILOTS = 2000
_MOST_HOSTS = 2000
_MOST_FAILURES = 5000
_SLOWEST = 10
_EXAMPLES = 5


@dataclass(kw_only=True)
class Work:
    """What one pilot did: attempts and seconds times cores by fate, and the first and last time it is known to have
    worked."""

    pilot: str
    hostname: str
    named: bool
    """Whether a pilot is named at all; else this is all that was done on the host."""
    offered: float = 0.0
    widest: float = 0.0
    first: float = math.inf
    last: float = -math.inf
    counts: Counter[Fate] = field(default_factory=Counter)
    seconds: dict[Fate, float] = field(default_factory=dict)
    loads: dict[Fate, Load] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)


@dataclass(kw_only=True)
class Host:
    """What was done on one host."""

    counts: Counter[Fate] = field(default_factory=Counter)
    seconds: float = 0.0
    runtimes: Quantiles = field(default_factory=Quantiles)


@dataclass(kw_only=True)
class Failure:
    """Attempts that failed in one way: how many, how many tokens are in error for it now, and some of them."""

    count: int = 0
    in_error: int = 0
    examples: list[str] = field(default_factory=list)


class Tally:
    """Takes in tokens. With ``spans`` it keeps up to so many attempts one by one, for a picture; none once there are
    more."""

    def __init__(self, *, now: float, spans: int = 0) -> None:
        self.now = now
        self.states: Counter[State] = Counter()
        self.untimed = 0
        self.works: dict[tuple[str, str], Work] = {}
        self.hosts: dict[str, Host] = {}
        self.failures: dict[tuple[str, str, str], Failure] = {}
        self.runtimes, self.sizes = Quantiles(), Quantiles()
        self.ended = {Fate.DONE: Load(), Fate.FAILED: Load()}
        self._slowest: list[tuple[float, int, Attempt]] = []
        self._number = 0
        self._spans_left = spans

    @property
    def slowest(self) -> list[Attempt]:
        """Of the attempts that did a token's work, those that took longest, the longest first."""
        return [attempt for _, _, attempt in sorted(self._slowest, key=lambda one: (-one[0], one[1]))]

    @property
    def has_spans(self) -> bool:
        """Whether each work has all of its ``spans``."""
        return self._spans_left > 0

    def add_all(self, docs: Iterable[Doc]) -> None:
        """Take in tokens."""
        for doc in docs:
            self.add(doc)

    def add(self, doc: Doc) -> None:
        """Take in a token; nothing else is counted."""
        state = state_of(doc)
        if state is None:
            return
        self.states[state] += 1
        for attempt in attempts_of(doc, state, self.now):
            self._add(attempt, state)

    def _add(self, attempt: Attempt, state: State) -> None:
        fate = attempt.fate
        work = self._work(attempt)
        host = self._host(attempt.hostname)
        work.counts[fate] += 1
        host.counts[fate] += 1
        if fate in (Fate.FAILED, Fate.LOST):
            self._failed(attempt, state)
        if attempt.start is None or attempt.end is None:
            self.untimed += 1
            return
        self._timed(work, host, attempt, attempt.start, attempt.end)

    def _timed(self, work: Work, host: Host, attempt: Attempt, start: float, end: float) -> None:
        fate, took = attempt.fate, end - start
        core_seconds = attempt.cores * took
        work.seconds[fate] = work.seconds.get(fate, 0.0) + core_seconds
        (work.loads.get(fate) or work.loads.setdefault(fate, Load())).add(start, end, attempt.cores)
        if fate is not Fate.LOST:
            work.first, work.last = min(work.first, start), max(work.last, end)
        work.widest = max(work.widest, attempt.cores)
        if fate.certain:
            host.seconds += core_seconds
            self.ended[Fate.DONE if fate is Fate.DONE else Fate.FAILED].hit(end)
        if fate is Fate.DONE:
            self._did_its_work(host, attempt, took)
        if self._spans_left:
            self._keep(work, attempt, start, end)

    def _did_its_work(self, host: Host, attempt: Attempt, took: float) -> None:
        self.runtimes.add(took)
        host.runtimes.add(took)
        if attempt.max_rss:
            self.sizes.add(attempt.max_rss)
        self._number += 1
        if len(self._slowest) < _SLOWEST:
            heapq.heappush(self._slowest, (took, -self._number, attempt))
        elif took > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (took, -self._number, attempt))

    def _failed(self, attempt: Attempt, state: State) -> None:
        key = (attempt.reason, attempt.exit_code, attempt.hostname)
        if key not in self.failures and len(self.failures) >= _MOST_FAILURES:
            key = (OTHERS, "", "")
        failure = self.failures.setdefault(key, Failure())
        failure.count += 1
        failure.in_error += attempt.final and state is State.ERROR
        if len(failure.examples) < _EXAMPLES and attempt.token not in failure.examples:
            failure.examples.append(attempt.token)

    def _host(self, name: str) -> Host:
        known = name in self.hosts or len(self.hosts) < _MOST_HOSTS
        return self.hosts.get(name) or self.hosts.setdefault(name if known else OTHERS, Host())

    def _work(self, attempt: Attempt) -> Work:
        key = (attempt.pilot, "" if attempt.pilot else attempt.hostname)
        found = self.works.get(key)
        if found is None:
            if len(self.works) >= _MOST_PILOTS:
                key = (OTHERS, "")
            name = attempt.pilot or attempt.hostname or "(unknown)"
            new = Work(pilot=name if key[0] != OTHERS else OTHERS, hostname=attempt.hostname, named=bool(attempt.pilot))
            found = self.works.setdefault(key, new)
        found.offered = max(found.offered, attempt.offered)
        return found

    def _keep(self, work: Work, attempt: Attempt, start: float, end: float) -> None:
        self._spans_left -= 1
        if not self._spans_left:
            for other in self.works.values():
                other.spans.clear()
            return
        note = ""
        if attempt.fate in (Fate.FAILED, Fate.LOST):
            note = f"{attempt.reason} {attempt.exit_code}".strip()
        width = max(1, math.ceil(attempt.cores))
        span = Span(token=attempt.token, start=start, end=end, width=width, fate=attempt.fate, note=note)
        work.spans.append(span)
