"""The command line, run as a user would: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Cli:
    """``picas`` in a folder; the pool is ``picas.db`` there, unless variables name another."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICAS_", "SLURM_", "PBS_"))}
        self.environ = {**kept, "PICAS_SPOOL": str(folder / "spool"), "HOME": str(folder), **environ}

    def __call__(self, *words: str, stdin: str | bytes = "", timeout: float = 60, **environ: str) -> Answer:
        """Run one command to its end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.argv(words),
            input=given,
            capture_output=True,
            cwd=self.folder,
            env={**self.environ, **environ},
            timeout=timeout,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def ok(self, *words: str, stdin: str | bytes = "", **environ: str) -> Answer:
        """Run one command that must succeed."""
        answer = self(*words, stdin=stdin, **environ)
        assert answer.code == 0, answer
        return answer

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command as its process gets it."""
        return [sys.executable, "-m", "picas", *words]
