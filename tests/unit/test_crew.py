"""A pilot's runners: they are none of its program's children, and what dies with one of them is not lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import subprocess, sys
from picas.command import CommandActor, RunOptions
from picas.pool import connect

mine = subprocess.Popen(["sleep", "60"])
with connect(sys.argv[1], create=True) as pool:
    pool.add([{"command": "setsid sleep 60 & exit 0"}])
    report = CommandActor(pool, RunOptions(cores=1)).run()
print(report.done, mine.poll())
mine.kill()
"""


VANISHES = """
import os, signal, sys
from picas.command import CommandActor, RunOptions
from picas.pilot import crew as crews
from picas.pilot.crew import Crew
from picas.pool import connect

send, taken = Crew.send, []

def send_and_take(crew, job):
    if not taken:
        # As a runner does that is killed right after it took the job.
        first, second = crew.pids
        os.kill(second, signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        send(crew, job)
        taken.append(crew._far_end.recv(1 << 20))
        os.kill(second, signal.SIGCONT)
        return True
    return send(crew, job)

Crew.send = send_and_take
crews._CERTAIN = 0.5
with connect(sys.argv[1], create=True) as pool:
    pool.add([{"_id": "taken", "command": "true"}])
    pool.add([{"command": "true"}] * 20)
    report = CommandActor(pool, RunOptions(cores=2)).run()
    token = pool.get("taken")
print(report.done, token["scrub_count"], len(token["attempts"]))
"""


def test_a_job_that_died_with_its_runner_before_it_was_noted_goes_back(tmp_path: Path) -> None:
    """F6: it is in no queue and in no journal. It runs again, at no cost, and the pilot comes to its end."""
    run = subprocess.run(
        [sys.executable, "-c", VANISHES, str(tmp_path / "p.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.split() == ["21", "0", "1"], run.stderr


def test_a_pilot_leaves_the_children_of_its_program_alone(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "p.db")], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.split() == ["1", "None"], run.stderr
