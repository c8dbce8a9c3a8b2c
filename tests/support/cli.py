"""The command line, run as a user would: in a process of its own, in a folder of its own."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from picas.cli.main import main
from picas.lifecycle import Doc
from picas.pool import Selection, connect


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

    def inside(self, *words: str) -> Answer:
        """The same within this process, which need not start: for commands that have no children, and end none."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, _log_kept(), redirect_stdout(out), redirect_stderr(err):
            patched.chdir(self.folder)
            patched.setattr(os, "environ", dict(self.environ))
            code = main(words)
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Answer(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, stdin: str | bytes = "", **environ: str) -> Answer:
        """Run one command that must succeed."""
        answer = self(*words, stdin=stdin, **environ)
        assert answer.code == 0, answer
        return answer

    def docs(self) -> list[Doc]:
        """All tokens of the pool in ``picas.db``, without a process that takes time from others while it starts."""
        with connect(str(self.folder / "picas.db")) as pool:
            return list(pool.select(Selection(everything=True)))

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command as its process gets it."""
        return [sys.executable, "-m", "picas", *words]


@contextmanager
def _log_kept() -> Iterator[None]:
    """Have the log afterwards as it was before: a program sets up its own, and other tests look at it."""
    log = logging.getLogger("picas")
    handlers, propagate, level = log.handlers[:], log.propagate, log.level
    try:
        yield
    finally:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)
