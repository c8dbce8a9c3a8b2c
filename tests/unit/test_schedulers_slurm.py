"""Slurm's back end, by the checks that all have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.schedulers.base import JobSpec, JobState
from picas.schedulers.slurm import Slurm
from support.fake_slurm import FakeSlurm
from support.scheduler_suite import Clock, Rig, SchedulerSuite


class TestOnAFake(SchedulerSuite):
    @pytest.fixture
    def rig(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        fake, clock = FakeSlurm(tmp_path / "slurm"), Clock()
        monkeypatch.setenv("PATH", fake.path())
        yield Rig(
            scheduler=Slurm(clock=clock, timeout=30.0),
            fake=fake,
            clock=clock,
            spec=JobSpec(name="picas-a-1", argv=["true"], folder=tmp_path, cores=2, time=3600.0),
            submit="sbatch",
            queue="squeue",
            accounts="sacct",
            cancel="scancel",
            states=[
                ({"state": "PENDING"}, JobState.PENDING),
                ({"state": "RUNNING"}, JobState.RUNNING),
                ({"state": "SUSPENDED"}, JobState.RUNNING),
                ({"state": "COMPLETING"}, JobState.ENDING),
                ({"state": "PENDING", "reason": "JobHeldUser"}, JobState.HELD),
            ],
            ends=[
                ({"state": "COMPLETED", "code": "0:0"}, JobState.DONE, 0),
                ({"state": "FAILED", "code": "3:0"}, JobState.FAILED, 3),
                ({"state": "CANCELLED by 1000", "code": "0:15"}, JobState.CANCELLED, -15),
                ({"state": "TIMEOUT", "code": "0:0"}, JobState.TIMEOUT, 0),
                ({"state": "OUT_OF_MEMORY", "code": "0:125"}, JobState.MEMORY, -125),
                ({"state": "NODE_FAIL", "code": "0:0"}, JobState.NODE, 0),
                ({"state": "PREEMPTED", "code": "0:15"}, JobState.PREEMPTED, -15),
            ],
            unknown={"state": "MELTED"},
            quoted="'MELTED'",
            strangers=("", "-u", "1;2", "1 2", "all", "1\n", "../1", "١"),
        )
        fake.close()
