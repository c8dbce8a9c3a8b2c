"""Following a token: what its command writes, while it runs and to the end, each byte once and in order.

It goes from attempt to attempt, and ends when the token is done or failed. What could not be seen is told as a gap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from picas.errors import NothingMatched
from picas.lifecycle import Doc, State, fence_of, state_of
from picas.pool import Pool
from picas.stores.base import PilotRecord, Tail
from picas.tokens import log_names

__all__ = ["Follower", "Note", "Piece"]

POLL = 0.5
"""Seconds between looks at what the pilot sent."""
_DOCUMENT_EVERY = 1.5
_ASK_EVERY = 4.0
_ASK_FOR = 15.0
_LOOK_FOR_SILENT = 10.0
_MISSED = 30.0
"""Seconds after which a pilot that sent nothing of a token is taken to have too many to send."""

STREAMS = ("out", "err")


@dataclass(frozen=True)
class Piece:
    """Bytes of a stream, ``out`` or ``err``."""

    stream: str
    data: bytes


@dataclass(frozen=True)
class Note:
    """What there is to say to whoever follows."""

    text: str


@dataclass
class _Attempt:
    """One attempt at a token: whose it is, and how far each stream has been told."""

    fence: int
    pilot: str
    live: bool = False
    begun_at: float = field(default_factory=time.monotonic)
    is_heard: bool = False
    told: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))

    def pieces(self, tail: Tail) -> Iterator[Piece | Note]:
        """What is new in a tail."""
        for stream, at, data in (("out", tail.out_at, tail.out), ("err", tail.err_at, tail.err)):
            if at > self.told[stream]:
                yield Note(f"... {at - self.told[stream]:,} bytes of std{stream} skipped")
                self.told[stream] = at
            if new := data[self.told[stream] - at :]:
                yield Piece(stream, new)
                self.told[stream] += len(new)


class Follower:
    """Follows one token with streams of one or both names."""

    def __init__(self, pool: Pool, token_id: str, streams: tuple[str, ...] = STREAMS) -> None:
        self._pool = pool
        self._store = pool.store
        self._id = token_id
        self._streams = streams
        self._attempt: _Attempt | None = None
        self._said = ""
        self._asked_at = self._read_at = 0.0
        self._silent_at = time.monotonic() + _LOOK_FOR_SILENT
        self.is_over = False
        """Whether the token is done or failed, and all has been told."""

    @property
    def attempt(self) -> int | None:
        """The number of the attempt that is followed; None between two of them."""
        return self._attempt.fence if self._attempt is not None else None

    def follow(self) -> Iterator[Piece | Note]:
        """All there is to come, waiting for it; NothingMatched when there is no such token (any more)."""
        while True:
            yield from self.look()
            if self.is_over:
                return
            time.sleep(POLL)

    def look(self, pool: Pool | None = None) -> Iterator[Piece | Note]:
        """What is new since the last look, without waiting; through another handle on the pool, if one is given."""
        if pool is not None:
            self._pool, self._store = pool, pool.store
        for found in self._new():
            if isinstance(found, Note) or found.stream in self._streams:
                yield found

    def _new(self) -> Iterator[Piece | Note]:
        doc = self._read()
        if doc is not None:
            yield from self._note_change(doc)
            if state_of(doc) in (State.DONE, State.ERROR):
                self.is_over = True
                return
        if self._attempt is not None and self._attempt.live:
            yield from self._listen(self._attempt)

    def _read(self) -> Doc | None:
        """The token, when it is time to look at it."""
        now = time.monotonic()
        if now < self._read_at:
            return None
        self._read_at = now + _DOCUMENT_EVERY
        if now > self._silent_at:
            # Else a token whose pilot died would be waited for until somebody else looks.
            self._silent_at = now + _LOOK_FOR_SILENT
            self._pool.recover()
        doc = self._pool.get(self._id)
        if doc is None:
            raise NothingMatched(f"there is no token {self._id} in {self._pool.url}")
        return doc

    def _note_change(self, doc: Doc) -> Iterator[Piece | Note]:
        state, attempt = state_of(doc), self._attempt
        is_same = state is State.LOCKED and attempt is not None and attempt.fence == fence_of(doc)
        if is_same:
            return
        if attempt is not None:
            self._attempt = None
            yield from self._rest(doc, attempt)
            yield Note(_ending(doc, attempt))
        elif state in (State.DONE, State.ERROR):
            yield from self._rest(doc, _Attempt(fence_of(doc), ""))
        if state is State.LOCKED:
            yield from self._begin(doc)
        elif state in (State.TODO, State.HELD):
            yield from self._say(f"token {self._id} is {state}; waiting for a pilot to claim it")

    def _begin(self, doc: Doc) -> Iterator[Note]:
        """Another attempt: ask its pilot for what it writes."""
        self._said, self._asked_at = "", 0.0
        claim: dict[str, Any] = doc.get("claim") or {}
        attempt = self._attempt = _Attempt(fence_of(doc), str(claim.get("pilot", "")))
        record = next((one for one in self._store.pilots() if one.id == attempt.pilot), None)
        attempt.live = record is not None and record.live and self._store.capabilities.live_output
        yield Note(_beginning(self._id, attempt, doc, record))

    def _listen(self, attempt: _Attempt) -> Iterator[Piece | Note]:
        """What the pilot has sent; and have it go on."""
        now = time.monotonic()
        if now >= self._asked_at + _ASK_EVERY:
            self._asked_at = now
            self._store.follow(attempt.pilot, self._id, _ASK_FOR)
        tails = self._store.tails(attempt.pilot)
        for tail in tails:
            if (tail.id, tail.fence) == (self._id, attempt.fence):
                attempt.is_heard = True
                yield from attempt.pieces(tail)
        if tails and not attempt.is_heard and now > attempt.begun_at + _MISSED:
            yield from self._say(
                f"pilot {attempt.pilot} sends what {len(tails)} other tokens write, and can send no more"
            )

    def _rest(self, doc: Doc, attempt: _Attempt) -> Iterator[Piece | Note]:
        """What the attempt left as files, from where it was told."""
        last = (doc.get("attempts") or [{}])[-1]
        has_ended = state_of(doc) in (State.DONE, State.ERROR)
        if attempt.fence != (fence_of(doc) if has_ended else last.get("fence")):
            return  # what lies there is of another attempt
        for stream, name in zip(STREAMS, log_names(self._id), strict=True):
            stub = (doc.get("_attachments") or {}).get(name)
            if stub is None:
                continue
            size = int(last.get(f"std{stream}_bytes", stub.get("length", 0)))
            skip, missing = _place(int(stub.get("length", 0)), size, attempt.told[stream])
            if missing:
                yield Note(f"... {missing:,} bytes of std{stream} skipped")
            for chunk in self._store.get_attachment(self._id, name):
                if new := chunk[skip:]:
                    yield Piece(stream, new)
                skip = max(0, skip - len(chunk))

    def _say(self, text: str) -> Iterator[Note]:
        if text != self._said:
            self._said = text
            yield Note(text)


def _place(length: int, size: int, told: int) -> tuple[int, int]:
    """Where to go on in a file of a stream of which so much was told; and how much is missing before that.

    A file shorter than the stream has both ends of it, and in its last quarter nothing is left out.
    """
    if length == size or told == 0:
        return min(told, length), 0
    whole = min(size - told, length // 4)
    return length - max(0, whole), max(0, size - told - whole)


def _beginning(token_id: str, attempt: _Attempt, doc: Doc, record: PilotRecord | None) -> str:
    where = f"token {token_id} runs on {doc.get('hostname') or 'a machine that it does not name'}, try {attempt.fence}"
    if attempt.live:
        return where
    if record is None:
        return f"{where}, with a program that sends no output; what it leaves is shown at its end"
    return f"{where}, with pilot {record.id}, which captures no output; what it leaves is shown at its end"


def _ending(doc: Doc, attempt: _Attempt) -> str:
    """How an attempt ended, in words."""
    state = state_of(doc)
    last = (doc.get("attempts") or [{}])[-1]
    reason = last.get("reason") if last.get("fence") == attempt.fence else None
    if state is State.DONE:
        return f"token {doc['_id']} is done"
    if state is State.ERROR:
        return f"token {doc['_id']} failed: {doc.get('reason') or reason or 'error'}, exit code {doc.get('exit_code')}"
    return f"try {attempt.fence} of token {doc['_id']} is over ({reason or 'it was given back, or its pilot was lost'})"
