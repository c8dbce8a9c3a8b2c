"""What a runner holds a command to: the CPUs it may run on, and the memory it may have."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from picas.pilot.memory import Group, Watch

__all__ = ["Bounds"]


_LOOK = 1.0
"""Seconds between looks at a control group: where the kernel has ended one process, the command has to end too."""


class Bounds:
    """The bounds of one command, from what its job says: CPUs, bytes (0 for no limit), and where groups may be made."""

    def __init__(self, job: tuple[tuple[int, ...], float, str], name: str, now: float) -> None:
        self._cpus, self._limit, place = job
        self._group: Group | None = None
        self._watch: Watch | None = None
        self._look_at = now + _LOOK
        if self._limit and place:
            try:
                self._group = Group(Path(place), name, self._limit)
            except OSError:
                self._group = None
        if self._limit and self._group is None:
            self._watch = Watch(self._limit, now)

    @contextmanager
    def around(self) -> Iterator[None]:
        """What is started meanwhile is bound; this process is as before afterwards."""
        before = os.sched_getaffinity(0) if self._cpus else set()
        _run_on(self._cpus)
        try:
            if self._group is None:
                yield
            else:
                with self._group.entered():
                    yield
        finally:
            _run_on(before)

    def is_over(self, now: float) -> bool:
        """Whether the command must be ended for its memory."""
        if self._group is not None and now >= self._look_at:
            self._look_at = now + _LOOK
            return self._group.has_killed()
        return self._watch is not None and self._watch.is_over(now)

    def pause(self, timeout: float, now: float) -> float:
        """How long to wait at most until it must be looked at again."""
        return timeout if self._watch is None else min(timeout, self._watch.next_look(now))

    def close(self) -> tuple[bool, int]:
        """The command has ended: whether the kernel ended it for its memory, and the most it had, 0 if not known."""
        if self._group is not None:
            return self._group.close()
        return False, self._watch.peak if self._watch is not None else 0


def _run_on(cpus: Collection[int]) -> None:
    """Not where the CPUs have been taken from us since: better anywhere than not at all."""
    if cpus:
        with suppress(OSError):
            os.sched_setaffinity(0, cpus)
