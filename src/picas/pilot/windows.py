"""The end of what running commands have written, as it is sent to who follows: bounded, and a little longer than news.

What was sent before is sent again for a while, so that whoever reads a little late, or has just come, misses nothing.
Decisions only; the time comes from whoever asks.
"""

from __future__ import annotations

from collections import deque

from picas.pilot.capture import TAIL_BYTES
from picas.stores.base import Tail

__all__ = ["Stream", "Window"]

_SENT_FOR = 15.0
"""Seconds for which bytes are sent again."""
_SENT_ANYWAY = 4096


class Stream:
    """The last bytes of one stream: ``data`` begins at ``at``."""

    def __init__(self) -> None:
        self.at = 0
        self.data = b""
        self._ends: deque[tuple[float, int]] = deque()

    @property
    def end(self) -> int:
        """Where the next byte will be."""
        return self.at + len(self.data)

    def take(self, at: int, data: bytes, now: float) -> bool:
        """Go on with bytes that begin at a place: behind what was lost, if that is not the end. Whether any is new."""
        if at + len(data) <= self.end:
            return False
        if at == self.end:
            self.data += data
        else:
            self.at, self.data = at, data
        self._ends.append((now, self.end))
        self._shorten(now)
        return True

    def _shorten(self, now: float) -> None:
        old = self.at
        while self._ends and self._ends[0][0] < now - _SENT_FOR:
            old = self._ends.popleft()[1]
        first = max(self.at, self.end - TAIL_BYTES, min(old, self.end - _SENT_ANYWAY))
        self.at, self.data = first, self.data[first - self.at :]


class Window:
    """Both streams of one attempt at a token."""

    def __init__(self, token_id: str, fence: int) -> None:
        self._token = token_id
        self._fence = fence
        self.out = Stream()
        self.err = Stream()

    def take(self, out_at: int, out: bytes, err_at: int, err: bytes, now: float) -> bool:
        """Note what a runner answered; whether anything is new."""
        new = self.out.take(out_at, out, now)
        return self.err.take(err_at, err, now) or new

    def tail(self) -> Tail:
        """What is to be sent."""
        out, err = self.out, self.err
        return Tail(id=self._token, fence=self._fence, out=out.data, out_at=out.at, err=err.data, err_at=err.at)
