"""F57: commands that take more memory than their token asked for. The pilot lives, and so do the tokens beside them."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from picas.lifecycle import State, state_of
from picas.pilot import memory
from picas.pilot.memory import Group, Watch, find_groups, tree_memory
from support.checker import check
from support.pilots import Site

MIB = 2**20
LIMIT = {"requires": {"memory": "100 MiB"}}

BOMB = [sys.executable, "-c", "kept = []\nwhile True:\n    kept.append(bytearray(5_000_000))"]
DEAF_BOMB = [sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + BOMB[2]]
FAMILY = """
import os, sys, time
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(40_000_000)
        time.sleep(60)
time.sleep(60)
"""
SHARED = """
import os, time
kept = bytearray(60_000_000)
children = [os.fork() for _ in range(3)]
if 0 in children:
    time.sleep(2.5)
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""
"""Each child has the 60 MB of its parent: added up 240 MB, in truth 60."""

HERE = find_groups() if os.geteuid() == 0 else None


@pytest.fixture(params=["control group", "watch"])
def way(request: pytest.FixtureRequest, site: Site) -> str:
    """How memory is held to its limit: both ways are real, where this machine allows both."""
    if request.param == "control group":
        if HERE is None:
            pytest.skip("no control groups may be made here")
    else:
        site.environ["PICAS_CGROUP"] = "off"
    return str(request.param)


def _last(doc: dict[str, Any]) -> dict[str, Any]:
    attempt: dict[str, Any] = doc["attempts"][-1]
    return attempt


def test_a_bomb_is_ended_and_the_next_token_runs(site: Site, way: str) -> None:
    (bomb,) = site.add(BOMB, **LIMIT)
    (beside, after) = site.add("sleep 1; echo beside", "echo after")
    site.pilot(cores=2, lease=10.0, grace=1.0).report()

    doc = site.doc(bomb)
    assert (state_of(doc), doc["reason"]) == (State.ERROR, "memory")
    assert 90 * MIB < _last(doc)["max_rss"] < 1000 * MIB
    assert site.attachment(beside, f"logs_{beside}.out") == b"beside\n"
    assert site.attachment(after, f"logs_{after}.out") == b"after\n"
    # In error for its memory; the others are done.
    assert check(site) == {State.ERROR: 1, State.DONE: 2}


def test_a_bomb_that_ignores_signals_is_killed(site: Site, way: str) -> None:
    (doc,) = site.run(DEAF_BOMB, fields=LIMIT, grace=0.1)

    assert (doc["exit_code"], doc["reason"], _last(doc)["signal"]) == (-signal.SIGKILL, "memory", "SIGKILL")
    # In error for its memory.
    assert check(site) == {State.ERROR: 1}


def test_a_family_is_counted_together(site: Site, way: str) -> None:
    (doc,) = site.run([sys.executable, "-c", FAMILY], fields=LIMIT)

    assert doc["reason"] == "memory"
    # In error for the memory of all; none of them is left.
    assert check(site) == {State.ERROR: 1}


def test_memory_that_several_share_is_counted_once(site: Site, way: str) -> None:
    (doc,) = site.run([sys.executable, "-c", SHARED], fields=LIMIT)

    assert (doc["reason"], doc["exit_code"]) == ("exit", 0)
    # Done: it kept to its limit.
    assert check(site) == {State.DONE: 1}


def test_it_is_tried_again_like_others(site: Site, way: str) -> None:
    script = 'test -e "$SIDE" || { touch "$SIDE"; exec ' + f"{BOMB[0]} -c '{BOMB[2]}'" + "; }"
    (doc,) = site.run(["bash", "-c", script], fields={**LIMIT, "max_scrub": 1}, idle=1.0)

    assert [attempt["reason"] for attempt in doc["attempts"]] == ["memory", "exit"]
    # Done with the second try.
    assert check(site) == {State.DONE: 1}


def test_tokens_that_ask_for_no_memory_are_not_looked_at(site: Site) -> None:
    (doc,) = site.run([sys.executable, "-c", "kept = bytearray(150_000_000)"])

    assert doc["reason"] == "exit"
    # Done.
    assert check(site) == {State.DONE: 1}


@pytest.mark.skipif(HERE is None, reason="no control groups may be made here")
def test_no_control_group_is_left(site: Site) -> None:
    assert HERE is not None
    before = set(HERE.glob("picas-*"))
    site.run(*[["true"]] * 20, fields=LIMIT, cores=2)

    assert set(HERE.glob("picas-*")) <= before
    # Done, all of them.
    assert check(site) == {State.DONE: 20}


def test_a_tree_is_measured_with_or_without_lists_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        kept = bytearray(50_000_000)
        if os.fork() == 0:
            kept += bytearray(10_000_000)
        os.write(write, b"x")
        time.sleep(30)
        os._exit(len(kept) % 2)
    try:
        assert os.read(read, 1) + os.read(read, 1) == b"xx"
        found = memory._descendants(child)
        assert len(found) == 1
        assert set(memory._by_scan(os.getpid())) >= {child, *found}
        listed = memory._by_children(os.getpid())
        assert listed is None or set(listed) >= {child, *found}
        assert tree_memory(os.getpid()) > 110_000_000
        # The pages of the fork count once then, and in part where this process has them too.
        assert 50_000_000 < tree_memory(os.getpid(), shared=True) < tree_memory(os.getpid())
    finally:
        for pid in (*memory._descendants(child), child):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(child, 0)


def test_it_looks_sooner_the_less_is_left() -> None:
    assert Watch(8 * 2.0**30, 100.0).next_look(100.0) == 1.0
    assert Watch(2.0**30, 100.0).next_look(100.0) == pytest.approx(0.5)
    assert Watch(10 * MIB, 100.0).next_look(100.0) == pytest.approx(0.05)
    watch = Watch(8 * 2.0**30, 100.0)
    assert not watch.is_over(100.5)
    assert watch.peak == 0, "it was not time to look"


def test_of_version_2_a_pilot_divides_its_own_group_when_it_is_alone_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On files that stand for the kernel's: this shows what is written where, not what the kernel makes of it."""
    own = tmp_path / "sys/fs/cgroup/scope"
    own.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/scope\n")
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("")
    (own / "cgroup.procs").write_text("1\n")
    assert find_groups(tmp_path) is None, "somebody else is in it"
    (own / "cgroup.controllers").write_text("cpu pids\n")
    (own / "cgroup.procs").write_text("")
    assert find_groups(tmp_path) is None, "memory was not delegated"
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    monkeypatch.setattr(memory, "_can_limit", lambda place: True)
    assert find_groups(tmp_path) == own
    assert (own / "cgroup.subtree_control").read_text() == "+memory"
    (own / "cgroup.procs").unlink()
    group = Group(own, "one", 5 * MIB)
    assert (own / "one/memory.max").read_text() == str(5 * MIB)
    (own / "pilot").mkdir()
    with group.entered():
        assert (own / "one/cgroup.procs").read_text() == "0"
    assert (own / "pilot/cgroup.procs").read_text() == "0"
    (own / "one/memory.events").write_text("oom 3\noom_kill 1\n")
    (own / "one/memory.peak").write_text("5242880\n")
    later = itertools.count(0.0, 10.0)
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: next(later), sleep=time.sleep))
    assert group.close() == (True, 5 * MIB)
