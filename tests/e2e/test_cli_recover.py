"""``picas pilot recover``: what dead pilots left, handed in by a person, or by the next pilot."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from picas.lifecycle import Claimant, Outcome, State, state_of
from picas.pilot.spool import RESULTS, Spool
from picas.pool import connect
from picas.stores.base import Attachment, Claim, PilotRecord, Settlement
from picas.views import View
from support.cli import Cli

PILOT = "there-7-abc"


@pytest.fixture
def left(picas_here: Cli) -> Spool:
    """A pool with three tokens, two of them with results that a dead pilot left; of one the claim is over."""
    with connect(str(picas_here.folder / "picas.db")) as pool:
        pool.add([{"_id": name, "command": "exit 3"} for name in ("t1", "t2", "t3")])
        spool = Spool(picas_here.folder / "spool", PILOT, "there", pool.url)
        docs = pool.store.exchange([], Claim(view=View(State.TODO), count=2, claimant=Claimant(pilot=PILOT))).claimed
        log = {"logs_x.out": Attachment(data=b"hello\x1b[31m\n")}
        spool.write([Settlement(doc=doc, outcome=_outcome(), attachments=log) for doc in docs])
        pool.reset([pool.get("t2") or {}])
    spool.release()
    return spool


def _outcome() -> Outcome:
    return Outcome(attempt={"fence": 1, "pilot": PILOT})


def _rows(text: str) -> list[tuple[str, str]]:
    return sorted((row.get("id", ""), row["became"]) for row in map(json.loads, text.splitlines()))


def test_nothing_to_recover(picas_here: Cli) -> None:
    answer = picas_here.ok("pilot", "recover")
    assert (answer.out, answer.err) == ("", "no pilot left results here\n")


def test_what_was_left_is_handed_in(picas_here: Cli, left: Spool) -> None:
    dry = picas_here("pilot", "recover", "--dry-run", "-o", "jsonl")
    assert (dry.code, _rows(dry.out)) == (5, [("t1", "accepted"), ("t2", "superseded")])
    assert dry.err == "would be: 1 accepted, 1 superseded\n"

    answer = picas_here("pilot", "recover", "-o", "jsonl")

    assert (answer.code, _rows(answer.out)) == (5, [("t1", "accepted"), ("t2", "superseded")])
    assert picas_here.ok("ls", "done", "-o", "id").out == "t1\n"
    (kept,) = [Path(row["where"]) for row in map(json.loads, answer.out.splitlines()) if row["where"]]
    assert (kept / "logs_x.out").read_bytes() == b"hello\x1b[31m\n"
    assert not left.folder.exists()
    # It is listed from then on, until somebody removes it.
    again = picas_here.ok("pilot", "recover", "-o", "jsonl")
    assert _rows(again.out) == [("t2", "kept")]
    assert "it is todo now" in again.out


def test_the_next_pilot_of_the_machine_hands_it_in(picas_here: Cli) -> None:
    with connect(str(picas_here.folder / "picas.db")) as pool:
        pool.add([{"_id": "t1", "command": "exit 3"}])
        spool = Spool(picas_here.folder / "spool", PILOT, socket.gethostname(), pool.url)
        docs = pool.store.exchange([], Claim(view=View(State.TODO), count=1, claimant=Claimant(pilot=PILOT))).claimed
        spool.write([Settlement(doc=doc, outcome=_outcome()) for doc in docs])
        spool.release()

        answer = picas_here.ok("run")

        assert f"token t1: the result of pilot {PILOT}, which died, was handed in" in answer.err
        assert state_of(pool.get("t1") or {}) is State.DONE
    assert not spool.folder.parent.exists()


def test_another_pool_s_results_are_left(picas_here: Cli, left: Spool) -> None:
    picas_here.ok("--pool", "other.db", "init")
    answer = picas_here.ok("--pool", "other.db", "pilot", "recover", "-o", "jsonl")
    assert _rows(answer.out) == [("", "left")]
    assert "its pool is" in answer.out
    assert left.folder.exists()


def test_a_pool_that_was_moved(picas_here: Cli, left: Spool) -> None:
    picas_here.ok("status")
    for path in picas_here.folder.glob("picas.db*"):
        path.rename(picas_here.folder / path.name.replace("picas.db", "moved.db"))
    assert _rows(picas_here.ok("--pool", "moved.db", "pilot", "recover", "-o", "jsonl").out) == [("", "left")]

    answer = picas_here(
        "--pool", "moved.db", "pilot", "recover", str(picas_here.folder / "spool"), "--any-address", "-o", "jsonl"
    )

    assert (answer.code, _rows(answer.out)) == (5, [("t1", "accepted"), ("t2", "superseded")])
    assert not left.folder.exists()


def test_another_machine_s_living_pilot_is_left(picas_here: Cli, left: Spool) -> None:
    with connect(str(picas_here.folder / "picas.db")) as pool:
        pool.store.beat(PilotRecord(id=PILOT, hostname="there", pid=1, started_at=0.0, lease=60.0))
    answer = picas_here.ok("pilot", "recover", str(left.folder), "-o", "jsonl")
    assert _rows(answer.out) == [("", "left")]
    assert "its pilot lives, the pool says" in answer.out


def test_a_damaged_spool_is_told_and_kept_aside(picas_here: Cli, left: Spool) -> None:
    results = left.folder / RESULTS
    data = bytearray(results.read_bytes())
    data[-10] ^= 1
    results.write_bytes(bytes(data))

    answer = picas_here("pilot", "recover")

    assert answer.code == 1
    assert "damaged" in answer.out
    (place,) = (picas_here.folder / "spool" / "damaged").iterdir()
    assert (place / RESULTS).read_bytes() == bytes(data)
    assert str(place) in answer.err
    # It is not looked at again.
    assert picas_here.ok("pilot", "recover").out == ""


def test_bad_folders(picas_here: Cli, tmp_path: Path) -> None:
    answer = picas_here("pilot", "recover", "nowhere")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "picas: nowhere is no folder")
    rubbish = tmp_path / "rubbish" / "x"
    rubbish.mkdir(parents=True)
    (rubbish / RESULTS).mkdir()
    (tmp_path / "rubbish" / "y").mkdir()
    (tmp_path / "rubbish" / "y" / RESULTS).write_bytes(b"no spool at all")
    (tmp_path / "rubbish" / "z").mkdir()
    (tmp_path / "rubbish" / "z" / "result.json").write_bytes(b"\xff\x1b")
    answer = picas_here("pilot", "recover", str(tmp_path / "rubbish"))
    assert answer.code == 1
    assert "\x1b" not in answer.out
