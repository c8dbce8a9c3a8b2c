"""Logging in: a token turned into a cookie, few tries a minute, nothing of either kept where it can be read."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable

__all__ = ["SESSION_SECONDS", "Logins", "Sessions"]

SESSION_SECONDS = 12 * 3600
_MOST_SESSIONS = 1000
_TRIES = 10
_TRIES_OVER = 60.0
_MOST_ADDRESSES = 10_000


class Sessions:
    """Who is logged in: whoever showed the token, until the session is over or picas web ends.

    Kept by digest, so that what is in memory opens nothing.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = _digest(token)
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def is_token(self, given: str) -> bool:
        """Whether this is the token, told in the same time whatever is given."""
        return hmac.compare_digest(_digest(given), self._token)

    def begin(self) -> str:
        """A new session; its secret, for the cookie."""
        secret = secrets.token_urlsafe(32)
        while len(self._until) >= _MOST_SESSIONS:
            self._until.popitem(last=False)
        self._until[_digest(secret)] = self._clock() + SESSION_SECONDS
        return secret

    def knows(self, secret: str) -> bool:
        """Whether this is the secret of a session that is not over."""
        until = self._until.get(_digest(secret))
        return until is not None and self._clock() < until

    def end(self, secret: str) -> None:
        """Log out."""
        self._until.pop(_digest(secret), None)


class Logins:
    """Counts tries to log in, by address: ten a minute, whether they succeed or not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Count a try; 0 when it may be made, else for how many seconds none may. Such a try is not counted."""
        now = self._clock()
        tries = self._tries.setdefault(address, deque())
        self._tries.move_to_end(address)
        while len(self._tries) > _MOST_ADDRESSES:
            self._tries.popitem(last=False)
        while tries and tries[0] <= now - _TRIES_OVER:
            tries.popleft()
        if len(tries) >= _TRIES:
            return tries[0] + _TRIES_OVER - now
        tries.append(now)
        return 0.0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
