"""Virtual time: one queue of events, and code that may stop anywhere and go on later, one piece at a time.

Only one thread ever runs. An event that has to wait in the middle of its work (`Loop.sleep`) leaves its thread standing
and has another take up the queue; the order of everything follows from the queue alone, never from the threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from typing import Any

__all__ = ["BASE", "Actor", "Killed", "Loop"]

BASE = 1_800_000_000.0
"""Unix seconds of the server's clock when a run begins."""


class Killed(BaseException):
    """Raised where a process that is no more would have gone on."""


class Actor:
    """Whoever does something: a pilot, a person. ``skew`` and ``rate`` are what is wrong with its clock."""

    def __init__(self, name: str, *, skew: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.skew = skew
        self.rate = rate
        self.is_dead = False
        self.stopped_until = 0.0
        """Until when it is stopped, as by SIGSTOP."""


class Loop:
    """The queue of what is to happen, the time, and the trace of what has happened."""

    def __init__(self, *, keep: bool = False) -> None:
        self.now = 0.0
        self.actor = Actor("nobody")
        self.lines: list[str] | None = [] if keep else None
        self.events = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._queue: list[tuple[float, int, Callable[[], None] | None, Any]] = []
        self._number = 0
        self._over = False
        self._done = threading.Event()
        self._standing: dict[int, Any] = {}
        self._failure: BaseException | None = None

    @property
    def digest(self) -> str:
        """A hash of the trace so far."""
        return self._digest.hexdigest()

    def note(self, *words: object) -> None:
        """Add a line to the trace."""
        line = f"{self.now:.6f} {self.actor.name} {' '.join(map(str, words))}"
        self._digest.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have something done at a time."""
        self._push(max(when, self.now), act, None)

    def run(self) -> None:
        """Carry out events until there are none, or `stop`; raises what an event raised."""
        _start(self._drive)
        self._done.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the run: whoever stands in the middle of something is killed there."""
        self._over = True

    def sleep(self, seconds: float) -> None:
        """Let time pass for whoever acts now; longer while it is stopped. Killed when it does not go on."""
        me, until = self.actor, self.now + seconds
        while True:
            self._sleep(max(until, me.stopped_until))
            self.actor = me
            if me.is_dead or self._over:
                raise Killed
            if self.now >= me.stopped_until:
                return

    def _sleep(self, until: float) -> None:
        if self._over:
            return
        if not self._queue or self._queue[0][0] > until:
            self.now = max(self.now, until)
            return
        gate = threading.Lock()
        gate.acquire()
        self._standing[id(gate)] = gate
        self._push(until, None, gate)
        _start(self._drive)
        gate.acquire()

    def _push(self, when: float, act: Callable[[], None] | None, gate: Any) -> None:
        self._number += 1
        heappush(self._queue, (when, self._number, act, gate))

    def _drive(self) -> None:
        try:
            while self._queue and not self._over:
                when, _, act, gate = heappop(self._queue)
                self.now = max(self.now, when)
                self.events += 1
                if act is None:
                    del self._standing[id(gate)]
                    gate.release()
                    return
                with suppress(Killed):
                    act()
        except BaseException as error:  # noqa: BLE001 - raised by `run`, in the thread that waits for it
            self._failure = self._failure or error
        self._over = True
        if self._standing:
            self._standing.popitem()[1].release()
        else:
            self._done.set()


class _Worker(threading.Thread):
    """A thread that does one thing after another; kept for the next runs, since starting one is slow."""

    idle: list[_Worker] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(name="simulation", daemon=True)
        self.work: Callable[[], None] = lambda: None
        self.gate = threading.Lock()
        self.gate.acquire()

    def run(self) -> None:
        while True:
            self.gate.acquire()
            self.work()
            self.work = lambda: None
            self.idle.append(self)


def _start(work: Callable[[], None]) -> None:
    try:
        worker = _Worker.idle.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
    worker.work = work
    worker.gate.release()
