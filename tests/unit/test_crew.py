"""A pilot within a program: what the program has started is none of the pilot's."""

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


def test_a_pilot_leaves_the_children_of_its_program_alone(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "p.db")], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.split() == ["1", "None"], run.stderr
