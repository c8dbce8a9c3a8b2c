from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from picas.errors import UsageError
from picas.schedulers import local as module
from picas.schedulers.base import JobSpec, JobState, SchedulerAway
from picas.schedulers.local import Local
from support.pilots import until


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "state")
    yield made
    for place in (tmp_path / "state").glob("*/*/stat"):
        words = place.read_text().split()
        job = place.parent.name
        if made.status([job])[job].state is JobState.RUNNING:
            os.killpg(int(words[0]), signal.SIGKILL)
        until("it has ended", lambda job=job: made.status([job])[job].state.is_final)


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return JobSpec(name="picas-a-1", argv=["true"], folder=tmp_path)


def shell(spec: JobSpec, text: str) -> JobSpec:
    return replace(spec, argv=["sh", "-c", text])


def ended(local: Local, job: str) -> JobState:
    return until("it has ended", lambda: (found := local.status([job])[job].state).is_final and found)


@pytest.mark.parametrize(
    ("text", "state", "code"),
    [("exit 0", JobState.DONE, 0), ("exit 3", JobState.FAILED, 3), ("kill -9 $$", JobState.FAILED, -9)],
)
def test_how_jobs_end(local: Local, spec: JobSpec, text: str, state: JobState, code: int) -> None:
    job = local.submit(shell(spec, text))
    assert ended(local, job) is state
    assert local.status([job])[job].exit_code == code
    assert local.status([job])[job].name == "picas-a-1"


def test_a_job_has_its_folder_its_variables_and_a_file_for_its_output(
    local: Local, spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICAS_PASSWORD", "hush")
    asked = replace(shell(spec, 'pwd; echo "$A"; env'), environment={"A": "b 'c'"}, output=tmp_path / "out")
    job = local.submit(asked)
    assert ended(local, job) is JobState.DONE
    text = (tmp_path / "out" / f"picas-a-1-{job}.out").read_text()
    assert text.startswith(f"{tmp_path}\nb 'c'\n")
    assert "hush" not in text


def test_a_job_that_is_told_to_end(local: Local, spec: JobSpec, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    # As a pilot: it takes its time, and ends with 0.
    job = local.submit(shell(spec, f"trap 'sleep 0.3; exit 0' TERM; touch {mark}; while :; do sleep 0.05; done"))
    until("it runs", mark.exists)
    assert local.status([job])[job].state is JobState.RUNNING
    assert [found.id for found in local.find("picas-a")] == [job]
    assert local.find("picas-b") == []
    local.cancel([job])
    assert local.status([job])[job].state is JobState.ENDING
    assert ended(local, job) is JobState.CANCELLED
    assert local.status([job])[job].exit_code == 0
    assert local.find("picas-a") == []
    local.cancel([job])


def test_a_job_that_is_told_to_end_before_it_has_begun_does_not_begin(
    local: Local, spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal finds the shell alone, which takes no notice of it."""
    began = module._start

    def told_first(place: Path, output: Path) -> None:
        (place / "cancelled").touch()
        began(place, output)

    monkeypatch.setattr(module, "_start", told_first)
    job = local.submit(shell(spec, f"touch {tmp_path}/ran; exec sleep 60"))
    assert ended(local, job) is JobState.CANCELLED
    assert not (tmp_path / "ran").exists()


def test_a_job_that_is_told_to_end_as_soon_as_it_is_submitted_ends(local: Local, spec: JobSpec) -> None:
    """Wherever its shell is by then."""
    jobs = []
    for _ in range(20):
        jobs.append(local.submit(shell(spec, "exec sleep 600")))
        local.cancel(jobs[-1:])
    assert {ended(local, job) for job in jobs} == {JobState.CANCELLED}


def test_a_job_that_was_killed_with_its_shell_is_gone(local: Local, spec: JobSpec, tmp_path: Path) -> None:
    job = local.submit(shell(spec, "sleep 60"))
    stat = tmp_path / "state" / socket.gethostname() / job / "stat"
    until("it runs", stat.exists)
    os.killpg(int(stat.read_text().split()[0]), signal.SIGKILL)
    assert ended(local, job) is JobState.GONE


def test_a_number_that_is_used_again_is_not_the_job(local: Local, spec: JobSpec, tmp_path: Path) -> None:
    job = local.submit(shell(spec, "exit 0"))
    ended(local, job)
    place = tmp_path / "state" / socket.gethostname() / job
    (place / "exit").unlink()
    other = Path(f"/proc/{os.getpid()}/stat").read_text()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    words = other.split()
    (place / "stat").write_text(other + boot)
    assert local.status([job])[job].state is JobState.RUNNING, "the very process"
    words[-31] = str(int(words[-31]) + 1)
    (place / "stat").write_text(" ".join(words) + "\n" + boot)
    assert local.status([job])[job].state is JobState.GONE, "began at another time"
    (place / "stat").write_text(other + "another-boot\n")
    assert local.status([job])[job].state is JobState.GONE, "another boot"


def test_a_job_that_nobody_has_a_record_of_is_gone_and_one_of_another_machine_is_not(
    local: Local, tmp_path: Path
) -> None:
    assert local.status(["0123456789ab"])["0123456789ab"].state is JobState.GONE
    (tmp_path / "state" / "elsewhere" / "0123456789ab").mkdir(parents=True)
    assert local.status(["0123456789ab"]) == {}
    with pytest.raises(UsageError):
        local.status(["../../etc"])


def test_a_new_job_waits_and_one_that_never_began_is_gone(local: Local, tmp_path: Path) -> None:
    place = tmp_path / "state" / socket.gethostname() / "0123456789ab"
    place.mkdir(parents=True)
    (place / "job.json").write_text(json.dumps({"name": "x"}))
    assert local.status([place.name])[place.name].state is JobState.PENDING
    os.utime(place, (1, 1))
    assert local.status([place.name])[place.name].state is JobState.GONE


def test_what_is_left_of_old_jobs_goes(local: Local, spec: JobSpec, tmp_path: Path) -> None:
    old = local.submit(spec)
    ended(local, old)
    os.utime(tmp_path / "state" / socket.gethostname() / old, (1, 1))
    new = local.submit(spec)
    ended(local, new)
    assert [place.name for place in (tmp_path / "state").glob("*/*")] == [new]


def test_native_options_and_folders_that_cannot_be(local: Local, spec: JobSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have no options of their own: '--x'"):
        local.submit(replace(spec, native=["--x"]))
    (tmp_path / "file").touch()
    with pytest.raises(SchedulerAway, match="could not be started"):
        local.submit(replace(spec, output=tmp_path / "file" / "x"))
    assert list((tmp_path / "state").glob("*/*")) == []
