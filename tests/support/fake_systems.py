"""Pretended batch systems: the commands of Slurm, GridEngine, PBS, HTCondor or DIRAC as programs in a folder.

    with FakeSystem(tmp_path / "pbs", "pbs") as fake:
        monkeypatch.setenv("PATH", fake.path())
        ...                                              # qsub makes jobs, which wait
        fake.set("1.pbs", job_state="R")                 # what the system says of a job, in its own words
        fake.end("1.pbs", job_state="F", Exit_status=3)  # it has ended
        fake.forget("1.pbs")                             # the queue does not know it any more, the accounts do
        fake.forget("1.pbs", accounts=True)              # nobody does
        fake.tell(qstat="fail")                          # and back: fake.tell(qstat="")
        fake.calls("qstat")                              # the words of each call so far; fake.environments("qsub")

What a command can be told, and stays told:

    fail     its server cannot be reached; nothing is done
    hang     it does not end; nothing is done
    limit    it refuses (to submit)
    lost     it does what it is asked, and does not end
    broken   it does what it is asked, and then loses its server
    garbage  it does what it is asked, and prints something else, with exit code 0
    partial  it does what it is asked, and what it prints is cut off at ``cut``, with exit code 0
    empty    it does what it is asked, and prints nothing, with exit code 0

With ``runs`` jobs really run, as processes. ``others`` are jobs that are in the queue besides. The words of each system
are in `support.dialects`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from support.dialects.base import Dialect, FakeJob
from support.fake_programs import Call, FakePrograms, Reply

__all__ = ["SYSTEMS", "FakeSystem"]

SYSTEMS = ("slurm", "gridengine", "pbs", "htcondor", "dirac")
_NOT_DONE = ("fail", "hang", "limit")
_GARBAGE = "<html>\x00\x1b[31m502 Bad Gateway\n"


class FakeSystem(FakePrograms):
    """The programs in a folder, and what is behind them."""

    def __init__(self, folder: Path, system: str, *, runs: bool = False) -> None:
        self.words: Dialect = import_module(f"support.dialects.{system}").DIALECT()
        self.next_id = 1
        self.cut = 0.4
        self.others: list[FakeJob] = []
        self._jobs: dict[str, FakeJob] = {}
        self._told: dict[str, str] = {}
        self._runs = runs
        super().__init__(folder, (self.words.submits, *self.words.asks, self.words.cancels))

    def close(self) -> None:
        """End jobs that run, and answer no more."""
        super().close()
        for job in self._jobs.values():
            job.kill()

    def tell(self, **told: str) -> None:
        """What commands are to do from now on."""
        with self.lock:
            self._told.update(told)

    def add(self, job: FakeJob) -> None:
        """A job more, however it came there."""
        with self.lock:
            self._jobs[job.id] = job

    def set(self, job_id: str, **said: Any) -> None:
        """Change what the system says of a job; one that is not there is made."""
        with self.lock:
            self._job(job_id).said.update(said)

    def end(self, job_id: str, **said: Any) -> None:
        """Have a job end, and say so; the queue shows no job that has, but Slurm's."""
        with self.lock:
            job = self._job(job_id)
            job.over, job.queue = True, self.words.keeps_ended or not self.words.accounts
            job.said.update(said)

    def forget(self, job_id: str, *, accounts: bool = False) -> None:
        """Take a job out of the queue, and out of the accounts as well."""
        self.show(job_id, queue=False, account=not accounts)

    def show(self, job_id: str, *, queue: bool = True, account: bool = True) -> None:
        """Who knows of a job."""
        with self.lock:
            job = self._job(job_id)
            job.queue, job.account = queue, account

    @property
    def jobs(self) -> dict[str, FakeJob]:
        """All jobs there have been, by id, as they are now."""
        with self.lock:
            self._refresh()
            return {job_id: replace(job, said=dict(job.said)) for job_id, job in self._jobs.items()}

    @property
    def alive(self) -> set[str]:
        """The jobs that may still run, whatever is said of them."""
        with self.lock:
            self._refresh()
            return {job_id for job_id, job in self._jobs.items() if not job.over}

    def answer(self, call: Call) -> Reply | None:
        """What a call comes to."""
        self._refresh()
        told = self._told.get(call.name, "")
        done = Reply() if told in _NOT_DONE else self._done(call)
        if told in ("hang", "lost"):
            return None
        said = {"fail": self.words.away, "limit": self.words.refused, "broken": self.words.broken}.get(told)
        if said is not None:
            return Reply(said.out.replace("{name}", call.name), said.err.replace("{name}", call.name), said.code)
        written = {"garbage": _GARBAGE, "partial": done.out[: int(len(done.out) * self.cut)], "empty": ""}
        return Reply(written[told]) if told else done

    def _done(self, call: Call) -> Reply:
        if call.name != self.words.submits:
            others = {f"other {number}": job for number, job in enumerate(self.others)}
            return self.words.answer({**self._jobs, **others}, call)
        try:
            made = self._made(call)
        except ValueError as error:
            return Reply(err=f"{call.name}: {error}\n", code=1)
        for job in made:
            self._jobs[job.id] = job
            if self._runs:
                job.said.update({**self.words.running, **self.words.on("fake1")})
                self.words.start(job, call, self.folder)
        return Reply(self.words.submitted(made))

    def _made(self, call: Call) -> list[FakeJob]:
        """What a call submits, under the next number that no job has which may still run."""
        while True:
            made = self.words.made(self.next_id, call)
            self.next_id += 1
            if all(self._jobs[job.id].over for job in made if job.id in self._jobs):
                return made

    def _job(self, job_id: str) -> FakeJob:
        return self._jobs.setdefault(job_id, self.words.job(job_id))

    def _refresh(self) -> None:
        """Jobs that really run and have ended since."""
        for job in self._jobs.values():
            code = job.exit_code()
            if code is not None and not job.over:
                self.end(job.id, **self.words.ended(code))
