"""A command's memory, held to what its token asked for: by a control group of its own, else by looking at it.

A control group (cgroups(7)) where this process may make one: of version 1 beneath its own, of version 2 where the pilot
has been given its own to divide. Else its processes are looked at about once a second, sooner when little is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Group", "Watch", "find_groups", "tree_memory"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK = 1.0
_SOONEST = 0.05
_FASTEST = 2.0**31
"""Bytes a second that a program is taken to fill at most, for when to look next."""


class Watch:
    """Looks at the memory of all descendants of this process, which must have no others than those of one command."""

    def __init__(self, limit: float, now: float) -> None:
        self.peak = 0
        self._limit = limit
        self._at = now + self._pause(0)

    def is_over(self, now: float) -> bool:
        """Whether they have more than they may; looked at only when it is time."""
        if now < self._at:
            return False
        used = tree_memory(os.getpid())
        if used > self._limit:
            # Pages that several share were counted for each: that is cheap. Now each is counted once.
            used = tree_memory(os.getpid(), shared=True)
        self.peak = max(self.peak, used)
        self._at = now + self._pause(used)
        return used > self._limit

    def next_look(self, now: float) -> float:
        """Seconds until it is time to look again."""
        return max(0.001, self._at - now)

    def _pause(self, used: int) -> float:
        return min(_LOOK, max(_SOONEST, (self._limit - used) / _FASTEST))


class Group:
    """A control group for one command, beneath ``place``; of version 2 where there is no ``memory.limit_in_bytes``."""

    def __init__(self, place: Path, name: str, limit: float) -> None:
        self._place = place
        self._path = place / name
        self._path.mkdir()
        self._is_first = (self._path / "memory.limit_in_bytes").exists()
        try:
            _write(self._path / ("memory.limit_in_bytes" if self._is_first else "memory.max"), int(limit))
        except OSError:
            self._path.rmdir()
            raise
        # Memory that is swapped out would not count; and of a command that lost a process nothing should go on.
        more = {"memory.memsw.limit_in_bytes": int(limit)} if self._is_first else {}
        more |= {} if self._is_first else {"memory.swap.max": 0, "memory.oom.group": 1}
        for setting, value in more.items():
            if (self._path / setting).exists():
                _write(self._path / setting, value)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process is in the group meanwhile, so that those it starts are."""
        _write(self._path / "cgroup.procs", 0)
        try:
            yield
        finally:
            _write((self._place if self._is_first else self._place / _HOME) / "cgroup.procs", 0)

    def has_killed(self) -> bool:
        """Whether the kernel has ended a process of the group for its memory; of version 1 others may go on."""
        events = _read(self._path / ("memory.oom_control" if self._is_first else "memory.events"))
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in events.splitlines())

    def close(self) -> tuple[bool, int]:
        """Remove the group, whose processes have ended; whether it had come to its limit, and its peak in bytes."""
        killed = self.has_killed()
        peak = _read(self._path / ("memory.max_usage_in_bytes" if self._is_first else "memory.peak"))
        until = time.monotonic() + 1.0
        while True:
            try:
                self._path.rmdir()
                break
            except OSError:  # a process that has just ended may still be in it
                if time.monotonic() > until:
                    break
                time.sleep(0.005)
        return killed, int(peak) if peak.isdigit() else 0


_HOME = "pilot"
"""Where a pilot and its runners are themselves: version 2 allows none beside groups with limits."""


def find_groups(root: Path = Path("/")) -> Path | None:
    """Where groups with a limit may be made, tried by making one; None where that is not allowed.

    Of version 2 this moves the calling process and its descendants into a group beneath their own, when they are alone
    there.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        inner = path.lstrip("/")
        place: Path | None = None
        if names == "memory":
            place = _own(root / "sys/fs/cgroup/memory", inner)
        elif not names:
            place = _divided(_own(root / "sys/fs/cgroup", inner))
        if place is not None and _can_limit(place):
            _sweep(place)
            return place
    return None


def tree_memory(top: int, *, shared: bool = False) -> int:
    """Bytes of memory of all descendants of a process: resident ones, or with those that several share counted once."""
    pids = _descendants(top)
    return sum((_proportional(pid) if shared else 0) or _resident(pid) for pid in pids)


def _divided(own: Path | None) -> Path | None:
    """A group of version 2 whose children may have limits: no process may be in it, and those that are move."""
    if own is None or "memory" not in _read(own / "cgroup.controllers").split():
        return None
    try:
        while there := [int(word) for word in _read(own / "cgroup.procs").split()]:
            if not {os.getpid(), *_descendants(os.getpid())}.issuperset(there):
                return None
            (own / _HOME).mkdir(exist_ok=True)
            for pid in there:
                _write(own / _HOME / "cgroup.procs", pid)
        _write(own / "cgroup.subtree_control", "+memory")
    except OSError:
        return None
    return own


def _own(top: Path, inner: str) -> Path | None:
    """Where a group is mounted: in a container its path may be one of the host's, and the top is our own."""
    return next((place for place in (top / inner, top) if (place / "cgroup.procs").exists()), None)


def _can_limit(place: Path) -> bool:
    try:
        Group(place, f"picas-{os.getpid()}-{os.urandom(3).hex()}", 2.0**30).close()
    except OSError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Remove groups whose runners were killed. One in which a process still is stays: the kernel sees to that."""
    for path in place.glob("picas-*-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            with suppress(OSError):
                path.rmdir()


def _descendants(top: int) -> list[int]:
    children = _by_children(top)
    return _by_scan(top) if children is None else children


def _by_children(top: int) -> list[int] | None:
    """By the kernel's own lists, which some are built without: then None."""
    found: list[int] = []
    level = [top]
    while level:
        below: list[int] = []
        for pid in level:
            lists = [_read(task / "children") for task in _tasks(pid)]
            if pid == top and not (Path("/proc") / str(top) / "task" / str(top) / "children").exists():
                return None
            below += [int(word) for text in lists for word in text.split()]
        found += below
        level = below
    return found


def _by_scan(top: int) -> list[int]:
    """By the parents of all processes there are."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - twice as fast, at thousands of processes
        if name.isdigit():
            words = _read(Path("/proc", name, "stat")).rpartition(")")[2].split()
            if len(words) > 1:
                parents.setdefault(int(words[1]), []).append(int(name))
    found: list[int] = []
    level = [top]
    while level:
        level = [child for pid in level for child in parents.get(pid, ())]
        found += level
    return found


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _resident(pid: int) -> int:
    words = _read(Path(f"/proc/{pid}/statm")).split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0


def _proportional(pid: int) -> int:
    """The size with shared pages divided among those that share them (proc(5)); 0 when it cannot be told."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _write(path: Path, value: object) -> None:
    with path.open("w") as file:
        file.write(str(value))
