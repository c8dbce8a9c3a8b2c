"""The processes that a token's program has started, and their end when its time is up."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from picas.process import end_group

__all__ = ["ALARM", "Offspring", "TimeIsUp", "TimeLimit", "end_child"]

log = logging.getLogger(__name__)

_LAST_WORDS = 5.0
"""Seconds in which a program whose children were ended may still return by itself, with what it has of their output."""
ALARM = signal.SIGRTMAX - 1
"""Interrupts a token's program. Not SIGALRM, which programs use."""


class TimeIsUp(BaseException):
    """Raised within a token's program when its time is up; no `Exception`, lest the program takes it for its own."""


class Offspring:
    """Processes that this one has started since, with all their descendants; what ran before is left alone."""

    def __init__(self) -> None:
        self._before = _children()
        self._known: dict[int, int] = {}
        self._groups: set[int] = set()

    def end(self, grace: float) -> bool:
        """Ask them to end (SIGTERM), kill them after ``grace`` seconds; whether there were any.

        None is reaped: its return code is for the program that started it.
        """
        found = self._send(signal.SIGTERM)
        if found and not self._gone(grace):
            self._send(signal.SIGKILL)
            self._gone(2.0)
        return found

    def adopt(self, child: int) -> None:
        """Count a child of this process among them, whenever it was started."""
        self._before -= {child}

    def kill(self) -> None:
        """Kill them at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> bool:
        alive = self._alive()
        for pid, one in alive.items():
            if one.group in self._groups:
                end_group(one.group, number)
            else:
                _signal(pid, number)
        return bool(alive)

    def _gone(self, seconds: float) -> bool:
        until, pause = time.monotonic() + seconds, 0.005
        while self._alive():
            if time.monotonic() > until:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
        return True

    def _alive(self) -> dict[int, _Process]:
        """Who lives: descendants, who was one before its parent ended, and members of the groups they made."""
        table = _processes()
        me, mine = os.getpid(), os.getpgrp()
        found = {pid for pid, began in self._known.items() if pid in table and table[pid].began == began}
        level = {pid for pid, one in table.items() if one.parent == me} - self._before
        while level:
            found |= level
            level = {pid for pid, one in table.items() if one.parent in level} - found
        # Bound anew, not changed in place: the handler of a signal and a time limit may both be at it.
        self._groups = self._groups | {table[pid].group for pid in found} - {mine, 0, 1}
        found |= {pid for pid, one in table.items() if one.group in self._groups}
        self._known = self._known | {pid: table[pid].began for pid in found}
        return {pid: table[pid] for pid in found if table[pid].state not in "ZX"}


class TimeLimit:
    """While it is entered: after so many seconds ends the offspring, then the program itself, by `TimeIsUp`.

    With None it does so only when it is told to (`end_now`). A program that goes on after that is ended again, as often
    as it takes.

    Only the main thread can be interrupted; a program in another one ends when its children have. ``expired`` says
    whether it came to that, ``told`` whether it was told to.
    """

    def __init__(self, seconds: float | None, end_offspring: Callable[[], bool]) -> None:
        self.expired = self.told = False
        self._seconds = seconds
        self._end_offspring = end_offspring
        self._over = threading.Event()
        self._due = threading.Event()
        self._guard = threading.Lock()
        self._in_main = threading.current_thread() is threading.main_thread()
        self._previous: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> TimeLimit:
        if self._in_main:
            self._previous = signal.signal(ALARM, self._interrupt)
        if self._seconds is not None:
            self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            self._over.set()
            self._due.set()
        if self._thread is not None:
            self._thread.join()
        if self._in_main:
            signal.signal(ALARM, self._previous)

    def end_now(self) -> None:
        """Have the program ended without waiting for its time; callable from any thread, and more than once."""
        with self._guard:
            if not self._over.is_set():
                self.told = True
                self._due.set()
                self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="time limit", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        self._due.wait(self._seconds)
        if self._over.is_set():
            return
        self.expired = True
        while not self._over.is_set():
            had_any = self._end_offspring()
            if self._over.wait(_LAST_WORDS if had_any else 0.0):
                break
            if self._in_main:
                signal.pthread_kill(threading.main_thread().ident or 0, ALARM)
            self._over.wait(_LAST_WORDS)
        # The program has returned, and may have started more on its way out: none may outlive the token.
        self._end_offspring()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._over.is_set():
            raise TimeIsUp


def end_child(child: subprocess.Popen[Any], grace: float) -> None:
    """Wait for a process that was asked to end, and kill it after ``grace`` seconds."""
    if _has_ended(child.pid):
        return
    try:
        child.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        log.info("Killing subprocess")
        child.kill()


def _has_ended(pid: int) -> bool:
    """Whether a child is gone or only waits to be reaped.

    ``Popen.poll`` cannot tell in the handler of a signal that came during ``Popen.wait``: the interrupted call holds
    the lock that both take, so that waiting there would never end.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class _Process(NamedTuple):
    state: str
    parent: int
    group: int
    began: int


def _processes() -> Mapping[int, _Process]:
    """Every process of the machine, from /proc/PID/stat (proc(5)); ``began`` is in clock ticks since boot."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - twice as fast, at thousands of processes
        if name.isdigit():
            try:
                words = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            found[int(name)] = _Process(words[0], int(words[1]), int(words[2]), int(words[19]))
    return found


def _children() -> frozenset[int]:
    """The children of all threads of this process: asked for every token, so without a look at all processes."""
    try:
        lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:
        lists = []
    if lists:
        return frozenset(int(pid) for text in lists for pid in text.split())
    me = os.getpid()
    return frozenset(pid for pid, one in _processes().items() if one.parent == me)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
