"""Running other programs from a benchmark: always with a time-out, and ended with all of their group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Failed", "Finished", "last_line", "own_environment", "run", "signal_group"]


class Failed(Exception):
    """A program could not be started, ran out of time or exited non-zero; says so in one line."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a program wrote on its standard output, and how many seconds it took from start to end."""

    output: str
    seconds: float


def own_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user: what keeps Python from caching bytecode is out, and so are picas settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("PICAS_")
    }
    return kept | dict(extra or {})


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
    keep_output: bool = True,
) -> Finished:
    """Run a program to its end in ``folder``; Failed with the last thing it said when that is not exit 0.

    Its streams are files in the folder, so that no reader of ours takes part in what is measured.
    """
    out_path, err_path = folder / "program.out", folder / "program.err"
    with out_path.open("wb") as out, err_path.open("wb") as err:
        start = time.monotonic()
        try:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=own_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=out if keep_output else subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )
        except OSError as problem:
            raise Failed(str(problem)) from problem
        code = _wait(process, timeout)
        seconds = time.monotonic() - start
    if code != 0:
        raise Failed(f"exit {code}: {last_line(err_path) or last_line(out_path) or 'it said nothing'}")
    return Finished(output=out_path.read_text(errors="replace"), seconds=seconds)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Wait for a program, and end its group in any case: what it left behind would slow the next one."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        raise Failed(f"not finished after {timeout:.0f} s") from None
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a program that leads a group of its own, and all of that group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def last_line(path: Path) -> str:
    """The last thing that a program wrote into a file."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else ""
