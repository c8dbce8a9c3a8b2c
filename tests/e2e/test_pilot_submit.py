"""``picas pilot submit`` and what ``picas pilot ls`` shows of the jobs: on this machine, and on a pretended Slurm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas.lifecycle import State, state_of
from support.cli import Cli
from support.fake_systems import FakeSystem
from support.pilots import until


def rows(picas: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(picas.ok("pilot", "ls", "-o", "json").out)["rows"]
    return found


def state_folder(picas: Cli) -> Path:
    return picas.folder / ".local/state/picas"


@pytest.fixture
def here(picas_here: Cli) -> Cli:
    picas_here.environ.pop("XDG_STATE_HOME", None)
    return picas_here


@pytest.fixture
def fake(here: Cli, tmp_path: Path) -> Iterator[FakeSystem]:
    with FakeSystem(tmp_path / "slurm", "slurm") as made:
        here.environ["PATH"] = made.path()
        yield made


def test_four_jobs_of_this_machine_do_fifty_tokens(here: Cli) -> None:
    """In the folder that they were submitted from; each token knows the job that ran it."""
    lines = "".join(f"{number}\n" for number in range(50))
    here.ok("add", "--each-line", "-", "--", "echo {line} > out-{line}", stdin=lines)
    answer = here.ok("pilot", "submit", "local", "-n", "4", "--time", "1h")
    ids = answer.out.split()
    assert len(set(ids)) == 4
    assert "submitted 4 pilots to local" in answer.err
    until("all are done", lambda: all(state_of(doc) is State.DONE for doc in here.docs()), 60)
    assert sorted(path.name for path in here.folder.glob("out-*")) == sorted(f"out-{n}" for n in range(50))
    assert {doc["picas_job"][:6] for doc in here.docs()} == {"picas-"}
    until("no job is left", lambda: rows(here) == [], 30)
    outputs = list(state_folder(here).glob("jobs/picas-*/*.out"))
    assert len(outputs) == 4
    assert all("pilot ended, no work is left" in output.read_text() for output in outputs)


@pytest.mark.parametrize("system", ["gridengine", "pbs", "htcondor"])
def test_a_job_does_its_work_as_each_system_would_run_it(here: Cli, tmp_path: Path, system: str) -> None:
    """By its script and what that has of variables, or by its description."""
    here.ok("add", "--range", "1-4", "--", "echo {i} > out-{i}")
    with FakeSystem(tmp_path / "programs", system, runs=True) as fake:
        here.environ["PATH"] = fake.path()
        here.ok("pilot", "submit", system, "--time", "1h")
        until("all are done", lambda: all(state_of(doc) is State.DONE for doc in here.docs()), 60)
        until("its job has ended", lambda: not fake.alive, 30)
        ((job, known),) = fake.jobs.items()
        assert known.said.items() >= {**fake.words.ended(0)}.items()
        assert sorted(path.name for path in here.folder.glob("out-*")) == ["out-1", "out-2", "out-3", "out-4"]
        assert {doc["picas_job"] if system != "pbs" else doc["pbs_job_id"] for doc in here.docs()} == {
            known.name if system != "pbs" else job
        }
        assert rows(here) == []


def test_pilots_are_listed_once_and_told_to_end(here: Cli) -> None:
    """A job of this machine has no id that its pilot knows, but a name."""
    here.ok("pilot", "submit", "local", "-n", "2", "--idle", "1h", "--lease", "3s")
    two = until("both pilots are there", lambda: (r := rows(here)) and all(x["state"] == "alive" for x in r) and r, 30)
    assert sorted(row["job"][-2:] for row in two) == ["-1", "-2"]
    here.ok("pilot", "stop", "--all")
    until("both have ended", lambda: rows(here) == [], 60)


def test_a_dry_run_prints_a_script_and_submits_nothing(here: Cli, fake: FakeSystem) -> None:
    answer = here.ok(
        "pilot", "submit", "slurm", "-n", "10", "--cores", "4", "--time", "4h", "--queue", "short", "--dry-run",
        "--view", "Wide/todo", "--offer", "licence=2", "--max-scrub", "1", "--", "--account=proj", "--qos", "low",
    )  # fmt: skip
    lines = answer.out.splitlines()
    assert lines[0] == "#!/bin/sh"
    assert "#SBATCH --partition=short" in lines
    assert "#SBATCH --time=4:00:00" in lines
    assert "#SBATCH --account=proj --qos low" in lines
    assert f"export PICAS_POOL={here.folder / 'picas.db'}" in lines
    assert lines[-1].startswith("exec /")
    assert lines[-1].endswith(
        "-m picas run --cores 4 --max-time 14280s --view=Wide/todo --max-scrub=1 --offer=licence=2"
    )
    assert "nothing was submitted; as this one, 10 would be" in answer.err
    assert fake.calls("sbatch") == []
    assert not state_folder(here).exists()


def test_jobs_are_listed_until_they_have_a_pilot(here: Cli, fake: FakeSystem) -> None:
    ids = here.ok("pilot", "submit", "slurm", "-n", "4").out.split()
    assert ids == ["1", "2", "3", "4"]
    names = {job.name for job in fake.jobs.values()}
    assert len(names) == 4
    fake.set("2", state="RUNNING", node="n7", reason="None")
    fake.set("3", reason="JobHeldUser")
    fake.set("4", state="FAILED", code="127:0")
    listed = {row["job"]: row for row in rows(here)}
    assert {job: row["state"] for job, row in listed.items()} == {
        "1": "pending", "2": "running", "3": "held", "4": "failed",
    }  # fmt: skip
    assert listed["1"]["reason"] == "Priority"
    assert listed["2"]["host"] == "n7"
    assert len(fake.calls("squeue")) == 1
    # One that has ended is not asked about again, and one that ended well is not listed.
    fake.set("1", state="COMPLETED")
    fake.forget("2")
    fake.set("2", state="CANCELLED by 0")
    assert {row["job"]: row["state"] for row in rows(here)} == {"3": "held", "4": "failed"}
    assert fake.calls("squeue")[-1][-1] == "--jobs=1,1,2,3"
    assert here.ok("pilot", "ls", "--no-jobs").out == ""
    assert {row["job"]: row["state"] for row in rows(here)} == {"3": "held", "4": "failed"}
    assert fake.calls("squeue")[-1][-1] == "--jobs=3,3"


def test_a_job_that_nobody_knows_is_gone_in_time_though_each_listing_is_a_program_of_its_own(
    here: Cli, fake: FakeSystem
) -> None:
    here.ok("pilot", "submit", "slurm")
    fake.forget("1", accounts=True)
    assert [row["state"] for row in rows(here)] == ["unknown"]
    journal = state_folder(here) / "jobs.jsonl"
    last = json.loads(journal.read_text().splitlines()[-1])
    assert last["absent"] > 0
    journal.write_text(journal.read_text() + json.dumps({**last, "absent": last["absent"] - 200}) + "\n")
    assert [row["state"] for row in rows(here)] == ["gone"]
    fake.set("1", state="RUNNING")
    fake.show("1")
    assert [row["state"] for row in rows(here)] == ["gone"]


def test_a_batch_system_that_is_away_is_a_line_and_no_failure(here: Cli, fake: FakeSystem) -> None:
    here.ok("pilot", "submit", "slurm")
    fake.tell(squeue="fail")
    answer = here.ok("pilot", "ls")
    assert "unknown" in answer.out
    assert answer.err.startswith("warning: slurm does not say how its jobs are: squeue: ")
    assert answer.err.count("\n") == 1


def test_what_was_refused(here: Cli, fake: FakeSystem) -> None:
    fake.tell(sbatch="limit")
    answer = here("pilot", "submit", "slurm", "-n", "3")
    assert (answer.code, answer.out) == (9, "")
    assert answer.err.endswith("\npicas: sbatch: error: AssocMaxSubmitJobLimit\nhint: nothing was submitted\n")
    assert rows(here) == []


def test_a_controller_that_is_away_or_loses_an_answer(here: Cli, fake: FakeSystem) -> None:
    fake.tell(sbatch="garbage")
    answer = here.ok("pilot", "submit", "slurm")
    assert answer.out == "1\n", "the job is there: it was found by its name"
    fake.tell(sbatch="fail")
    answer = here("pilot", "submit", "slurm")
    assert answer.code == 9
    assert answer.err.endswith("Unable to contact slurm controller (connect failure)\nhint: nothing was submitted\n")
    fake.tell(squeue="fail")
    answer = here("pilot", "submit", "slurm")
    assert "was submitted is not known: look for a job of that name" in answer.err.splitlines()[-1]


def test_an_array(here: Cli, fake: FakeSystem) -> None:
    answer = here.ok("pilot", "submit", "slurm", "-n", "3", "--array")
    assert answer.out.split() == ["1_1", "1_2", "1_3"]
    assert fake.calls("sbatch")[0] == ["--parsable", "--array=1-3"]
    assert [row["job"] for row in rows(here)] == ["1_1", "1_2", "1_3"]
    answer = here("pilot", "submit", "local", "-n", "3", "--array")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "picas: --array: local jobs are submitted one by one")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nosuch",), 2, "there is no batch system 'nosuch'"),
        (("slurm", "--queue", "a b"), 2, "the queue 'a b' has characters"),
        (("slurm", "--", "--comment=a b"), 2, "the native option '--comment=a b' has characters"),
        (("slurm", "--time", "soon"), 2, "--time 'soon' is not a time"),
        (("slurm", "--idle", "soon"), 2, "--idle 'soon' is not a time"),
        (("slurm", "--retry-on", "foo bar"), 2, "foo bar"),
        (("slurm", "--view", "Wide/todo"), 2, "Wide"),
        (("slurm", "--offer", "cores=1"), 2, "--offer cores"),
        (("slurm", "--time", "10s", "--warning", "10s"), 2, "has no time to work"),
        (("local", "--", "--x"), 2, "jobs of this machine have no options of their own"),
        (("slurm", "--pool", "nowhere.db"), 3, "there is no pool at"),
        (("slurm", "--pool", "couchdb://me:hush@127.0.0.1:1/db"), 3, "a password may not stand on the command line"),
        (("slurm", "--folder", "a\nb"), 2, "the folder for output"),
    ],
)
def test_bad_input_is_one_line(here: Cli, fake: FakeSystem, words: tuple[str, ...], code: int, said: str) -> None:
    answer = here.inside("pilot", "submit", *words)
    assert answer.code == code, answer
    assert said in answer.err
    assert answer.err.count("\n") <= 3
    assert "hush" not in answer.err
    assert fake.calls("sbatch") == []


def test_no_batch_system_on_this_machine(here: Cli) -> None:
    empty = here.folder / "none"
    empty.mkdir()
    answer = here("pilot", "submit", "slurm", PATH=str(empty))
    assert answer.code == 9
    assert "sbatch is not on this machine" in answer.err
