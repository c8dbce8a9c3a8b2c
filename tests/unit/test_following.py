"""Following a token, with a pool in memory and a pilot whose part is played here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from picas import following
from picas.cli.tailing import harmless
from picas.errors import NothingMatched
from picas.following import Follower, Note, Piece, _place
from picas.lifecycle import Outcome, Reason
from picas.pool import Pool
from picas.stores.base import Attachment, Tail
from picas.stores.memory import MemoryStore
from picas.testing.samples import beat_of, claim_one, put, settle


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(following, "POLL", 0.01)
    monkeypatch.setattr(following, "_DOCUMENT_EVERY", 0.01)
    with Pool(MemoryStore()) as made:
        put(made.store, "a")
        yield made


class Reading(threading.Thread):
    """A thread that follows, and what it found."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(daemon=True)
        self.found: list[Piece | Note] = []
        self._follower = Follower(pool, "a")

    def run(self) -> None:
        for one in self._follower.follow():
            self.found.append(one)

    @property
    def text(self) -> bytes:
        return b"".join(one.data for one in self.found if isinstance(one, Piece) and one.stream == "out")

    @property
    def notes(self) -> list[str]:
        return [one.text for one in self.found if isinstance(one, Note)]

    def until(self, text: bytes = b"", note: str = "") -> None:
        deadline = time.monotonic() + 10
        while not (text in self.text and any(note in one for one in self.notes or [""])):
            assert time.monotonic() < deadline, self.found
            time.sleep(0.005)


def test_tails_are_told_once_and_the_rest_from_the_file(pool: Pool) -> None:
    store = pool.store
    reading = Reading(pool)
    reading.start()
    reading.until(note="waiting for a pilot")
    store.beat(beat_of("p1", live=True))
    doc = claim_one(store)
    reading.until(note="runs on node1, try 1")
    assert store.followed("p1") == {"a"}
    store.send_tails("p1", [Tail(id="a", fence=1, out=b"one\ntwo\n")])
    reading.until(text=b"two\n")
    store.send_tails("p1", [Tail(id="a", fence=1, out=b"two\nthree\n", out_at=4)])
    reading.until(text=b"three\n")
    store.send_tails("p1", [Tail(id="a", fence=1, out=b"six\n", out_at=20)])
    reading.until(text=b"six\n")
    out = Attachment(data=b"one\ntwo\nthree\nxxxxxxsix\nend\n"[:24] + b"end\n")
    settle(store, doc, Outcome(attempt={"fence": 1, "stdout_bytes": 28}), attachments={"logs_a.out": out})
    reading.join(10)

    assert reading.text == b"one\ntwo\nthree\nsix\nend\n"
    assert [note for note in reading.notes if "skipped" in note] == ["... 6 bytes of stdout skipped"]
    assert reading.notes[-1] == "token a is done"


def test_a_stale_pilots_tail_is_not_the_current_attempts(pool: Pool) -> None:
    store = pool.store
    for name in ("p1", "p2"):
        store.beat(beat_of(name, live=True))
    first = claim_one(store, pilot="p1")
    settle(store, first, Outcome(reason=Reason.STOPPED, give_back=True))
    claim_one(store, pilot="p1")
    store.send_tails("p1", [Tail(id="a", fence=1, out=b"stale")])
    reading = Reading(pool)
    reading.start()
    reading.until(note="try 2")
    store.send_tails("p1", [Tail(id="a", fence=2, out=b"fresh")])
    reading.until(text=b"fresh")
    doc = store.get(["a"])[0]
    assert doc is not None
    settle(store, doc)
    reading.join(10)

    assert reading.text == b"fresh"


def test_a_pilot_that_captures_nothing_is_not_asked(pool: Pool) -> None:
    store = pool.store
    store.beat(beat_of("p1"))
    doc = claim_one(store)
    reading = Reading(pool)
    reading.start()
    reading.until(note="with pilot p1, which captures no output")
    assert store.followed("p1") == frozenset()
    settle(store, doc, attachments={"logs_a.out": Attachment(data=b"left\n")})
    reading.join(10)

    assert reading.text == b"left\n"


def test_a_token_that_is_deleted_ends_it(pool: Pool) -> None:
    follower = Follower(pool, "a").follow()
    next(follower)
    pool.delete([pool.get("a") or {}])
    with pytest.raises(NothingMatched):
        list(follower)


@pytest.mark.parametrize(
    ("length", "size", "told", "expected"),
    [
        (100, 100, 0, (0, 0)),
        (100, 100, 40, (40, 0)),
        (100, 100, 100, (100, 0)),
        (100, 1000, 0, (0, 0)),
        (100, 1000, 990, (90, 0)),
        (100, 1000, 500, (75, 475)),
        (100, 1000, 1000, (100, 0)),
    ],
)
def test_where_to_go_on_in_what_was_kept(length: int, size: int, told: int, expected: tuple[int, int]) -> None:
    assert _place(length, size, told) == expected


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    assert harmless("a\tb\x1b[2J\r\nc\x07") == "a\tb\\x1b[2J\\r\nc\\x07"
