"""Linux process control that Python lacks: child subreapers, death signals, descendants, and their end."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Set as AbstractSet
from pathlib import Path

__all__ = ["become_subreaper", "children", "die_with_parent", "end_group", "end_leftovers", "has_children"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, so that none can slip away (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that started it ends (prctl(2))."""
    _prctl(_PR_SET_PDEATHSIG, number)


def has_children() -> bool:
    """Whether this process has any child left, ended or not; one system call."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def end_group(leader: int, number: int) -> None:
    """Send a signal to every process of a group; one that is gone already is no error."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def end_leftovers(deadline: float = 2.0, *, spared: AbstractSet[int] = frozenset()) -> bool:
    """Kill and reap all descendants of this process, which must be a subreaper; whether none is left.

    A killed process hands its children to us, so that rounds of killing one's own children reach all of them.
    Gives up after ``deadline`` seconds: a process in uninterruptible sleep cannot be ended by anybody. Children
    that are ``spared``, and theirs, are left alone.
    """
    until = time.monotonic() + deadline
    while has_children():
        doomed = [pid for pid in children() if pid not in spared]
        if not doomed:
            return True
        for pid in doomed:
            _kill(pid)
            _reap(pid)
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def children() -> list[int]:
    """The processes that this one has started, or that were left to it."""
    me = os.getpid()
    try:
        listed = Path(f"/proc/{me}/task/{me}/children").read_text()
    except OSError:
        return _children_by_scan(me)
    return [int(pid) for pid in listed.split()]


def _children_by_scan(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            raise OSError(number, os.strerror(number))
