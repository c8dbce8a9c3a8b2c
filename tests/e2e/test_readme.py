"""The commands of the README, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from support.cli import Cli

README = Path(__file__).parents[2] / "README.md"


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "picas").write_text(f'#!/bin/sh\nexec {sys.executable} -m picas "$@"\n')
    (folder / "picas").chmod(0o755)
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert len(commands) >= 12
    environ = {**cli.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    printed = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        printed += done.stdout + done.stderr
    assert "999 done, 1 failed" in printed
    assert json.loads(cli.ok("status", "-o", "json").out)["counts"]["done"] == 999 + 6
