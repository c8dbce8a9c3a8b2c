"""Programs in the style of PiCaS users, run as they are, on CouchDB and on SQLite: what becomes of their tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from classic.desk import Desk, ended, is_alive
from picas.documents import Task
from picas.testing.samples import eventually
from support.couchdb_server import CouchServer

MIXED = {
    "calm1": {"urgent": False, "interrupted_by": "late"},
    "calm2": {"urgent": False},
    "urgent1": {"urgent": True},
    "urgent2": {"urgent": True},
}


class TestRunCommands:
    def test_every_token_runs_once_and_has_its_code_and_its_logs(self, desk: Desk) -> None:
        tokens = {f"t{number}": {"input": f"echo out {number}; echo err $0 >&2"} for number in range(5)}
        desk.add(**tokens, bad={"input": "exit 3"})
        assert "6 tokens in" in desk.run("run_commands.py")
        assert Counter(desk.ran()) == Counter([*tokens, "bad"])
        assert desk.overview() == {"done": 5, "error": 1}
        for number, (name, doc) in enumerate(sorted(desk.docs("done").items())):
            assert (doc["exit_code"], doc["scrub_count"]) == (0, 0)
            assert doc["done"] >= doc["lock"] > 1_500_000_000
            assert desk.file(name, f"logs_{name}.out") == ("text/plain", f"out {number}\n".encode())
            assert desk.file(name, f"logs_{name}.err") == ("text/plain", f"err {name}\n".encode())
        assert desk.docs("error")["bad"]["exit_code"] == 3

    def test_a_token_that_fails_is_tried_again_and_one_that_takes_too_long_is_ended(self, desk: Desk) -> None:
        desk.add(
            flaky={"input": "test -e again || { touch again; exit 1; }"},
            slow={"input": "sleep 300 & echo $! > pid; wait"},
        )
        desk.run("run_commands.py", "--retries", "1", "--seconds-each", "1")
        assert Counter(desk.ran()) == {"flaky": 2, "slow": 2}
        assert desk.overview() == {"done": 1, "error": 1}
        assert desk.docs("done")["flaky"]["scrub_count"] == 1
        slow = Task(desk.docs("error")["slow"])
        assert (slow["lock"], slow["done"], slow["scrub_count"]) == (99, 99, 1)
        assert "1.0 seconds" in slow.get_errors()[-1]["message"]
        assert not is_alive(int((desk.folder / "pid").read_text()))

    def test_it_stops_after_so_many_tokens(self, desk: Desk) -> None:
        desk.add(**{f"t{number}": {"input": "true"} for number in range(4)})
        desk.run("run_commands.py", "--tokens", "3")
        assert len(set(desk.ran())) == 3
        assert desk.overview() == {"done": 3, "todo": 1}
        lines = desk.logbook.read_text().splitlines()
        assert (lines[0], lines[-1], len(lines)) == ("begin", "end", 5)


class TestWaitForWork:
    @pytest.fixture
    def waiting(self, desk: Desk) -> Iterator[Any]:
        """Starts the program, and waits until it does."""
        started: list[subprocess.Popen[str]] = []

        def start(*words: str) -> subprocess.Popen[str]:
            started.append(desk.start("wait_for_work.py", *words))
            eventually(lambda: desk.logbook.exists() or started[0].poll() is not None)
            return started[0]

        yield start
        for process in started:
            process.kill()
            process.communicate()

    def test_a_stop_callback_ends_the_wait(self, desk: Desk, waiting: Any) -> None:
        program = waiting("--until-file", str(desk.folder / "over"))
        desk.add(a={"input": "one"})
        eventually(lambda: desk.overview() == {"done": 1})
        desk.add(b={"input": "three"})
        eventually(lambda: desk.overview() == {"done": 2})
        assert program.poll() is None
        (desk.folder / "over").touch()
        ended(program)
        assert desk.ran() == ["a", "b"]
        assert {name: doc["output"] for name, doc in desk.docs("done").items()} == {
            "a": {"length": 3},
            "b": {"length": 5},
        }

    def test_a_stop_function_ends_it_after_a_token(self, desk: Desk, waiting: Any) -> None:
        program = waiting("--until-done", "2")
        desk.add(a={"input": "one"})
        eventually(lambda: desk.overview() == {"done": 1})
        desk.add(b={"input": "two"}, c={"input": "three"})
        printed = ended(program)
        assert printed.split() == ["finished", "a", "finished", desk.ran()[1]]
        assert desk.overview() == {"done": 2, "todo": 1}
        assert desk.logbook.read_text().endswith("over 2\n")


class TestUrgentFirst:
    @pytest.fixture(params=["two design documents", "two views of one"])
    def views(self, request: pytest.FixtureRequest, desk: Desk) -> list[str]:
        """Make them, on CouchDB by the program itself and on SQLite by the command line; how the program is told."""
        on_couchdb = desk.pool["url"].startswith("http")
        if request.param == "two views of one" and not on_couchdb:
            pytest.skip("views by any name are written in JavaScript, which only CouchDB runs")
        if on_couchdb:
            desk.run("urgent_first.py", "--make-views")
        else:
            for design, where in (("Urgent", "urgent=true"), ("Calm", "urgent=false")):
                command = [sys.executable, "-m", "picas", "--pool", desk.pool["url"], "view", "add", design]
                subprocess.run([*command, "--where", where], check=True, capture_output=True)
        if request.param == "two views of one":
            return ["--high", "hurry", "--low", "take_it_easy", "--design", "Desk"]
        return []

    def test_urgent_tokens_come_before_others_also_those_that_come_in_between(
        self, desk: Desk, views: list[str]
    ) -> None:
        desk.add(**MIXED)
        desk.run("urgent_first.py", *views)
        ran = desk.ran()
        assert Counter(ran) == Counter([*MIXED, "late"])
        assert set(ran[:2]) == {"urgent1", "urgent2"}
        assert ran.index("late") == ran.index("calm1") + 1
        assert desk.overview() == {"done": 5}


class TestThreeStages:
    def test_each_token_brings_about_those_of_the_next_stage(self, desk: Desk) -> None:
        assert "12 tokens" in desk.run("three_stages.py", "--start", "3")
        ran = desk.ran()
        assert len(ran) == len(set(ran)) == 3 + 3 + 6
        assert desk.overview() == {"done": 12}
        done = desk.docs("done")
        results = {name: doc["output"] for name, doc in done.items() if doc["stage"] == "3"}
        expected = {n: 2 * n + 1 for n in range(3)}
        assert sorted(results.values()) == sorted(m * factor for m in expected.values() for factor in (10, 100))
        assert {done[f"n{n}-1"]["output"] for n in range(3)} == {f"n{n}-1-2" for n in range(3)}

    def test_two_pilots_share_the_stages(self, desk: Desk) -> None:
        """The second may find nothing to do yet, and leave; what is there is run once all the same."""
        first = desk.start("three_stages.py", "--start", "6")
        second = desk.start("three_stages.py")
        ended(first)
        ended(second)
        ran = desk.ran()
        assert len(ran) == len(set(ran)) == 6 + 6 + 12
        assert desk.overview() == {"done": 24}


class TestOldTools:
    """On a database that only the couchdb package has made, so that its views are all there are."""

    @pytest.fixture
    def old(self, couchdb_server: CouchServer, couchdb_pool: dict[str, str], tmp_path: Path) -> Desk:
        if find_spec("couchdb") is None:
            missing = "the couchdb package is not installed (extra: classic)"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
        assert couchdb_server.request("PUT", f"/{couchdb_pool['db']}").status == 201
        desk = Desk(tmp_path, couchdb_pool)
        desk.environ["PYTHONWARNINGS"] = "default"  # what the couchdb package does is not ours to mend
        desk.run("old_tools.py", "views")
        return desk

    def test_tokens_are_pushed_worked_reset_and_deleted(self, old: Desk) -> None:
        assert "[True, True, True, True]" in old.run("old_tools.py", "push", "8")
        old.run("old_tools.py", "work")
        names = [f"token_{number}" for number in range(8)]
        flawed = {"token_0", "token_3", "token_6"}
        assert Counter(old.ran()) == Counter(names)
        assert old.overview() == {"done": 5, "error": 3}
        assert set(old.docs("error")) == flawed
        assert old.run("old_tools.py", "reset", "Monitor/error", "0").strip() == "[True, True, True]"
        assert old.overview() == {"done": 5, "todo": 3}
        old.run("old_tools.py", "work")
        assert Counter(old.ran()) == Counter([*names, *flawed])
        assert old.overview() == {"done": 8}
        assert old.docs("done")["token_3"]["scrub_count"] == 1
        assert old.file("token_3", "result.txt") == ("text/plain", b"9")
        old.run("old_tools.py", "delete", "Monitor/done")
        assert old.overview() == {}

    def test_a_token_that_somebody_walked_off_with_is_reset(self, old: Desk) -> None:
        old.run("old_tools.py", "push", "2")
        taken = old.run("old_tools.py", "lock_one").strip()
        assert old.run("old_tools.py", "reset", "Monitor/locked", "1").strip() == "[]"
        assert old.run("old_tools.py", "reset", "Monitor/locked", "0").strip() == "[True]"
        assert old.docs("todo")[taken]["scrub_count"] == 1
        old.run("old_tools.py", "work")
        assert Counter(old.ran()) == Counter(["token_0", "token_1"])

    def test_conflicts_are_those_that_programs_catch(self, old: Desk) -> None:
        old.run("old_tools.py", "push", "1")
        said = [line.split()[:2] for line in old.run("old_tools.py", "clash").splitlines()]
        assert said == [
            ["conflict", "save"],
            ["conflict", "save"],
            ["conflict", "delete"],
            ["conflict", "theirs"],
            ["no", "such"],
        ]
