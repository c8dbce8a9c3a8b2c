"""Functions in real processes that are killed: each call's result is accepted once, and it is the right one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import picas
from picas.errors import PicasError, TokenFailed
from picas.lifecycle import State
from picas.pool import Pool, connect
from picas.testing.samples import eventually
from support.functions import dies, noted, pid_slowly, square

TESTS = Path(__file__).parents[1]
WORK = (
    "import sys, picas\nfrom support.functions import *\nr = picas.work({}, sys.argv[1], idle=60, lease=3.0)\nprint(r)"
)
MAP = """
import sys, picas
from support.functions import noted
if __name__ == "__main__":
    places = [{"file": sys.argv[2], "n": n, "seconds": 0.02} for n in range(200)]
    print("begun", flush=True)
    print(sum(picas.map(noted, places, pool=sys.argv[1], workers=2, key="all")))
"""


def start(program: str, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    argv = [sys.executable, *([str(cwd / "program.py")] if cwd else ["-c", program]), *words]
    if cwd:
        (cwd / "program.py").write_text(program)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ)


def accepted_once(pool: Pool) -> None:
    """Of each call one result was accepted, that of its last claim; and the pool is sound."""
    for doc in pool.documents():
        accepted = [one for one in doc.get("attempts", []) if one["reason"] == "exit"]
        assert [one["fence"] for one in accepted] == [doc["fence"]], doc
        assert "claim" not in doc
    assert pool.store.check() == []
    assert pool.pilots() == []


def test_workers_killed_at_random_are_replaced_and_every_result_is_right(tmp_path: Path) -> None:
    chance = random.Random(5)
    places = [{"file": str(tmp_path / "made"), "n": n, "seconds": 0.01} for n in range(400)]
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        killed: set[int] = set()
        found = []
        for value in picas.map(noted, places, pool=pool, workers=3):
            found.append(value)
            alive = [record.pid for record in pool.pilots() if record.pid not in killed]
            if alive and len(killed) < 8 and value % 40 == 39:
                victim = chance.choice(alive)
                killed.add(victim)
                os.kill(victim, signal.SIGKILL)
        assert len(killed) >= 5
        assert found == list(range(400))
        assert pool.count()[State.DONE] == 400
        accepted_once(pool)


def test_pilots_elsewhere_are_killed_and_a_program_that_waits_gets_every_result(tmp_path: Path) -> None:
    url, made = str(tmp_path / "p.db"), str(tmp_path / "made")
    with connect(url, create=True) as pool:
        places = [{"file": made, "n": n, "seconds": 0.02} for n in range(150)]
        results = picas.map(noted, places, pool=pool, workers=0)
        pilots = [start(WORK.format("noted"), url) for _ in range(3)]
        found = [next(results)]
        os.kill(pilots[0].pid, signal.SIGKILL)
        found += results
        assert found == list(range(150))
        for pilot in pilots[1:]:
            pilot.send_signal(signal.SIGTERM)
            assert "told to stop by a signal" in pilot.communicate(timeout=30)[0]
        pilots[0].communicate()
        eventually(lambda: pool.recover() is not None and not pool.pilots())
        accepted_once(pool)


def test_a_map_whose_program_is_killed_is_finished_by_the_next_one(tmp_path: Path) -> None:
    url, made = str(tmp_path / "p.db"), tmp_path / "made"
    first = start(MAP, url, str(made), cwd=tmp_path)
    eventually(lambda: made.exists() and len(made.read_text().splitlines()) > 40, 60)
    first.kill()
    first.communicate()
    with connect(url) as pool:
        # The kernel tells the workers, and each gives back what it held.
        eventually(lambda: not pool.pilots() and pool.count()[State.LOCKED] == 0, 30)
        done = pool.count()[State.DONE]
        assert 0 < done < 200
        second = start(MAP, url, str(made), cwd=tmp_path)
        assert second.communicate(timeout=100)[0] == f"begun\n{sum(range(200))}\n"
        times = Counter(line.split()[0] for line in made.read_text().splitlines())
        assert len(times) == 200
        assert sum(times.values()) < 200 + done
        accepted_once(pool)


def test_a_call_that_kills_every_worker_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool, picas.Executor(pool, workers=2) as executor:
        futures = [executor.submit(dies, n) for n in range(8)]
        assert [future.result(100) for n, future in enumerate(futures) if n != 3] == [0, 1, 2, 4, 5, 6, 7]
        with pytest.raises(TokenFailed, match="crash-limit"):
            futures[3].result(100)
        doc: Any = pool.get(futures[3].token)
        assert (doc["lost"], doc["reason"]) == (5, "crash-limit")


def test_a_script_that_cannot_be_imported_is_told_of_and_does_not_go_on_for_ever(tmp_path: Path) -> None:
    call = "print(list(picas.map(square, [1], pool='p.db', workers=1)))"
    program = f"import picas\nfrom support.functions import square\n{call}\n"
    (tmp_path / "bad.py").write_text(program)
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    argv = [sys.executable, "bad.py"]
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "the workers end as soon as they begin" in done.stderr


def test_workers_end_with_a_map_that_is_left_half_read(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        results = picas.map(pid_slowly, [0.01] * 50, pool=pool, workers=2)
        pids = {next(results), next(results)}
        results.close()
        assert not any(_is_alive(pid) for pid in pids)
        assert pool.count()[State.LOCKED] == 0
        assert pool.pilots() == []
        with pytest.raises(PicasError, match="closed"):
            next(results)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_quick_to_begin_and_to_end(tmp_path: Path) -> None:
    with connect(str(tmp_path / "p.db"), create=True) as pool:
        begun = time.monotonic()
        assert list(picas.map(square, range(3), pool=pool, workers=1)) == [0, 1, 4]
        assert time.monotonic() - begun < 20
