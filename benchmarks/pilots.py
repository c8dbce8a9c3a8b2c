"""Pilot processes that start together: all wait at a gate, are let go at once, and report when they settled last.

What they ran is not asked of the database: each notes it in a diary, a file of its own with a line per token.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from programs import Failed, last_line, own_environment, signal_group

__all__ = ["Work", "work"]

_START_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What pilots did: seconds from their release to the last settlement, lines in their diaries, pilots that died.

    ``twice`` is how many of the lines name a token that had been run before. ``remark`` is the last word of a pilot
    that died.
    """

    seconds: float
    runs: int
    twice: int
    lost: int
    remark: str


def work(argv: Sequence[str], told: Sequence[Mapping[str, Any]], *, folder: Path, timeout: float) -> Work:
    """Start a process for each of what pilots are told, and let them work until the last one ends.

    Failed when they do not start, or settle nothing. Those that have not ended after ``timeout`` seconds are killed,
    and count as lost.
    """
    with _Crew(argv, told, folder) as crew:
        crew.gather()
        released_at = crew.release()
        settled_at = crew.finish(released_at + timeout)
        lost = crew.dead()
    remark = last_line(crew.log(lost[0])) if lost else ""
    if not any(settled_at):
        raise Failed(remark or "nothing was settled")
    ids = [line for number in range(len(told)) for line in crew.diary(number).read_text().splitlines()]
    return Work(
        seconds=max(settled_at) - released_at,
        runs=len(ids),
        twice=len(ids) - len(set(ids)),
        lost=len(lost),
        remark=remark,
    )


class _Crew:
    """The processes, and the two pipes they share: the gate, of which each reads a byte, and their reports."""

    def __init__(self, argv: Sequence[str], told: Sequence[Mapping[str, Any]], folder: Path) -> None:
        self._argv = argv
        self._told = told
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._left = b""

    def __enter__(self) -> _Crew:
        gate, self._gate = os.pipe()
        self._reports, report = os.pipe()
        try:
            for number, told in enumerate(self._told):
                with self.log(number).open("wb") as log:
                    self._processes.append(self._started(log, gate, report))
                about = {"pilot": number, "gate": gate, "report": report, "diary": str(self.diary(number))}
                _tell(self._processes[-1], {**told, **about})
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(gate)
            os.close(report)
        return self

    def __exit__(self, *_: object) -> None:
        """End those that are still there."""
        os.close(self._gate)
        for process in self._processes:
            signal_group(process, signal.SIGKILL)
            process.wait()
        os.close(self._reports)

    def diary(self, number: int) -> Path:
        """Where a pilot notes what it ran."""
        return self._folder / f"diary-{number}"

    def log(self, number: int) -> Path:
        """Where a pilot's output goes."""
        return self._folder / f"log-{number}"

    def gather(self) -> None:
        """Wait until all are at the gate. Failed when one ends before, or it takes too long."""
        ready = 0
        deadline = time.monotonic() + _START_SECONDS
        while ready < len(self._processes):
            ready += len(self._heard(1.0) or ())
            for number, process in enumerate(self._processes):
                if process.poll() is not None:
                    raise Failed(f"a pilot does not start: {last_line(self.log(number)) or 'it said nothing'}")
            if time.monotonic() > deadline:
                raise Failed(f"only {ready} of {len(self._processes)} pilots started in {_START_SECONDS:.0f} s")

    def release(self) -> float:
        """Let all go; when that was."""
        now = time.monotonic()
        os.write(self._gate, b"." * len(self._processes))
        return now

    def finish(self, deadline: float) -> list[float]:
        """Wait until all have ended, or the time is over; when each that reported settled last, 0 for never."""
        settled_at: list[float] = []
        while (left := deadline - time.monotonic()) > 0:
            reports = self._heard(left)
            if reports is None:
                break
            settled_at += [report["settled_at"] for report in reports]
        return settled_at

    def dead(self) -> list[int]:
        """The pilots that did not end as they should."""
        return [number for number, process in enumerate(self._processes) if _exit_code(process) != 0]

    def _started(self, log: IO[bytes], gate: int, report: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            cwd=self._folder,
            env=own_environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(gate, report),
            start_new_session=True,
        )

    def _heard(self, seconds: float) -> list[dict[str, Any]] | None:
        """What pilots report within so many seconds; None when all have ended."""
        if not select.select([self._reports], [], [], seconds)[0]:
            return []
        data = os.read(self._reports, 65536)
        *lines, self._left = (self._left + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """None when it goes on; one that has closed its pipes is about to end."""
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        return None


def _tell(process: subprocess.Popen[bytes], told: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead already, which is seen at the gate
        process.stdin.write(json.dumps(told).encode() + b"\n")
        process.stdin.close()
