"""Adding any number of documents, in batches."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from picas import tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc
from picas.stores.base import Loaded

__all__ = ["load"]

_BATCH = 1000


def load(put: Callable[[list[Doc]], list[str | Conflict]], docs: Iterable[Doc]) -> Loaded:
    """Add all documents that are new. InvalidToken for one that is refused, or an id that comes twice.

    What came in batches before it has been added then; added again, it counts as existing.
    """
    added = existing = 0
    ids = _Ids()
    for batch in _batches(docs):
        ids.note(batch)
        answers = put(batch)
        refused = [doc["_id"] for doc, answer in zip(batch, answers, strict=True) if isinstance(answer, Conflict)]
        added += len(batch) - len(refused)
        existing += len(refused)
        ids.check(refused)
    return Loaded(added=added, existing=existing)


class _Ids:
    """The ids so far, eight bytes each: enough to tell whether one that was there already had come before."""

    def __init__(self) -> None:
        self._digests = array("Q")

    def note(self, batch: list[Doc]) -> None:
        """Take in a batch; an id that stands in it twice is InvalidToken, and nothing of it is added."""
        seen: set[str] = set()
        for doc in batch:
            token_id = tokens.check_id(doc.get("_id"))
            if token_id in seen:
                raise _twice(token_id)
            seen.add(token_id)
        self._digests.extend(map(_digest, seen))

    def check(self, existing: list[str]) -> None:
        """InvalidToken when one of these ids came twice."""
        if not existing:
            return
        wanted = {_digest(token_id): token_id for token_id in existing}
        seen: set[int] = set()
        for digest in self._digests:
            if digest in wanted:
                if digest in seen:
                    raise _twice(wanted[digest])
                seen.add(digest)


def _batches(docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    source = iter(docs)
    while batch := [{name: value for name, value in doc.items() if name != "_rev"} for doc in islice(source, _BATCH)]:
        for doc in batch:
            if "_attachments" in doc:
                raise InvalidToken(f"token {doc.get('_id')}: attachments are added one by one, not with the tokens")
        yield batch


def _digest(token_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(token_id.encode(), digest_size=8).digest(), "little")


def _twice(token_id: str) -> InvalidToken:
    return InvalidToken(f"id {token_id!r} stands twice in the input")
