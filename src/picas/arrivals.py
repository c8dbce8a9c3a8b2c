"""Tokens that arrive with their files: whoever claims one finds all of them there.

A token whose files are small comes in one write with them. Another is held first, with a field ``importing`` that
keeps what it will be, and let go when its last file is there. Who is killed on the way leaves it held; the same import
once more completes it.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from picas import lifecycle, tokens
from picas.errors import Conflict
from picas.lifecycle import Doc, State, state_of
from picas.pool import Pool

__all__ = ["Arrivals", "Moved", "bare", "is_importing"]

_INLINE_BYTES = 256 << 10
"""Files of a token up to this size, all together, come in one write with it."""
_BATCH, _BATCH_BYTES = 200, 4 << 20
_MARK = "importing"
_HIDDEN = ("lock", "after", "hold", _MARK)


@dataclass
class Moved:
    """How many tokens and attachments were moved, and how many tokens were there already."""

    tokens: int = 0
    existing: int = 0
    attachments: int = 0
    left_out: list[str] = field(default_factory=list)
    """Design documents that the pool cannot have."""
    gone: list[str] = field(default_factory=list)
    """Attachments that went away, or tokens that changed, while they were read."""


@dataclass
class _Arriving:
    doc: Doc
    size: int
    files: list[tuple[str, str, IO[bytes]]] = field(default_factory=list)
    begun: bool = False
    present: Mapping[str, int | None] | None = field(default_factory=dict)
    """Files that are there already, and how long they must be for that; None when another token of this id is there."""


class Arrivals:
    """Adds tokens in batches, each followed by its files. `flush` after the last; `close` in any case."""

    def __init__(self, pool: Pool, moved: Moved) -> None:
        self._pool = pool
        self._moved = moved
        self._batch: list[_Arriving] = []
        self._current: _Arriving | None = None
        self._file: IO[bytes] | None = None

    def token(self, doc: Doc) -> None:
        """The next token, which ends the one before."""
        self._end_token()
        if not isinstance(doc, dict):
            raise ValueError("a token is an object")
        doc = {name: value for name, value in doc.items() if name != "_rev"}
        if state_of(doc) is State.LOCKED:
            doc = lifecycle.reset(doc)
        # By itself, so that what is wrong with it is not said of those that came with it.
        tokens.check_id(doc.get("_id"))
        self._current = _Arriving(doc, len(tokens.encode(doc)))

    def piece(self, token_id: str, name: str, data: bytes, content_type: str, *, last: bool) -> None:
        """A piece of a file of the token that came last."""
        if self._current is None or self._current.doc["_id"] != token_id:
            raise ValueError(f"a file of token {token_id!r} does not come after it")
        tokens.check_attachment_name(name)
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(_INLINE_BYTES)  # noqa: SIM115 - closed when it was sent
        self._file.write(data)
        self._current.size += len(data)
        if last:
            self._current.files.append((name, content_type, self._file))
            self._file = None
            if self._current.begun or self._current.size > _INLINE_BYTES:
                self._send_large(self._current)

    def flush(self, *, whole: bool = True) -> None:
        """Add what was gathered; the last token too when it is ``whole``, so that no file of it is still to come."""
        if whole:
            self._end_token()
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            answers = self._pool.store.put([_with_files(one) for one in batch], as_given=True)
            there = [one for one, rev in zip(batch, answers, strict=True) if isinstance(rev, Conflict)]
            added = [one for one, rev in zip(batch, answers, strict=True) if not isinstance(rev, Conflict)]
            self._moved.tokens += len(added)
            self._moved.attachments += sum(len(one.files) for one in added)
            self._meet(there)
        finally:
            for one in batch:
                _close(one)

    def close(self) -> None:
        """Let go of files that were cut."""
        for one in [*self._batch, *([self._current] if self._current else [])]:
            _close(one)
        if self._file is not None:
            self._file.close()

    def _end_token(self) -> None:
        done, self._current = self._current, None
        if done is None:
            return
        if done.begun:
            if done.present is not None:
                self._let_go(done.doc["_id"])
            return
        self._batch.append(done)
        if len(self._batch) >= _BATCH or sum(one.size for one in self._batch) >= _BATCH_BYTES:
            self.flush()

    def _send_large(self, one: _Arriving) -> None:
        """Send the files that are complete, the token before them if it was not sent yet."""
        if not one.begun:
            self.flush(whole=False)
            one.begun = True
            held = _held(one.doc) if state_of(one.doc) else one.doc
            answer = self._pool.store.put([held], as_given=True)[0]
            if isinstance(answer, Conflict):
                self._moved.existing += 1
                one.present = _present(self._pool.get(one.doc["_id"]), one.doc)
            else:
                self._moved.tokens += 1
        self._send_missing(one)

    def _meet(self, there: list[_Arriving]) -> None:
        """Complete tokens that were there already, as far as an import that was cut short left them."""
        self._moved.existing += len(there)
        stored = self._pool.store.get([one.doc["_id"] for one in there]) if there else []
        for one, doc in zip(there, stored, strict=True):
            one.present = _present(doc, one.doc)
            self._send_missing(one)
            if doc is not None and is_importing(doc) and one.present is not None:
                self._let_go(one.doc["_id"])

    def _send_missing(self, one: _Arriving) -> None:
        for name, content_type, file in one.files:
            if one.present is not None and not _is_there(one.present, name, file):
                file.seek(0)
                self._pool.store.put_attachment(one.doc["_id"], name, file, content_type=content_type)
                self._moved.attachments += 1
            file.close()
        one.files = []

    def _let_go(self, token_id: str) -> None:
        """Make the token what it is to be, now that its files are there."""
        self._pool.change((doc for doc in [self._pool.get(token_id)] if doc is not None), _unmarked)


def is_importing(doc: Mapping[str, Any]) -> bool:
    """Whether files of this token are still to come."""
    kept = doc.get(_MARK)
    return isinstance(kept, Mapping) and "lock" in kept and set(kept) <= set(_HIDDEN)


def bare(doc: Doc) -> Doc:
    """What a token says, whichever pool it is in."""
    return {name: value for name, value in doc.items() if name not in ("_rev", "_attachments")}


def _held(doc: Doc) -> Doc:
    """The token out of everybody's reach, and not done either, so that nobody who waits for it is let go too soon."""
    kept = {name: doc[name] for name in _HIDDEN if name in doc}
    rest = {name: value for name, value in doc.items() if name not in _HIDDEN}
    return lifecycle.hold({**rest, _MARK: kept})


def _restored(doc: Doc) -> Doc:
    return {**{name: value for name, value in doc.items() if name not in _HIDDEN}, **doc[_MARK]}


def _unmarked(doc: Doc) -> Doc | None:
    return _restored(doc) if is_importing(doc) else None


def _present(stored: Doc | None, doc: Doc) -> dict[str, int | None] | None:
    """The files of a stored token, if it is the one that arrives; None when it is, or has become, another.

    While it is importing only a file of the right length counts: a server may keep what it got of one that was cut.
    """
    if stored is None:
        return None
    unfinished = is_importing(stored)
    if bare(_restored(stored) if unfinished else stored) != bare(doc):
        return None
    files = stored.get("_attachments") or {}
    return {name: stub.get("length") if unfinished else None for name, stub in files.items()}


def _is_there(present: Mapping[str, int | None], name: str, file: IO[bytes]) -> bool:
    return name in present and present[name] in (None, file.seek(0, os.SEEK_END))


def _with_files(one: _Arriving) -> Doc:
    if not one.files:
        return one.doc
    files = dict(one.doc.get("_attachments") or {})
    for name, content_type, file in one.files:
        file.seek(0)
        files[name] = {"content_type": content_type, "data": base64.b64encode(file.read()).decode()}
    return {**one.doc, "_attachments": files}


def _close(one: _Arriving) -> None:
    for _, _, file in one.files:
        file.close()
