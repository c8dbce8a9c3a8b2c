"""What a pilot may use: cores, memory, GPUs, and time until its batch job ends; found, not asked for.

Several may have a say: the batch system by its variables, the kernel by control groups (cgroups(7), both versions) and
affinity. The smallest counts. ``root`` is where ``sys`` and ``proc`` are, which tests choose.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = [
    "BATCH_MARGIN",
    "GPU_VARIABLES",
    "batch_end",
    "cores_here",
    "cpus_here",
    "deadline",
    "gpus_here",
    "memory_here",
]

BATCH_MARGIN = 60.0
"""Seconds before the end of its batch job at which a pilot gives back what it holds."""

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Where programs look for the GPUs that they may use, and batch systems write them."""

_ROOT = Path("/")
_CORES = ("SLURM_CPUS_ON_NODE", "PBS_NUM_PPN", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")
_UNLIMITED = 2.0**60
"""Bytes; version 1 of control groups says 2**63 less a page where there is no limit."""


def cores_here(environ: Mapping[str, str], root: Path = _ROOT, cpus: int | None = None) -> int:
    """Cores this process may use, at least one; ``cpus`` are those its affinity allows, found when not given."""
    found = [_number(environ, name) for name in _CORES]
    if "SLURM_STEP_ID" in environ:  # in a batch script that variable tells what each `srun` would get
        found.append(_number(environ, "SLURM_CPUS_PER_TASK"))
    found += [float(len(cpus_here()) if cpus is None else cpus), *_quotas(root), *_cpusets(root)]
    return max(1, int(min(count for count in found if count)))


def cpus_here() -> list[int]:
    """The numbers of the CPUs this process may run on."""
    return sorted(os.sched_getaffinity(0))


def memory_here(environ: Mapping[str, str], root: Path = _ROOT, physical: float | None = None) -> float:
    """Bytes of memory this process may use; ``physical`` is what the machine has, found when not given."""
    machine = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES") if physical is None else physical
    found = [machine, _number(environ, "SLURM_MEM_PER_NODE") * 2**20]
    per_core = _number(environ, "SLURM_MEM_PER_CPU") * 2**20
    found.append(per_core * _number(environ, "SLURM_CPUS_ON_NODE"))
    for name, controller in (("memory.max", ""), ("memory.limit_in_bytes", "memory")):
        found += [_float(_read(group / name)) for group in _groups(root, controller)]
    return min(size for size in found if 0 < size < _UNLIMITED)


def gpus_here(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The ids of the GPUs this process was given, none when no variable tells of any."""
    for name in (*GPU_VARIABLES, "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        if name in environ:
            ids = [word.strip() for word in environ[name].split(",")]
            return tuple(word for word in ids if word and word not in ("-1", "NoDevFiles"))
    return tuple(str(number) for number in range(int(_number(environ, "SLURM_GPUS_ON_NODE"))))


def batch_end(environ: Mapping[str, str], root: Path = _ROOT) -> float | None:
    """When the batch job will be ended (unix seconds), None outside of one.

    Slurm says it (``SLURM_JOB_END_TIME``). PBS says how long the job may take (``PBS_WALLTIME``, seconds); the job
    began when its shell did, which leads our session.
    """
    end = _number(environ, "SLURM_JOB_END_TIME")
    if not end and (length := _number(environ, "PBS_WALLTIME")):
        began = _began(root, os.getsid(0)) or _began(root, os.getpid())
        end = began + length if began else 0.0
    return end or None


def deadline(max_time: float | None, environ: Mapping[str, str]) -> float | None:
    """When a pilot must end, on the monotonic clock: after ``max_time``, or before its batch job does."""
    now = time.monotonic()
    ends = [now + max_time] if max_time is not None else []
    batch = batch_end(environ)
    if batch is not None:
        ends.append(now + batch - time.time() - BATCH_MARGIN)
    return min(ends) if ends else None


def _began(root: Path, pid: int) -> float:
    """When a process began (unix seconds), from the time since boot (proc(5)); 0 when that cannot be told."""
    words = _read(root / f"proc/{pid}/stat").rpartition(")")[2].split()
    boots = [line.split()[1] for line in _read(root / "proc/stat").splitlines() if line.startswith("btime ")]
    if len(words) < 20 or not boots:
        return 0.0
    return float(boots[0]) + float(words[19]) / os.sysconf("SC_CLK_TCK")


def _quotas(root: Path) -> Iterator[float]:
    """How many cores' time the groups of this process may use."""
    for group in _groups(root, ""):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        yield _ratio(quota, period)
    for group in _groups(root, "cpu"):
        yield _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _cpusets(root: Path) -> Iterator[float]:
    """How many CPUs the groups of this process may run on."""
    for controller, name in (("", "cpuset.cpus.effective"), ("cpuset", "cpuset.effective_cpus")):
        for group in _groups(root, controller):
            yield _length(_read(group / name))


def _length(listed: str) -> float:
    """How many numbers a list such as ``0-3,8`` has; 0 when it cannot be read."""
    count = 0
    for part in listed.split(",") if listed else ():
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return 0.0
        count += int(last or first) - int(first) + 1
    return float(count)


def _ratio(quota: str, period: str) -> float:
    """A quota in cores, no less than one; 0 where there is none."""
    most, of = _float(quota), _float(period)
    return max(1.0, most / of) if most > 0 and of > 0 else 0.0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The control group of this process and those around it: of version 2, or of a controller of version 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller not in names.split(","):
            continue
        top = root / "sys/fs/cgroup" / controller
        # In a container the path may be one of the host's, and what is mounted here already is our own group.
        inner = Path(path.lstrip("/"))
        yield from (top / part for part in (inner, *inner.parents) if (top / part).is_dir())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(environ: Mapping[str, str], name: str) -> float:
    text = environ.get(name, "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _float(text: str) -> float:
    """A number, or 0 for ``max`` and whatever else is no number."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
