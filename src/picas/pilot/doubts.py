"""Commands that a signal ended which their pilot did not send: did they die, or is all of a batch job being ended?

A batch system that ends a job signals each of its processes, the commands before or after their pilot. What it ends
has not failed; it is given back like what the pilot itself stops.
"""

from __future__ import annotations

import signal
import time

from picas.pilot.jobs import START_FAILED, Report

__all__ = ["Doubts"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = {-number for number in _SIGNALS} | {128 + number for number in _SIGNALS}
"""Codes of commands that such a signal ended, or that say so themselves, as shells and Java do."""
_DOUBT = 1.0
"""Seconds within which the pilot would have the signal, too."""


class Doubts:
    """Reports of commands that a signal ended, kept back until it is known whether the pilot is told to end as well."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, Report]] = []

    def sift(self, reports: list[Report], *, told: bool) -> list[Report]:
        """The reports to be judged now; with ``told``, that the pilot had a signal, no failure is the command's."""
        if not self._kept and not any(report.code and not report.why for report in reports):
            return reports
        if told:
            kept, self._kept = self._kept, []
            return [_stopped(report) for report in (*(report for _, report in kept), *reports)]
        now = time.monotonic()
        sure = [report for until, report in self._kept if until <= now]
        self._kept = [one for one in self._kept if one[0] > now]
        for report in reports:
            if report.code in _ENDING and not report.why:
                self._kept.append((now + _DOUBT, report))
            else:
                sure.append(report)
        return sure


def _stopped(report: Report) -> Report:
    has_failed = report.code and not report.why and report.code > -START_FAILED
    return report._replace(why="stopped") if has_failed else report
