"""F85: an autopilot killed at any point around a submission: the next one finds its job by name. No unknown pilots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Cli
from support.fake_slurm import FakeSlurm

CONFIG = """
[site.cluster]
system = "slurm"
max = 3

[site.cluster.kind.k]
max = 3
"""

POINTS = {
    "before it is written down": ("picas.autopilot.journal:Journal.write", "before", 1),
    "written down, not submitted": ("picas.schedulers.slurm:Slurm.submit", "before", 1),
    "submitted, not written down": ("picas.schedulers.slurm:Slurm.submit", "after", 1),
    "before the id is written down": ("picas.autopilot.journal:Journal.write", "before", 2),
    "in the middle of writing": ("picas.files:write_new", "before", 2),
    "written, not yet in its place": ("picas.files:write_new", "after", 2),
    "after the id was written down": ("picas.autopilot.journal:Journal.write", "after", 2),
    "the second job submitted": ("picas.schedulers.slurm:Slurm.submit", "after", 2),
    "the third job submitted": ("picas.schedulers.slurm:Slurm.submit", "after", 3),
    "all done": ("picas.autopilot.site:SiteAutopilot.announce", "after", 2),
}

KILLED = """
import importlib, os, signal, sys
where, when, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
module, path = where.split(":")
owner = importlib.import_module(module)
*outer, name = path.split(".")
for part in outer:
    owner = getattr(owner, part)
real, calls = getattr(owner, name), 0
def patched(*args, **named):
    global calls
    calls += 1
    if calls == nth and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = real(*args, **named)
    if calls == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
setattr(owner, name, patched)
import picas.files
picas.files.replace.__globals__["write_new"] = picas.files.write_new
from picas.cli.main import main
sys.exit(main(["autopilot", "run", "auto.toml", "--once"]))
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSlurm]:
    made = FakeSlurm(tmp_path / "slurm")
    yield made
    made.close()


@pytest.fixture
def picas(tmp_path: Path, fake: FakeSlurm) -> Cli:
    (tmp_path / "auto.toml").write_text(CONFIG)
    made = Cli(tmp_path, XDG_STATE_HOME=str(tmp_path / "state"), PATH=fake.path())
    made.ok("init")
    made.ok("add", "--range", "1-20", "--", "true")
    return made


def _journal(picas: Cli) -> Path:
    return next((picas.folder / "state" / "picas" / "autopilot").glob("*.json"))


def _half_a_minute_later(picas: Cli) -> None:
    path = next((picas.folder / "state" / "picas" / "autopilot").glob("*.json"), None)
    if path is not None:
        values = json.loads(path.read_text())
        values["tried_at"] = values["looked_at"] = values["tried_at"] - 31
        path.write_text(json.dumps(values))


@pytest.mark.parametrize("point", POINTS)
def test_its_jobs_are_found_again_and_none_is_made_twice(picas: Cli, fake: FakeSlurm, point: str) -> None:
    where, when, nth = POINTS[point]
    argv = [sys.executable, "-c", KILLED, where, when, str(nth)]
    killed = subprocess.run(argv, cwd=picas.folder, env=picas.environ, capture_output=True, timeout=60)
    assert killed.returncode == -9, killed.stderr.decode()

    # A pilot of such a job that starts at once is one of ours all the same.
    before = set(fake.jobs)
    for _ in range(2):
        _half_a_minute_later(picas)
        answer = picas("autopilot", "run", "auto.toml", "--once")
        assert answer.code == 0, answer
    entries = json.loads(_journal(picas).read_text())["jobs"].values()
    jobs = fake.jobs
    assert before <= set(jobs)
    # Each job is in the journal with its id, and there are no more than max, those in doubt among them.
    assert {job["name"] for job in jobs.values()} == {entry["name"] for entry in entries if entry["id"]}
    assert set(jobs) == {entry["id"] for entry in entries if entry["id"]}
    assert len(jobs) <= 3
    assert len(entries) == 3
    assert _journal(picas).stat().st_mode & 0o777 == 0o600


def test_without_its_journal_it_finds_all_its_jobs_by_their_names(picas: Cli, fake: FakeSlurm) -> None:
    picas.ok("autopilot", "run", "auto.toml", "--once")
    assert len(fake.jobs) == 3
    _journal(picas).unlink()
    answer = picas.ok("autopilot", "run", "auto.toml", "--once")
    assert len(fake.jobs) == 3
    assert answer.err.count("adopted job") == 3


def test_an_answer_that_was_lost_is_no_second_job(picas: Cli, fake: FakeSlurm) -> None:
    fake.tell(sbatch="garbage")
    answer = picas("autopilot", "run", "auto.toml", "--once")
    assert answer.code == 9
    assert "it is not known whether job" in answer.err
    assert len(fake.jobs) == 1
    fake.tell(sbatch="")
    _half_a_minute_later(picas)
    picas.ok("autopilot", "run", "auto.toml", "--once")
    assert len(fake.jobs) == 3
    assert len(fake.calls("sbatch")) == 3


def test_two_do_not_act_for_one_site_on_one_machine(picas: Cli, fake: FakeSlurm) -> None:
    argv = picas.argv(["autopilot", "run", "auto.toml"])
    first = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, stderr=subprocess.PIPE)
    assert first.stderr is not None
    first.stderr.readline()
    try:
        second = picas("autopilot", "run", "auto.toml", "--once")
        assert second.code == 5
        assert "another autopilot acts for this site" in second.err
        # To look is not to act.
        picas.ok("autopilot", "plan", "auto.toml")
    finally:
        first.terminate()
        assert first.wait(10) == 0
        first.stderr.close()
    assert len(fake.jobs) <= 3
