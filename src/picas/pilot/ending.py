"""How a command is ended by force."""

from __future__ import annotations

import signal

from picas.pilot.jobs import Job
from picas.process import end_group

__all__ = ["Ending"]


class Ending:
    """TERM to its group when asked or over its time, KILL when the grace is over; `why` it came to that."""

    def __init__(self, pid: int, job: Job, begun: float) -> None:
        self._pid = pid
        self._grace = job.grace
        self._limit = begun + job.time_limit if job.time_limit > 0 else float("inf")
        self._kill_at = float("inf")
        self.why = ""

    def step(self, now: float, asked: tuple[str, float] | None) -> float:
        """Do what is due, and say how long to wait for the command before the next step."""
        if not self.why and (asked or now >= self._limit):
            self.why = asked[0] if asked else "time"
            self._kill_at = now + self._grace
            end_group(self._pid, signal.SIGTERM)
            end_group(self._pid, signal.SIGCONT)
        if asked:
            self._kill_at = min(self._kill_at, now + asked[1])
        if now >= self._kill_at:
            end_group(self._pid, signal.SIGKILL)
            return 0.05
        return min(1.0, max(0.001, (self._kill_at if self.why else self._limit) - now))
