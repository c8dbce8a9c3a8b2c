"""What a pilot may use, as batch systems and kernel say it: each has its say, and the smallest counts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from picas.pilot import limits

GIB = 2**30
MANY = 64


def machine(root: Path, cgroup: str = "0::/\n", files: Mapping[str, str] | None = None) -> Path:
    """A root folder in which these files say what this process may use."""
    for name, text in {"proc/self/cgroup": cgroup, **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class TestCores:
    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({}, MANY),
            ({"SLURM_CPUS_ON_NODE": "16"}, 16),
            ({"SLURM_CPUS_ON_NODE": "128"}, MANY),
            ({"SLURM_CPUS_ON_NODE": "16", "SLURM_CPUS_PER_TASK": "4"}, 16),
            ({"SLURM_CPUS_ON_NODE": "16", "SLURM_CPUS_PER_TASK": "4", "SLURM_STEP_ID": "0"}, 4),
            ({"NCPUS": "8"}, 8),
            ({"PBS_NUM_PPN": "12"}, 12),
            ({"PBS_NUM_PPN": "12", "NCPUS": "6"}, 6),
            ({"NSLOTS": "3"}, 3),
            ({"LSB_DJOB_NUMPROC": "5"}, 5),
            ({"OMP_NUM_THREADS": "1"}, MANY),
            ({"SLURM_CPUS_ON_NODE": "0"}, MANY),
            ({"NCPUS": "many"}, MANY),
            ({"NCPUS": "²"}, MANY),
        ],
    )
    def test_of_batch_systems(self, tmp_path: Path, environ: dict[str, str], expected: int) -> None:
        assert limits.cores_here(environ, machine(tmp_path), cpus=MANY) == expected

    @pytest.mark.parametrize(
        ("cgroup", "files", "expected"),
        [
            ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "400000 100000\n"}, 4),
            ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 1),
            ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "50000 100000\n"}, 1),
            ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "max 100000\n"}, MANY),
            ("0::/job/step\n", {"sys/fs/cgroup/job/cpu.max": "200000 100000\n"}, 2),
            ("0::/job\n", {"sys/fs/cgroup/job/cpuset.cpus.effective": "0-3,8\n"}, 5),
            ("0::/on/the/host\n", {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
            ("3:cpu,cpuacct:/job\n", {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
                                      "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n"}, 2),
            ("3:cpu:/job\n", {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
                              "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n"}, MANY),
            ("5:cpuset:/job\n", {"sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": "2,4\n"}, 2),
            ("5:cpuset:/job\n", {"sys/fs/cgroup/cpuset/job/cpuset.effective_cpus": "rubbish\n"}, MANY),
        ],
    )  # fmt: skip
    def test_of_control_groups(self, tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
        assert limits.cores_here({}, machine(tmp_path, cgroup, files), cpus=MANY) == expected

    def test_the_smallest_counts(self, tmp_path: Path) -> None:
        root = machine(tmp_path, "0::/job\n", {"sys/fs/cgroup/job/cpu.max": "600000 100000\n"})
        assert limits.cores_here({"SLURM_CPUS_ON_NODE": "8"}, root, cpus=16) == 6
        assert limits.cores_here({"SLURM_CPUS_ON_NODE": "4"}, root, cpus=16) == 4
        assert limits.cores_here({"SLURM_CPUS_ON_NODE": "8"}, root, cpus=2) == 2

    def test_of_this_machine(self) -> None:
        assert 1 <= limits.cores_here({}) <= len(os.sched_getaffinity(0))


class TestMemory:
    @pytest.mark.parametrize(
        ("environ", "cgroup", "files", "expected"),
        [
            ({}, "0::/\n", {}, 64 * GIB),
            ({"SLURM_MEM_PER_NODE": "8192"}, "0::/\n", {}, 8 * GIB),
            ({"SLURM_MEM_PER_NODE": "0"}, "0::/\n", {}, 64 * GIB),
            ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "4"}, "0::/\n", {}, 8 * GIB),
            ({}, "0::/job\n", {"sys/fs/cgroup/job/memory.max": f"{4 * GIB}\n"}, 4 * GIB),
            ({}, "0::/job/a\n", {"sys/fs/cgroup/job/memory.max": f"{4 * GIB}\n",
                                 "sys/fs/cgroup/job/a/memory.max": "max\n"}, 4 * GIB),
            ({}, "4:memory:/job\n", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{3 * GIB}\n"}, 3 * GIB),
            ({}, "4:memory:/job\n", {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n"},
             64 * GIB),
            ({"SLURM_MEM_PER_NODE": "8192"}, "0::/job\n", {"sys/fs/cgroup/job/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ],
    )  # fmt: skip
    def test_the_smallest_counts(
        self, tmp_path: Path, environ: dict[str, str], cgroup: str, files: dict[str, str], expected: float
    ) -> None:
        assert limits.memory_here(environ, machine(tmp_path, cgroup, files), physical=64 * GIB) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,3"}, ("0", "3")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937, GPU-46f1a2"}, ("GPU-8932f937", "GPU-46f1a2")),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2"}, ("0",)),
        ({"ROCR_VISIBLE_DEVICES": "1,2"}, ("1", "2")),
        ({"SLURM_JOB_GPUS": "2,3", "SLURM_GPUS_ON_NODE": "2"}, ("2", "3")),
        ({"SLURM_STEP_GPUS": "3", "SLURM_JOB_GPUS": "2,3"}, ("3",)),
        ({"SLURM_GPUS_ON_NODE": "2"}, ("0", "1")),
    ],
)
def test_gpus(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    assert limits.gpus_here(environ) == expected


class TestTheEndOfTheBatchJob:
    def test_slurm_says_it(self, tmp_path: Path) -> None:
        assert limits.batch_end({"SLURM_JOB_END_TIME": "1800000000"}, machine(tmp_path)) == 1_800_000_000

    def test_pbs_says_how_long_and_the_job_began_with_its_shell(self, tmp_path: Path) -> None:
        ticks = 500 * os.sysconf("SC_CLK_TCK")
        stat = f"{os.getsid(0)} (a (b) c) S " + " ".join(["0"] * 18) + f" {ticks} 0 0\n"
        files = {f"proc/{os.getsid(0)}/stat": stat, "proc/stat": "cpu 1 2\nbtime 1700000000\n"}
        root = machine(tmp_path, files=files)
        assert limits.batch_end({"PBS_WALLTIME": "3600"}, root) == 1_700_000_000 + 500 + 3600

    def test_outside_of_a_job_there_is_none(self, tmp_path: Path) -> None:
        assert limits.batch_end({}, machine(tmp_path)) is None
        assert limits.batch_end({"PBS_WALLTIME": "01:00"}, machine(tmp_path)) is None
        assert limits.batch_end({"PBS_WALLTIME": "3600"}, machine(tmp_path)) is None
