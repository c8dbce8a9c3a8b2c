"""The server's time, from the ``Date`` of its answers, on this machine's monotonic clock."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

__all__ = ["ServerClock"]

_STEP = 5.0
"""A difference of so many seconds to what was known before is a clock that was set, not one that is imprecise."""


class ServerClock:
    """Unix seconds as the server counts them; whoever sets this machine's clock does not move it.

    ``Date`` (RFC 9110, 6.6.1) has whole seconds. Each answer bounds the server's time at its arrival from below, and
    at the request's departure from above, by one second more; over many answers the bounds come close to each other.
    Before the first answer it is this machine's own time. It does not go back, unless the server's clock was set back.
    """

    def __init__(self) -> None:
        self._low = float("-inf")
        self._high = float("inf")
        self._last = 0.0

    def now(self) -> float:
        """The time."""
        found = time.monotonic() + self._offset() if self._low > float("-inf") else time.time()
        self._last = max(found, self._last) if self._last - found < _STEP else found
        return self._last

    def learn(self, date: str | None, sent: float, received: float) -> None:
        """Take in the ``Date`` of an answer, whose request was sent, and it received, at these monotonic seconds."""
        try:
            server = parsedate_to_datetime(date).timestamp() if date else None
        except (ValueError, TypeError):
            return
        if server is None:
            return
        low, high = server - received, server + 1.0 - sent
        if low > self._high or high < self._low:
            # The clocks have drifted apart, or one was set: what was known is out of date.
            self._low, self._high = low, high
        else:
            self._low, self._high = max(self._low, low), min(self._high, high)

    def _offset(self) -> float:
        return (self._low + self._high) / 2
