"""The autopilot with jobs that are processes of this machine: from an empty pool to work and back to nothing."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from support.cli import Cli
from support.daemons import until
from support.fake_systems import FakeSystem

CONFIG = """
[site.here]
system = "local"
interval = "1s"
grace = "5s"

[site.here.kind.small]
where = "tags.size='small'"
cores = 1
max = 2
backlog = 40
idle = "1s"
"""


@pytest.fixture
def picas(tmp_path: Path) -> Cli:
    (tmp_path / "auto.toml").write_text(CONFIG)
    made = Cli(tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
    made.ok("init")
    return made


def _has_pilots(picas: Cli) -> bool:
    return '"state":"alive"' in picas.ok("pilot", "ls", "-o", "jsonl").out.replace(" ", "")


def test_an_empty_pool_submits_nothing_and_tokens_bring_pilots_that_end(picas: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as err:
        running = subprocess.Popen(
            picas.argv(["autopilot", "run", "auto.toml"]), cwd=tmp_path, env=picas.environ, stderr=err
        )
    try:
        until("it has looked", lambda: "no token is ready" in log.read_text(), 60)
        assert "submitted" not in log.read_text()
        rows = picas.ok("pilot", "ls", "-o", "jsonl").out
        assert '"state":"autopilot"' in rows.replace(" ", "")

        lines = "\n".join(str(number) for number in range(100))
        picas.ok("add", "--each-line", "-", "--tag", "size=small", "--", "echo", "{line}", stdin=lines)
        until("jobs are submitted", lambda: "submitted 2" in log.read_text(), 60)
        until("all is done", lambda: all(state_of(doc) is State.DONE for doc in picas.docs()), 60)
        until("no pilot is left", lambda: not _has_pilots(picas), 60)
        until("it has seen that", lambda: log.read_text().count("is done") == 2, 90)
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    said = log.read_text()
    # All of it is to be read there: what, how many, why; a time before each line.
    assert re.search(r"here/small: submitted 2: 100 tokens are ready: ", said)
    assert "max is 2" in said
    assert "jobs and pilots are left as they are" in said
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in said.splitlines())
    assert picas.ok("pilot", "ls", "-o", "id").out == ""


def test_plan_says_what_and_why_and_changes_nothing(picas: Cli, tmp_path: Path) -> None:
    picas.ok("add", "--range", "1-50", "--tag", "size=small", "--", "true")
    before = sorted(path for path in tmp_path.rglob("*") if "picas.db" not in path.name)
    # Its view is made when it first runs; until then there is nothing in it.
    answer = picas("autopilot", "plan", "auto.toml")
    assert answer.code == 0, answer
    assert "here/small: submit 2: 50 tokens are ready, one pilot for each 40\n" in answer.out
    assert "here/small: there are no pilots, at most 2\n" in answer.out
    assert sorted(path for path in tmp_path.rglob("*") if "picas.db" not in path.name) == before
    assert "small" not in picas.ok("view", "ls").out
    assert picas.ok("pilot", "ls", "-o", "id").out == ""


def test_once_is_for_cron_and_says_how_it_went_by_its_exit_code(picas: Cli, tmp_path: Path) -> None:
    picas.ok("autopilot", "run", "auto.toml", "--once")
    (tmp_path / "auto.toml").write_text(CONFIG.replace("local", "slurm").replace("site.here", "site.there"))
    answer = picas("autopilot", "run", "auto.toml", "--once", PATH="/nowhere")
    assert answer.code == 9
    assert "slurm cannot be asked" in answer.err
    assert picas("autopilot", "run", "missing.toml").code == 3
    (tmp_path / "auto.toml").write_text(CONFIG.replace("backlog", "backlgo"))
    answer = picas("autopilot", "run", "auto.toml")
    assert answer.code == 3
    assert answer.err == (
        "picas: auto.toml:11: site.here.kind.small.backlgo: is no known key\nhint: did you mean backlog?\n"
    )
    (tmp_path / "auto.toml").write_text('pool = "elsewhere.db"\n' + CONFIG)
    assert picas("autopilot", "run", "auto.toml", "--once").code in (3, 4)


def test_a_pause_of_the_pool_is_kept_and_said(picas: Cli) -> None:
    picas.ok("add", "--range", "1-5", "--tag", "size=small", "--", "true")
    picas.ok("pool", "pause", "--why", "maintenance")
    answer = picas.ok("autopilot", "run", "auto.toml", "--once")
    assert "the pool is paused" in answer.err
    assert "maintenance" in answer.err
    assert "submitted 1" not in answer.err


def test_another_view_of_the_same_name_is_left_alone(picas: Cli) -> None:
    picas.ok("view", "add", "small", "--where", "x=1")
    answer = picas("autopilot", "run", "auto.toml", "--once")
    assert answer.code == 2
    assert "there is a view small/todo already" in answer.err


def test_an_autopilot_is_no_pilot_that_could_run_tokens(picas: Cli) -> None:
    picas.ok("autopilot", "run", "auto.toml", "--once")
    picas.ok("add", "--", "true")
    assert "0 pilots are alive" in picas.ok("explain").out
    assert "pilots\t0" in picas.ok("status", "-o", "plain").out
    assert picas("pilot", "stop", "--all").code == 6


@pytest.mark.parametrize("runs", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_the_tutorial_two_kinds_on_one_slurm(picas: Cli, tmp_path: Path, runs: bool) -> None:
    page = (Path(__file__).parents[2] / "docs" / "autopilot.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "auto.toml").write_text(
        re.sub("(?m)^pool = .*$", 'pool = "picas.db"', text).replace("16 GiB", "64 MiB")
    )
    picas.ok("add", "--range", "1-100", "--tag", "width=single", "--", "true")
    picas.ok("add", "--range", "1-30", "--tag", "width=four", "--requires", "cores=4", "--", "true")
    with FakeSystem(tmp_path / "slurm", "slurm", runs=runs) as fake:
        picas.environ["PATH"] = fake.path()
        said = picas.ok("autopilot", "plan", "auto.toml").out
        # As the page has it.
        assert said in page.replace("    spider/", "spider/")
        answer = picas.ok("autopilot", "run", "--once", "auto.toml")
        assert "spider/single: submitted 10: 100 tokens are ready, one pilot for each 10" in answer.err
        assert "spider/four: submitted 5: 30 tokens are ready" in answer.err
        scripts = [job.script for job in fake.jobs.values()]
        assert sum("--cpus-per-task=4" in script and "--view=four/todo" in script for script in scripts) == 5
        assert all("#SBATCH --account=astro\n" in script for script in scripts)
        if runs:
            until("all is done", lambda: all(state_of(doc) is State.DONE for doc in picas.docs()), 150)
        # While they wait, for more work or to begin, another cycle has nothing to do.
        again = picas.ok("autopilot", "run", "--once", "auto.toml")
        assert "no token is ready" in again.err or "all to be taken by the pilots there are or will be" in again.err
        assert len(fake.jobs) == 15
        picas.ok("pilot", "stop", "--all") if runs else None
        until("no pilot is left", lambda: not _has_pilots(picas), 60)
