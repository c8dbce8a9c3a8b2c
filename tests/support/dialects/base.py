"""The contract of pretended batch systems: the words of one, and what there is to know of one of its jobs."""

from __future__ import annotations

import getpass
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from support.fake_programs import Call, Reply

__all__ = ["Call", "Dialect", "FakeJob", "Reply", "Said", "user"]

Said = Mapping[str, Any]


@dataclass(kw_only=True)
class FakeJob:
    """A job: what is true of it, and what is said of it in its system's own words.

    ``over``: it has ended, whatever is said. ``queue`` and ``account`` know of it or not. ``extra`` is in no table.
    """

    id: str
    name: str = ""
    script: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    queue: bool = True
    account: bool = True
    over: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def cancel(self, **said: Any) -> None:
        """End it, as it was asked to: its process, where it has one, gets TERM."""
        self.said.update(said)
        self.over = True
        if self._process is not None:
            self._process.terminate()

    def run(self, argv: Sequence[str], folder: Path, environ: Mapping[str, str], out: Path, err: Path) -> None:
        """Run as a process, in a session of its own."""
        with out.open("ab") as output, err.open("ab") as errors:
            self._process = subprocess.Popen(
                argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                start_new_session=True,
            )  # fmt: skip

    def exit_code(self) -> int | None:
        """How its process has ended, minus a signal's number; None as long as it has not, or where there is none."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End its process, and wait for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Dialect(ABC):
    """What the commands of a batch system are called and print, arranged as the real ones do.

    ``asks`` are the commands that tell of jobs, that for the queue first; ``accounts`` tells of those that have left
    it, and is "" where the queue has all. ``refused`` and ``broken`` are what ``submits`` says of a job that was not
    taken, and of one that was, after which it lost its server; ``away`` is what any command says that cannot reach it.
    """

    submits: str
    asks: tuple[str, ...]
    accounts: str
    cancels: str
    away: Reply
    refused: Reply
    broken: Reply

    reuses_ids = True
    """Whether a number is ever given again."""
    keeps_ended = False
    """Whether the queue shows jobs for a while after their end."""

    waiting: ClassVar[Said]
    held: ClassVar[Said]
    running: ClassVar[Said]
    ends: tuple[Said, ...]
    """What is said of jobs: that one waits (again), is held, runs; how they end, the first time well."""
    unfit: ClassVar[Said]
    """That a job's program ended with exit code 8."""

    @abstractmethod
    def job(self, job_id: str, name: str = "", script: str = "") -> FakeJob:
        """A job that waits."""

    @abstractmethod
    def made(self, number: int, call: Call) -> list[FakeJob]:
        """What is submitted by a call: a job, or those of an array. `ValueError` with what is wrong with it."""

    @abstractmethod
    def submitted(self, jobs: Sequence[FakeJob]) -> str:
        """What is printed of them."""

    @abstractmethod
    def answer(self, jobs: Mapping[str, FakeJob], call: Call) -> Reply:
        """What any other command comes to."""

    @abstractmethod
    def on(self, node: str) -> Said:
        """That a job is on a node, or was."""

    @abstractmethod
    def avoided(self, script: str) -> set[str]:
        """The nodes that a job is to be kept off."""

    @abstractmethod
    def array(self, number: int) -> list[FakeJob]:
        """An array as a queue shows it, some of whose jobs run while others wait; where there are none, jobs."""

    @abstractmethod
    def start(self, job: FakeJob, call: Call, folder: Path) -> None:
        """Run a job as the system would; ``folder`` may be written to."""

    @abstractmethod
    def ended(self, code: int) -> Said:
        """That a job's program ended with an exit code, or minus a signal's number."""


def user() -> str:
    """Whose jobs they are."""
    return getpass.getuser()


def run_script(job: FakeJob, call: Call, folder: Path, output: Path, **environ: str) -> None:
    """Run a job's script with the variables of who submitted it, as batch systems do that hand these on."""
    path = folder / f"{job.id}.sh"
    path.write_text(job.script)
    job.run(["/bin/sh", str(path)], call.folder, {**call.environ, **environ}, output, output)
