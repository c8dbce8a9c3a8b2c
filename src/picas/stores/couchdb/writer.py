"""Writing documents by revision, and finding out what became of a write whose answer was lost."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from picas import tokens
from picas.errors import Conflict, InvalidToken, StoreFailure
from picas.lifecycle import Doc
from picas.stores.couchdb.answers import Unsure, in_a_line
from picas.stores.couchdb.database import Database, TooLarge

__all__ = ["Writer", "Written", "generation", "is_revision", "was_stored"]

_chance = random.SystemRandom()

_PART_BYTES = 8 << 20
_PART_DOCS = 1000
_TRIES = 4
_PAUSE = 0.3

_REVISION = re.compile(r"[1-9][0-9]*-[0-9a-f]{32}")


Written = str | Conflict | InvalidToken
"""What became of a document: its new revision, or why it was not written."""


class Writer:
    """Writes many documents, each in the revision it bears, or as a new one when it bears none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, docs: Sequence[Mapping[str, Any]]) -> list[Written]:
        """The new revision of each, or `Conflict`; the documents have been checked. The second of one id conflicts.

        One that is larger than the server takes is InvalidToken in its place.

        After an answer that was lost the documents are read back, and only what was not stored is written again.
        `Unsure` when the server stays away meanwhile, StoreFailure when it forbids a write.
        """
        answers: list[Written] = [_conflict(doc) for doc in docs]
        first = {doc["_id"]: place for place, doc in reversed(list(enumerate(docs)))}
        places = sorted(first.values())
        for part in _parts([docs[place] for place in places]):
            for place, answer in zip(places, self._write(part), strict=False):
                answers[place] = answer
            places = places[len(part) :]
        return answers

    def _write(self, part: list[tuple[Mapping[str, Any], bytes]]) -> list[Written]:
        try:
            rows = self._database.bulk([text for _, text in part])
        except Unsure as error:
            return self._read_back(part, error)
        except TooLarge as error:
            if len(part) == 1:
                return [InvalidToken(f"token {part[0][0]['_id']}: {error.message}", hint=error.hint)]
            middle = len(part) // 2
            return [*self._write(part[:middle]), *self._write(part[middle:])]
        return [self._answer(doc, row) for (doc, _), row in zip(part, rows, strict=True)]

    def _answer(self, doc: Mapping[str, Any], row: Mapping[str, Any]) -> str | Conflict:
        if "rev" in row and "error" not in row:
            return str(row["rev"])
        if row.get("error") == "conflict":
            return _conflict(doc)
        what = f"{self._database.name}: token {doc['_id']}: {in_a_line(row.get('reason') or row.get('error'))}"
        if row.get("error") in ("forbidden", "unauthorized"):
            raise StoreFailure(
                f"{what}; the database does not allow this write", hint="ask an administrator of the database"
            )
        raise Unsure(what)

    def _read_back(self, part: list[tuple[Mapping[str, Any], bytes]], error: Unsure) -> list[Written]:
        """What became of documents that were sent; those that did not arrive are sent again.

        A first sending may still arrive behind the second, which then conflicts with it: so it is looked again.
        """
        answers: dict[str, str | Conflict] = {}
        left = part
        for failures in range(1, _TRIES + 1):
            time.sleep(_chance.uniform(0.0, _PAUSE * failures))
            missed = self._look(left, answers)
            try:
                rows = self._database.bulk([text for _, text in missed]) if missed else []
            except Unsure as again:
                left, error = missed, again
                continue
            sent = [(one, self._answer(one[0], row)) for one, row in zip(missed, rows, strict=True)]
            answers |= {one[0]["_id"]: rev for one, rev in sent if isinstance(rev, str)}
            left = [one for one, rev in sent if not isinstance(rev, str)]
            if not left:
                return [answers[doc["_id"]] for doc, _ in part]
        raise Unsure(f"{error.message}; what became of a write of {len(left)} documents is not known", hint=error.hint)

    def _look(
        self, part: list[tuple[Mapping[str, Any], bytes]], answers: dict[str, str | Conflict]
    ) -> list[tuple[Mapping[str, Any], bytes]]:
        """Note what was stored, and what somebody else was first to; those that are still as they were."""
        missed = []
        stored = self._database.docs([doc["_id"] for doc, _ in part])
        for (doc, text), now in zip(part, stored, strict=True):
            rev = was_stored(self._database, doc, now)
            if rev is None and (now or {}).get("_rev") == doc.get("_rev"):
                missed.append((doc, text))
            else:
                answers[doc["_id"]] = rev or _conflict(doc)
        return missed


def was_stored(database: Database, sent: Mapping[str, Any], now: Mapping[str, Any] | None) -> str | None:
    """The revision under which a document that was sent came to be stored; None when it was not.

    ``now`` is what is stored at present. Somebody may have changed it since, so that its history is looked at too, as
    far as the server still has it.
    """
    if now is None:
        return sent.get("_rev") if sent.get("_deleted") else None
    if _same(sent, now):
        return str(now["_rev"])
    number = generation(sent.get("_rev")) + 1
    if generation(now["_rev"]) <= number:
        return None
    history = (database.doc(str(sent["_id"]), revs="true") or {}).get("_revisions", {})
    place = history.get("start", 0) - number
    if not 0 <= place < len(history.get("ids", ())):
        return None
    revision = f"{number}-{history['ids'][place]}"
    before = database.doc(str(sent["_id"]), rev=revision)
    return revision if before is not None and _same(sent, before) else None


def generation(revision: object) -> int:
    """The number in front of a revision; 0 of none."""
    return int(revision.partition("-")[0]) if isinstance(revision, str) and is_revision(revision) else 0


def is_revision(revision: object) -> bool:
    """Whether it can be a revision at all: servers take some that cannot for that of a document to be made."""
    return isinstance(revision, str) and _REVISION.fullmatch(revision) is not None


def _same(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether this is what was sent, apart from the revision, and from files, of which only the names are compared."""
    return _content(sent) == _content(stored)


def _content(doc: Mapping[str, Any]) -> Doc:
    kept = {name: value for name, value in doc.items() if name not in ("_rev", "_revisions", "_attachments")}
    return {**kept, "_attachments": sorted(doc.get("_attachments") or ())}


def _parts(docs: Sequence[Mapping[str, Any]]) -> Iterator[list[tuple[Mapping[str, Any], bytes]]]:
    part: list[tuple[Mapping[str, Any], bytes]] = []
    size = 0
    for doc in docs:
        text = tokens.dumps(doc).encode()
        if part and (size + len(text) > _PART_BYTES or len(part) >= _PART_DOCS):
            yield part
            part, size = [], 0
        part.append((doc, text))
        size += len(text)
    if part:
        yield part


def _conflict(doc: Mapping[str, Any]) -> Conflict:
    if "_rev" in doc:
        return Conflict(f"token {doc['_id']} was changed or deleted by somebody else", hint="read it again")
    return Conflict(f"token {doc['_id']} exists already", hint="read it, and update it")
