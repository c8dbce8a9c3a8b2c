from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from picas.schedulers import commands
from picas.schedulers.base import SchedulerAway
from support.pilots import until

PYTHON = (sys.executable, "-SE", "-c")


def test_input_output_and_exit_code() -> None:
    answer = commands.run([*PYTHON, "import sys; print(sys.stdin.read()[::-1]); sys.exit('no')"], stdin="abc")
    assert (answer.code, answer.out, answer.complaint) == (1, "cba\n", "no")


def test_a_signal_is_a_negative_exit_code() -> None:
    assert commands.run(["sh", "-c", "kill -9 $$"]).code == -9


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(SchedulerAway, match="sh did not answer within 1 s: not now"):
        commands.run(["sh", "-c", f"echo not now >&2; sleep 60 & echo $! > {mark}; sleep 60"], timeout=1.0)
    assert time.monotonic() - started < 30
    until("its child has ended", lambda: _is_over(int(mark.read_text())))


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_a_command_leaves_behind_does_not_hold_its_answer_up_for_ever() -> None:
    with pytest.raises(SchedulerAway, match="did not answer"):
        commands.run(["sh", "-c", "echo 1; sleep 60 &"], timeout=0.3)


def test_too_much_output_is_not_taken() -> None:
    with pytest.raises(SchedulerAway, match="sh printed more than 100000 bytes"):
        commands.run(["sh", "-c", "yes"], most=100_000)


def test_output_that_is_no_text() -> None:
    assert commands.run([*PYTHON, r"import sys; sys.stdout.buffer.write(b'a\xff\n')"]).out == "a\ufffd\n"


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(commands.NoCommand, match="no-such-sbatch is not on this machine"):
        commands.run(["no-such-sbatch"])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SchedulerAway, match=r"could not be started: No such file or directory: .*nowhere"):
        commands.run(["sh", "-c", ":"], folder=tmp_path / "nowhere")


def test_nothing_secret_and_nothing_of_another_job_is_handed_on() -> None:
    found = commands.environment(
        {
            "HOME": "/home/me",
            "LC_ALL": "nl_NL.UTF-8",
            "PICAS_POOL": "couchdb://me:hush@h/db",
            "PICAS_PASSWORD": "hush",
            "PGPASSWORD": "hush",
            "MY_SECRET_KEY": "hush",
            "db_password": "hush",
            "SLURM_CONF": "/etc/slurm.conf",
            "SLURM_JOB_ID": "1",
            "SLURM_MEM_PER_NODE": "100",
            "SBATCH_PARTITION": "long",
            "SQUEUE_FORMAT": "%i",
        }
    )
    assert found == {
        "HOME": "/home/me", "LC_ALL": "C", "PICAS_POOL": "couchdb://h/db", "SLURM_CONF": "/etc/slurm.conf",
    }  # fmt: skip


def test_a_job_keeps_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert commands.run(["sh", "-c", "echo $LC_ALL"]).out == "C\n"
    assert commands.run(["sh", "-c", "echo $LC_ALL"], for_job=True).out == "C.UTF-8\n"


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        commands.run(["true"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
