"""What a pilot may use: cores, memory, and time until its batch job ends; found, not asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["BATCH_MARGIN", "batch_end", "cores_here", "memory_here"]

BATCH_MARGIN = 60.0
"""Seconds before the end of its batch job at which a pilot gives back what it holds."""


def cores_here(environ: Mapping[str, str]) -> int:
    """Cores this process may use: what the batch system gave it, else its affinity."""
    for name in ("SLURM_CPUS_ON_NODE", "PBS_NUM_PPN", "NCPUS", "NSLOTS"):
        if environ.get(name, "").isdigit() and int(environ[name]) > 0:
            return min(int(environ[name]), len(os.sched_getaffinity(0)))
    return len(os.sched_getaffinity(0))


def memory_here(environ: Mapping[str, str]) -> float:
    """Bytes of memory this process may use: what Slurm gave the job, else the machine's."""
    megabytes = environ.get("SLURM_MEM_PER_NODE", "")
    if megabytes.isdigit():
        return float(megabytes) * 2**20
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


def batch_end(environ: Mapping[str, str]) -> float | None:
    """When the batch job will be ended (unix seconds, ``SLURM_JOB_END_TIME``), None outside of one."""
    text = environ.get("SLURM_JOB_END_TIME", "")
    return float(text) if text.isdigit() else None
