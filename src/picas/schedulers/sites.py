"""The batch systems by name; the only module that knows which there are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast, runtime_checkable

from picas.errors import UsageError
from picas.schedulers.base import JobSpec, Scheduler

__all__ = ["NAMES", "ArrayScheduler", "scheduler"]

NAMES = ("local", "slurm", "gridengine", "pbs", "htcondor", "dirac")
"""Each is a module of `picas.schedulers` with a function ``make``."""


@runtime_checkable
class ArrayScheduler(Protocol):
    """A batch system that takes many jobs that are alike as one."""

    def submit_array(self, spec: JobSpec, count: int) -> Sequence[str]:
        """Hand in one array; the ids of its jobs. Raises as `Scheduler.submit`."""


def scheduler(name: str) -> Scheduler:
    """The batch system of a name; UsageError when there is none. Nothing is asked of it yet."""
    if name not in NAMES:
        raise UsageError(f"there is no batch system {name!r:.60}", hint=f"known are {', '.join(NAMES)}")
    return cast("Scheduler", import_module(f"picas.schedulers.{name}").make())
