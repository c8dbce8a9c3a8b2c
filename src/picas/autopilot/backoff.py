"""After ten failures in a row there is a pause, from a minute up to an hour, longer with each further failure."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]

_BEARABLE = 10
_LEAST, _MOST = 60.0, 3600.0


@dataclass(kw_only=True)
class Backoff:
    """How often something failed in a row, the last time with ``why``, and until when (unix seconds) it is let be."""

    failures: int = 0
    until: float = 0.0
    why: str = ""

    def fail(self, why: str, now: float, chance: random.Random) -> bool:
        """Note a failure; whether it begins a pause. What fails during a pause was begun before it."""
        self.why = why
        if self.left(now):
            return False
        self.failures += 1
        if self.failures < _BEARABLE:
            return False
        doubled = _LEAST * 2.0 ** min(self.failures - _BEARABLE, 10)
        self.until = now + min(_MOST, doubled * chance.uniform(1.0, 1.5))
        return True

    @property
    def is_probing(self) -> bool:
        """Whether it has failed so often that it is to be tried with one thing at a time."""
        return self.failures >= _BEARABLE

    def succeed(self) -> bool:
        """Note that it went well; whether it had failed before."""
        had_failed = self.failures > 0
        self.failures, self.until, self.why = 0, 0.0, ""
        return had_failed

    def left(self, now: float) -> float:
        """For how many seconds it is to be let be. A clock that was set back does not make that longer."""
        return min(max(0.0, self.until - now), _MOST)
