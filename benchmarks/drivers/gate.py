"""What the drivers of `couchdb.py` share: what they are told, the gate that all wait at, and what they report.

Nothing but the standard library, and no newer than Python 3.9: this runs in a peer's environment too.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Pilot"]


class Pilot:
    """One pilot process; it is told everything in one line of JSON on its standard input, passwords too."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = json.loads(sys.stdin.readline())
        self.server: str = self.told["server"]
        self.database: str = self.told["database"]
        self.username: str = self.told["username"]
        self.password: str = self.told["password"]
        self.batch: int = self.told["batch"]
        self._settled_at = 0.0
        self._diary = os.open(self.told["diary"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def ran(self, ids: Iterable[str]) -> None:
        """Note in the diary that these tokens ran, in one write."""
        os.write(self._diary, "".join(f"{token_id}\n" for token_id in ids).encode())

    def settled(self) -> None:
        """Something was settled just now."""
        self._settled_at = time.monotonic()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Wait at the gate until all are there; then work, and report when the last settlement was, whatever happens.

        When the benchmark ends before, the gate closes, and so does this process.
        """
        self._report(ready=True)
        if not os.read(self.told["gate"], 1):
            raise SystemExit("the benchmark is gone")
        try:
            yield
        finally:
            self._report(ready=False)

    def _report(self, *, ready: bool) -> None:
        line = json.dumps({"pilot": self.told["pilot"], "ready": ready, "settled_at": self._settled_at})
        os.write(self.told["report"], f"{line}\n".encode())
