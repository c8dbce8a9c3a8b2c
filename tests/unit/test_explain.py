"""What is said of a token in each state: the cause, and what would have to change."""

from __future__ import annotations

from typing import Any

import pytest

from picas import lifecycle
from picas.explain import explain_pool, explain_token
from picas.lifecycle import Claimant, Doc, Outcome, Reason, State
from picas.stores.base import PilotRecord

NOW = 1_800_000_000.0


def token(**fields: Any) -> Doc:
    return lifecycle.put({"_id": "t", **fields})


def pilot(name: str = "p", *, silent: float = 0.0, cores: int = 2) -> PilotRecord:
    return PilotRecord(id=name, hostname="node7", pid=1, started_at=NOW, lease=60, silent=silent, cores=cores)


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
        (token(requires={"cores": 8}), (pilot(cores=2),), "needs 8 cores, and the widest pilot alive has 2"),
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
        (token(lock=99, done=99, exit_code=1), (), "its program said error"),
        (lifecycle.hold(token()), (), "held by a person"),
        ({"_id": "t", "type": "job"}, (), "is no token"),
    ],
)
def test_each_state_has_its_cause(doc: Doc, pilots: tuple[PilotRecord, ...], expected: str) -> None:
    assert expected in said(doc, *pilots)


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
