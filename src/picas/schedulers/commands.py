"""The commands of a batch system: run without a shell, within a time and a size, and with nothing secret about them.

What they find in their environment is what the job may find in its own, for some hand it on: no password, and nothing
of the batch job that we may be in ourselves, whose options would win over those of the script.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from picas.config import without_secrets
from picas.schedulers.base import SchedulerAway

__all__ = ["MOST_BYTES", "TIMEOUT", "Answer", "NoCommand", "environment", "first_line", "run"]

TIMEOUT = 20.0
"""Seconds; Slurm's own commands give up after 9."""

MOST_BYTES = 64 << 20
"""More than any table of jobs has."""

_FOREIGN = re.compile(r"(SBATCH|SQUEUE|SACCT|SCANCEL|SLURM)_(?!CONF$)")
_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET", re.IGNORECASE)
_LINE_LENGTH = 300
_DYING = 2.0


class NoCommand(SchedulerAway):
    """The command is not on this machine."""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code: minus the number of a signal."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The first line that it complained with."""
        return first_line(self.err) or first_line(self.out) or f"exit code {self.code}"


def run(
    argv: Sequence[str],
    *,
    stdin: str = "",
    timeout: float = TIMEOUT,
    folder: Path | None = None,
    for_job: bool = False,
    most: int = MOST_BYTES,
) -> Answer:
    """Run a command to its end, in ``folder``; its answer, whatever its exit code.

    ``for_job``: a job will have its environment, so that the language stays what it is. Raises `SchedulerAway` when
    the command is not there, takes longer than ``timeout`` or prints more than ``most`` bytes; it is then ended, with
    whatever it has started.
    """
    with tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                argv,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=environment(os.environ, for_job=for_job),
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(argv[0], error) from None
    try:
        out, err = _read(process, argv[0], time.monotonic() + timeout, timeout, most)
    except BaseException:
        _end(process)
        raise
    finally:
        _close(process)
    return Answer(process.returncode, _text(out), _text(err))


def environment(environ: Mapping[str, str], *, for_job: bool = False) -> dict[str, str]:
    """The environment of a command, and of the jobs that some hand it on to."""
    kept = without_secrets(environ)
    kept = {name: value for name, value in kept.items() if not (_FOREIGN.match(name) or _SECRET.search(name))}
    return kept if for_job else {**kept, "LC_ALL": "C"}


def first_line(text: str) -> str:
    """The first line that says something, no longer than a line may be."""
    return next((line.strip()[:_LINE_LENGTH] for line in text.splitlines() if line.strip()), "")


def _read(
    process: subprocess.Popen[bytes], name: str, deadline: float, timeout: float, most: int
) -> tuple[bytearray, bytearray]:
    """Both streams, to their end and that of the process."""
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as streams:
        for stream, buffer in ((process.stdout, out), (process.stderr, err)):
            assert stream is not None
            streams.register(stream, selectors.EVENT_READ, buffer)
        while streams.get_map():
            ready = streams.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _too_long(name, timeout, err)
            for key, _ in ready:
                if chunk := os.read(key.fd, 1 << 16):
                    key.data.extend(chunk)
                else:
                    streams.unregister(key.fileobj)
            if len(out) + len(err) > most:
                raise SchedulerAway(f"{name} printed more than {most} bytes")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_long(name, timeout, err) from None
    return out, err


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's whole session; its leader has not been waited for, so that the number is still its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    # Not for ever: one that hangs in the kernel, on a file system that is away, cannot be killed.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DYING)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _too_long(name: str, timeout: float, err: bytearray) -> SchedulerAway:
    said = first_line(_text(err))
    return SchedulerAway(f"{name} did not answer within {timeout:g} s{f': {said}' if said else ''}")


def _not_started(name: str, error: OSError) -> SchedulerAway:
    if isinstance(error, FileNotFoundError) and error.filename == name:
        hint = "run this where the batch system's commands are, or add their folder to PATH"
        return NoCommand(f"{name} is not on this machine, or not on PATH", hint=hint)
    return SchedulerAway(f"{name} could not be started: {error.strerror}: {error.filename or name}")


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")
