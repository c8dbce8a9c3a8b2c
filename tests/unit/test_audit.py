"""Tokens that nobody takes on any more, and files that cannot be read: found, and mended only where that is safe."""

from __future__ import annotations

import io
import sqlite3
import time
from pathlib import Path

import pytest

from picas import audit as module
from picas.arrivals import Arrivals, Moved
from picas.audit import Findings, audit
from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.pool import Pool, connect
from picas.stores.base import Claim, PilotRecord, Settlement
from picas.views import View
from support.couchdb_server import CouchServer

LEASE = 0.4


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEASE", LEASE)
    monkeypatch.setattr(module, "_SETTLING", 0.05)


def beat(pool: Pool, pilot: str) -> None:
    pool.store.beat(PilotRecord(id=pilot, hostname="h", pid=1, started_at=time.time(), lease=LEASE))


def claim(pool: Pool, pilot: str, count: int = 1) -> list[Doc]:
    return pool.store.exchange([], Claim(view=View(State.TODO), count=count, claimant=Claimant(pilot=pilot))).claimed


def found(pool: Pool, **options: bool) -> list[str]:
    return [f"{'mended: ' if one.mended else ''}{one.text}" for one in audit(pool, **options)]


def test_a_sound_pool_has_no_problems(each_pool: Pool) -> None:
    each_pool.add([{"_id": f"t{number}"} for number in range(5)])
    each_pool.add([{"_id": "w", "after": ["t4"]}])
    beat(each_pool, "p")
    docs = claim(each_pool, "p", 3)
    each_pool.store.put_attachment(docs[0]["_id"], "log", io.BytesIO(b"x" * 100_000))
    each_pool.store.exchange([Settlement(doc=docs[1], outcome=Outcome())])
    assert found(each_pool) == []
    assert found(each_pool, mend=True) == []


def test_tokens_of_a_pilot_without_a_record_are_told_and_given_back(each_pool: Pool) -> None:
    each_pool.add([{"_id": f"t{number}"} for number in range(3)])
    for pilot in ("gone", "there"):
        beat(each_pool, pilot)
    mine, other = claim(each_pool, "gone")[0]["_id"], claim(each_pool, "there")[0]["_id"]
    each_pool.store.forget("gone")
    assert [text.partition(", which has no record")[0] for text in found(each_pool)] == [
        f"token {mine}: it is locked by pilot gone"
    ]
    heard: list[str] = []
    started = time.monotonic()
    problems = list(audit(each_pool, mend=True, tell=heard.append))
    assert time.monotonic() - started >= LEASE
    assert [problem.mended for problem in problems] == [True]
    assert "waiting" in heard[0]
    assert "gone" in heard[0]
    given_back, kept = each_pool.store.get([mine, other])
    assert given_back is not None
    assert kept is not None
    assert (state_of(given_back), given_back["lost"], given_back["reason"]) == (State.TODO, 1, "lost")
    assert state_of(kept) is State.LOCKED
    assert found(each_pool) == []


def test_a_pilot_that_comes_back_keeps_its_tokens(each_pool: Pool) -> None:
    each_pool.add([{"_id": "t"}])
    claim(each_pool, "late")
    assert list(audit(each_pool, mend=True, tell=lambda _: beat(each_pool, "late"))) == []
    assert state_of(each_pool.get("t") or {}) is State.LOCKED


def test_a_lock_without_a_claim_is_only_told(each_pool: Pool) -> None:
    each_pool.add([{"_id": "t"}, {"_id": "u"}])
    for token_id, lock in (("t", 1_500_000_000), ("u", 1_600_000_000)):
        doc = each_pool.get(token_id)
        assert doc is not None
        each_pool.store.update([{**doc, "lock": lock}])
    findings = Findings()
    assert list(audit(each_pool, mend=True, findings=findings)) == []
    assert (findings.without_lease, findings.oldest) == (2, (1_500_000_000.0, "t"))
    assert each_pool.count()[State.LOCKED] == 2


def test_a_token_that_waits_for_none_there_is_told(each_pool: Pool) -> None:
    each_pool.add([{"_id": "t"}, {"_id": "w", "after": ["t", "nowhere"]}])
    expected = ["token w: it waits for nowhere, which does not exist"]
    assert found(each_pool) == found(each_pool, mend=True) == expected
    assert state_of(each_pool.get("w") or {}) is State.HELD


def test_a_token_that_waits_for_what_is_done_is_let_go(couchdb_server: CouchServer) -> None:
    """As on CouchDB, where a process may die between the end of one token and the release of the other."""
    name = couchdb_server.database("stuck")
    login = {"username": couchdb_server.admin, "password": couchdb_server.password or ""}
    with connect(f"{couchdb_server.url}/{name}", create=True, **login) as pool:
        pool.add([{"_id": "t"}])
        pool.store.exchange([Settlement(doc=claim(pool, "p")[0], outcome=Outcome())])
        stuck = {"type": "token", "lock": -1, "done": 0, "after": ["t"]}
        assert couchdb_server.request("PUT", f"/{name}/w", stuck).status == 201
        expected = "token w: it is held, and what it waits for is done"
        assert found(pool) == [expected]
        assert found(pool, mend=True) == [f"mended: {expected}"]
        assert state_of(pool.get("w") or {}) is State.TODO
        pool.store.drop()


def test_a_file_that_is_not_as_it_is_listed_is_told() -> None:
    pool = connect("memory:")
    pool.add([{"_id": "t"}, {"_id": "u"}, {"_id": "v"}])
    for token_id in "tuv":
        pool.store.put_attachment(token_id, "log", io.BytesIO(b"said"))
    rows = pool.store.store._pool.rows  # type: ignore[attr-defined]
    object.__setattr__(rows["t"].files["log"], "data", b"sa")
    object.__setattr__(rows["u"].files["log"], "data", b"sad!")
    assert found(pool) == [
        'token t: attachment "log" has 2 bytes of 4',
        'token u: attachment "log" has other bytes than were stored',
    ]
    assert found(pool, files=False) == []


def test_counts_that_disagree_with_the_tokens_are_told(tmp_path: Path) -> None:
    with connect(str(tmp_path / "pool.db"), create=True) as pool:
        pool.add([{"_id": f"t{number}"} for number in range(3)])
        with sqlite3.connect(tmp_path / "pool.db") as raw:
            raw.execute("UPDATE tokens SET state = 4 WHERE id = 't1'")
        raw.close()
        assert found(pool) == [
            "2 tokens are counted as todo, there are 3",
            "1 tokens are counted as error, there are 0",
        ]


def test_an_import_that_was_cut_short_is_told(each_pool: Pool) -> None:
    arrivals = Arrivals(each_pool, Moved())
    arrivals.token({"_id": "t", "type": "token", "lock": 0, "done": 0})
    arrivals.piece("t", "big", bytes(300 << 10), "text/plain", last=True)
    arrivals.close()
    assert found(each_pool) == ["token t: its import was cut short; the same import completes it"]
