"""The batch systems by name; the only module that knows which there are."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from picas.errors import UsageError
from picas.schedulers.base import Scheduler

__all__ = ["NAMES", "scheduler"]

NAMES = ("local", "slurm", "gridengine", "pbs", "htcondor", "dirac")
"""Each is a module of `picas.schedulers` with a function ``make``."""


def scheduler(name: str) -> Scheduler:
    """The batch system of a name; UsageError when there is none. Nothing is asked of it yet."""
    if name not in NAMES:
        raise UsageError(f"there is no batch system {name!r:.60}", hint=f"known are {', '.join(NAMES)}")
    module = f"picas.schedulers.{name}"
    try:
        made = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UsageError(f"{name} is not in this version of picas") from None
    return cast("Scheduler", made.make())
