"""What is said of a token in each state: the cause, and what would have to change."""

from __future__ import annotations

from typing import Any

import pytest

from picas import lifecycle
from picas.explain import explain_pool, explain_token
from picas.lifecycle import Claimant, Doc, Outcome, Reason, State
from picas.stores.base import PilotRecord

NOW = 1_800_000_000.0
GIB = 2**30


def token(**fields: Any) -> Doc:
    return lifecycle.put({"_id": "t", **fields})


def pilot(name: str = "p", *, silent: float = 0.0, cores: int = 2, **more: Any) -> PilotRecord:
    fields = {"hostname": "node7", "pid": 1, "started_at": NOW, "lease": 60, "silent": silent, "cores": cores}
    return PilotRecord(id=name, **{**fields, **more})


def said(doc: Doc, *pilots: PilotRecord, needs: dict[str, State | None] | None = None, tail: str = "") -> str:
    return "\n".join(explain_token(doc, now=NOW, needs=needs or {}, pilots=pilots, tail=tail))


def locked(who: str = "p") -> Doc:
    return lifecycle.claim(token(), Claimant(pilot=who, hostname="node7"), NOW - 30)


def failed(reason: Reason, **attempt: Any) -> Doc:
    return lifecycle.settle(locked(), Outcome(reason=reason, exit_code=3, attempt=attempt), NOW)


@pytest.mark.parametrize(
    ("doc", "pilots", "expected"),
    [
        (token(), (), "no pilot is alive"),
        (token(), (pilot(silent=100),), "no pilot is alive"),
        (token(requires={"cores": 8}), (pilot(cores=2),), "needs 8 cores, and the most that a pilot alive offers is 2"),
        (token(), (pilot(),), "waits its turn; 1 pilot"),
        (token(not_before=NOW + 90), (pilot(),), "in 90 s"),
        (locked(), (pilot(),), "pilot p on node7 has it since 30 s (claim 1)"),
        (locked(), (pilot(silent=100),), "fallen silent"),
        (locked("gone"), (pilot(),), "not known any more"),
        (lifecycle.cancel(locked(), NOW), (pilot(),), "to be cancelled"),
        (lifecycle.cancel(token(), NOW), (), "it was cancelled"),
        (failed(Reason.EXIT), (), "exited with 3"),
        (failed(Reason.TIME), (), "time was over"),
        (failed(Reason.START_FAILED, errno="ENOENT"), (), "could not be started (ENOENT)"),
        (failed(Reason.QUIET), (), "had written nothing for too long"),
        (failed(Reason.EXIT, rule="3:never", then="not tried again"), (), "rule 3:never: not tried again"),
        (failed(Reason.EXIT, rule="3:delay=5m", would="tried again"), (), "rule 3:delay=5m would have it tried again"),
        (token(lock=99, done=99, exit_code=1), (), "its program said error"),
        (lifecycle.hold(token()), (), "held by a person"),
        ({"_id": "t", "type": "job"}, (), "is no token"),
    ],
)
def test_each_state_has_its_cause(doc: Doc, pilots: tuple[PilotRecord, ...], expected: str) -> None:
    assert expected in said(doc, *pilots)


@pytest.mark.parametrize(
    ("requires", "pilots", "expected"),
    [
        ({"memory": "8 GiB"}, (pilot(memory=GIB),), "8 GiB of memory, and the most that a pilot alive offers is 1 GiB"),
        ({"memory": "8 GiB"}, (pilot(),), "waits its turn"),
        ({"gpus": 2}, (pilot(gpus=1), pilot("q", gpus=0)), "needs 2 gpus, and the most that a pilot alive offers is 1"),
        ({"licence": 1}, (pilot(),), "needs 1 licence, and the most that a pilot alive offers is 0 licence"),
        ({"licence": 2}, (pilot(offers={"licence": 3}),), "waits its turn"),
        ({"time": "2 h"}, (pilot(ends_at=NOW + 3600),), "needs 2 h, and the most that a pilot alive offers is 1 h"),
        ({"time": "30 m"}, (pilot(ends_at=NOW + 3600),), "waits its turn"),
        ({"cores": 4, "memory": "8 GiB"}, (pilot(cores=8, memory=GIB), pilot("q", cores=2, memory=8 * GIB)),
         "needs more than any one pilot has; p on node7 lacks least: 8 GiB of memory, not 1 GiB"),
        ({"cores": 4}, (pilot(cores=8), pilot("q", cores=2)), "2 pilots are alive, 1 of them have what it needs"),
        ({}, (pilot(orders="drain"),), "told to end"),
    ],
)  # fmt: skip
def test_what_it_needs_is_held_against_what_pilots_offer(
    requires: dict[str, Any], pilots: tuple[PilotRecord, ...], expected: str
) -> None:
    assert expected in said(token(requires=requires), *pilots)


def test_the_pool_names_the_kinds_of_tokens_that_no_pilot_takes() -> None:
    counts = dict.fromkeys(State, 0) | {State.TODO: 9}
    waiting = {'{"x": 64}': 5, '{"cores": 1}': 3, '{"memory": "much"}': 1}
    lines = explain_pool(counts, ready_in=0.0, pilots=[pilot()], now=NOW, waiting=waiting)
    told = [line for line in lines if line.startswith("no pilot takes")]
    assert told == [
        'no pilot takes 5 tokens that require {"x": 64}: it needs 64 x, and the most that a pilot alive offers is 0 x',
        'no pilot takes 1 token that requires {"memory": "much"}: no pilot can read that',
    ]


def test_a_held_token_names_what_it_waits_for() -> None:
    needs: dict[str, State | None] = {"a": State.DONE, "b": State.ERROR, "c": None}
    text = said(token(after=["a", "b", "c"]), needs=needs)
    assert "b (error), c (not there)" in text
    assert "a (" not in text
    assert "must be reset" in text


def test_the_end_of_stderr_is_shown() -> None:
    assert "stderr: six" in said(failed(Reason.EXIT), tail="one\ntwo\nthree\nfour\nfive\nsix\n")
    assert "stderr: one" not in said(failed(Reason.EXIT), tail="one\ntwo\nthree\nfour\nfive\nsix\n")


def test_the_pool_as_a_whole() -> None:
    counts = dict.fromkeys(State, 0) | {State.TODO: 3, State.ERROR: 2}
    text = "\n".join(explain_pool(counts, ready_in=0.0, pilots=[]))
    assert "picas run" in text
    assert "2 failed" in text
    empty = dict.fromkeys(State, 0)
    assert "nothing to run" in "\n".join(explain_pool(empty, ready_in=None, pilots=[]))
