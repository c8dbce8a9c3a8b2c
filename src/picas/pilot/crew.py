"""The runners of one pilot, seen from the pilot: start them, feed them, hear from them, and end them."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import picas
from picas.config import without_secrets
from picas.pilot.jobs import CANCEL, FULL, QUIT, TAIL, Frames, Job, Journal, Report, pack, unpack
from picas.pilot.tidying import remove
from picas.process import become_subreaper, children, end_leftovers

__all__ = ["Crew", "Loss"]

_START = (
    "import sys; sys.path[:0] = [sys.argv.pop()]; from picas.pilot.runner import main; main({}, {}, {}, {}, {!r}, {!r})"
)
_MESSAGE_BYTES = 64 * 1024
"""A longer job goes by file: a socket takes a message whole or not at all."""
_CERTAIN = 10.0
"""Seconds for which a job must be nowhere to be counted as lost."""
_NOT_ALL_TOLD = 0.01
"""Seconds to wait for reports at most while a runner has not taken all it was told."""


class Loss(NamedTuple):
    """Jobs whose reports will not come, and the one among the lost that a command ran of, if any."""

    unreported: list[int]
    running: int | None = None


class Crew:
    """So many runners, sharing one queue of jobs; ``environ`` is what every command gets besides."""

    def __init__(self, size: int, environ: Mapping[str, str] | None = None) -> None:
        # Those of a program that runs a pilot within are none of ours.
        self._strangers = frozenset(children())
        become_subreaper()
        self._environ = {**without_secrets(os.environ), **(environ or {})}
        self.folder = Path(tempfile.mkdtemp(prefix="picas-"))
        self._slots = Path(tempfile.mkdtemp(prefix="picas-", dir=_fast_place()))
        self._queue, self._far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._queue.setblocking(False)
        self._poll = select.poll()
        self._runners: dict[int, tuple[subprocess.Popen[bytes], Frames]] = {}
        self._journals = Journal.make(self._slots, size)
        self._pages: dict[int, int] = {}
        self._lost: list[Loss] = []
        self._sent: dict[int, None] = {}  # in this order
        self._missing: set[int] = set()
        self._look_at = float("inf")  # for what is missing: once a runner has died
        self._tails: list[tuple[int, int, bytes, int, bytes]] = []
        for number in range(size):
            self._start(number)

    @property
    def alive(self) -> int:
        """How many runners there are."""
        return len(self._runners)

    def send(self, job: Job) -> bool:
        """Queue a job for whichever runner is free next; False when the queue is full."""
        data = pack(tuple(job))
        if len(data) > _MESSAGE_BYTES:
            path = self.folder / f"job-{job.number}"
            path.write_bytes(data)
            data = pack((job.number, str(path)))
        try:
            self._queue.send(data)
        except BlockingIOError:
            return False
        self._sent[job.number] = None
        return True

    def collect(self, timeout: float) -> list[Report]:
        """Reports that have come, waiting at most ``timeout`` seconds for the first."""
        found: list[Report] = []
        if self._push():
            timeout = min(timeout, _NOT_ALL_TOLD)
        for handle, _ in self._poll.poll(timeout * 1000):
            messages = self._runners[handle][1].receive()
            if messages is None:
                self._bury(handle)
                continue
            for message in messages:
                if isinstance(message, tuple):
                    self._tails.append(message)
                else:
                    found.extend(Report(*fields) for fields in message)
        for report in found:
            self._sent.pop(report.number, None)
        if time.monotonic() >= self._look_at:
            self._look_for_missing()
        return found

    def ask_tails(self, places: Iterable[tuple[int, int, int]]) -> None:
        """Ask for what jobs have written: by number, from a place in standard output and one in standard error on."""
        for place in places:
            self._tell((TAIL, *place))

    def take_tails(self) -> list[tuple[int, int, bytes, int, bytes]]:
        """Answers that have come: a job's number, and of each stream where the bytes begin, and these."""
        tails, self._tails = self._tails, []
        return tails

    @property
    def pids(self) -> list[int]:
        """The processes of the runners, whose descendants are the commands."""
        return [process.pid for process, _ in self._runners.values()]

    def take_lost(self) -> list[Loss]:
        """What was lost with runners that have died, since the last look."""
        lost, self._lost = self._lost, []
        return lost

    def cancel(self, numbers: Iterable[int], why: str, grace: float) -> None:
        """Have these jobs ended: the running ones now, the queued ones before they start."""
        self._tell((CANCEL, list(numbers), why, grace))

    def warn_full(self) -> None:
        """Have those commands ended, for reason ``disk``, whose output has grown since the last warning."""
        self._tell((FULL,))

    def recall(self) -> list[int]:
        """Take back every job that no runner has taken yet; their numbers."""
        numbers: list[int] = []
        while True:
            try:
                message = unpack(self._far_end.recv(1 << 20, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return numbers
            numbers.append(message[0])
            self._sent.pop(message[0], None)

    def close(self) -> None:
        """End the runners and whatever they still run, and remove what they left on disk."""
        self._tell((QUIT,))
        for process, frames in self._runners.values():
            frames.sock.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._runners.clear()
        os.close(self._journals)
        self._queue.close()
        self._far_end.close()
        end_leftovers(spared=self._strangers)
        for folder in (self.folder, self._slots):
            remove(folder)

    def _start(self, number: int) -> None:
        folder = self._slots / f"slot{number}"
        folder.mkdir(mode=0o700)
        ours, theirs = socket.socketpair()
        handles = (self._far_end.fileno(), theirs.fileno(), self._journals)
        source = str(Path(picas.__file__).parent.parent)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START.format(*handles, number, str(folder), str(self.folder)), source],
            pass_fds=handles,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=self._environ,
        )
        theirs.close()
        self._runners[ours.fileno()] = (process, Frames(ours))
        self._pages[ours.fileno()] = number
        self._poll.register(ours, select.POLLIN)

    def _bury(self, handle: int) -> None:
        """A runner has died: whatever it ran has become our child, and is ended."""
        process, frames = self._runners.pop(handle)
        self._poll.unregister(handle)
        frames.sock.close()
        process.wait()
        numbers = Journal.read(self._journals, self._pages.pop(handle))
        for number in numbers:
            self._sent.pop(number, None)
        if numbers:
            self._lost.append(Loss(numbers[:-1], numbers[-1]))
        self._look_at = time.monotonic()
        end_leftovers(spared={process.pid for process, _ in self._runners.values()} | self._strangers)

    def _look_for_missing(self) -> None:
        """See whether a runner was killed in the moment between taking a job and noting it down.

        Such a job is in no queue and in no journal, and stays so: the others have what they took noted long since.
        """
        taken = self._taken()
        noted = {number for page in self._pages.values() for number in Journal.read(self._journals, page)}
        if self._poll.poll(0) or any(frames.is_partial for _, frames in self._runners.values()):
            return  # reports that have come are in no journal either
        missing = taken - noted
        lost = missing & self._missing
        if lost:
            self._lost.append(Loss(sorted(lost)))
            for number in lost:
                del self._sent[number]
        self._missing = missing - lost
        self._look_at = time.monotonic() + _CERTAIN

    def _taken(self) -> set[int]:
        """What was sent, up to the first that is still in the queue."""
        try:
            first = unpack(self._far_end.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT))[0]
        except BlockingIOError:
            return set(self._sent)
        return set(itertools.takewhile(lambda number: number != first, self._sent))

    def _push(self) -> bool:
        """Send on what runners could not take before; whether some is left."""
        left = False
        for _, frames in self._runners.values():
            with contextlib.suppress(OSError):
                left = frames.push() or left
        return left

    def _tell(self, message: Any) -> None:
        for _, frames in self._runners.values():
            try:
                frames.tell(message)  # it may be sending reports, for which it would wait for us
            except OSError:  # it has died, which the next look at its socket shows
                continue


def _fast_place() -> str | None:
    """Memory, for the small files of runners: each command would cost two journal entries of a disk's file system."""
    place = Path("/dev/shm")  # noqa: S108 - the folder made in it has a random name and is ours alone
    return str(place) if place.is_dir() and os.access(place, os.W_OK) else None
