"""A pool looked through by the verbs of any store: tokens that nobody will ever take on, files that cannot be read.

What looks wrong in a page that was just read is looked at again before it is told: pilots work meanwhile.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from picas.arrivals import is_importing
from picas.lifecycle import Doc, State, awaited, state_of
from picas.moving import Counter as Count
from picas.moving import Measured, uncounted
from picas.pool import BATCH, Pool
from picas.stores.base import Problem

__all__ = ["Findings", "audit"]

_LEASE = 60.0
"""The least time for which a pilot must have no record before its tokens are given back."""
_LOOKS_PER_LEASE = 6
_SETTLING = 0.5
"""Seconds for which what looks stuck may be on its way: on some stores a step takes two requests."""


@dataclass
class Findings:
    """What is no problem in itself, and how long to wait for pilots."""

    without_lease: int = 0
    """Tokens locked by programs that have none."""
    oldest: tuple[float, str] = (float("inf"), "")
    """The one of them that was locked first: when, and its id."""
    lease: float = 0.0


def audit(
    pool: Pool,
    *,
    mend: bool = False,
    files: bool = True,
    findings: Findings | None = None,
    count: Count[Doc] = uncounted,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Problem]:
    """Look at every token, in flat memory; each problem as it is found, ``mended`` where that was done.

    With ``files`` every attachment is read. To ``mend`` is to let go tokens that wait for nothing any more, and to give
    back those of pilots without a record. A pilot is only taken for gone when it had none for a lease while this
    waited, which ``tell`` hears of.
    """
    yield from _Audit(pool, mend=mend, files=files, findings=findings or Findings(), tell=tell).run(count)


class _Audit:
    def __init__(self, pool: Pool, *, mend: bool, files: bool, findings: Findings, tell: Callable[[str], None]) -> None:
        self._pool = pool
        self._mend = mend
        self._files = files
        self._findings = findings
        self._tell = tell
        self._pilots: set[str] = set()
        self._missing: dict[str, float] = {}
        """Pilots without a record, and since when as seen from here."""

    def run(self, count: Count[Doc]) -> Iterator[Problem]:
        self._look_for_pilots()
        before = self._pool.count()
        seen: Counter[State] = Counter()
        for docs in _pages(self._pool, count):
            seen.update(state for doc in docs if (state := state_of(doc)))
            yield from self._look_at(docs)
        yield from self._miscounted(before, seen)
        if self._mend and self._missing:
            yield from self._give_back()

    def _look_at(self, docs: list[Doc]) -> Iterator[Problem]:
        held = [doc for doc in docs if state_of(doc) is State.HELD]
        yield from self._locked([doc for doc in docs if state_of(doc) is State.LOCKED])
        yield from self._waiting([doc for doc in held if awaited(doc)])
        for doc in docs:
            if is_importing(doc):
                yield Problem(text=f"token {doc['_id']}: its import was cut short; the same import completes it")
            if self._files:
                yield from self._unreadable(doc)

    def _locked(self, docs: list[Doc]) -> Iterator[Problem]:
        suspects = []
        for doc in docs:
            pilot = _pilot_of(doc)
            if pilot is None:
                self._findings.without_lease += 1
                self._findings.oldest = min(self._findings.oldest, (float(doc["lock"]), doc["_id"]))
            elif pilot not in self._pilots:
                suspects.append(doc)
        if not suspects:
            return
        self._look_for_pilots()
        # Read after the pilots: one that has signed off in between has settled its tokens before.
        for doc in self._again(suspects):
            pilot = _pilot_of(doc)
            if state_of(doc) is State.LOCKED and pilot is not None and pilot not in self._pilots:
                if self._mend:
                    self._missing.setdefault(pilot, time.monotonic())
                else:
                    yield Problem(
                        text=f"token {doc['_id']}: it is locked by pilot {pilot}, which has no record, so that nobody "
                        "renews its lease or gives it back"
                    )

    def _waiting(self, docs: list[Doc]) -> Iterator[Problem]:
        stuck = []
        for doc, unmet in self._unmet(docs):
            if not unmet:
                stuck.append(doc)
            for name in (name for name, is_there in unmet.items() if not is_there):
                yield Problem(text=f"token {doc['_id']}: it waits for {name}, which does not exist")
        if not stuck:
            return
        time.sleep(_SETTLING)
        for doc, unmet in self._unmet(self._again(stuck)):
            if state_of(doc) is State.HELD and not unmet:
                mended = self._mend and bool(self._pool.release([doc]).changed)
                yield Problem(text=f"token {doc['_id']}: it is held, and what it waits for is done", mended=mended)

    def _unmet(self, docs: list[Doc]) -> Iterator[tuple[Doc, dict[str, bool]]]:
        """Each token with what it waits for that is not done, and whether that exists."""
        for part in _by_needs(docs):
            names = list(dict.fromkeys(name for doc in part for name in awaited(doc)))
            states: dict[str, tuple[bool, State | None]] = {}
            for start in range(0, len(names), BATCH):
                some = names[start : start + BATCH]
                found = self._pool.store.get(some)
                states |= {name: (doc is not None, state_of(doc or {})) for name, doc in zip(some, found, strict=True)}
            for doc in part:
                needs = {name: states[name] for name in awaited(doc)}
                yield doc, {name: there for name, (there, state) in needs.items() if state is not State.DONE}

    def _unreadable(self, doc: Doc) -> Iterator[Problem]:
        for name, stub in (doc.get("_attachments") or {}).items():
            wrong = self._wrong_with(doc["_id"], name, stub)
            if not wrong:
                continue
            now = self._pool.get(doc["_id"])
            if now is not None and now["_rev"] == doc["_rev"]:
                yield Problem(text=f"token {doc['_id']}: attachment {json.dumps(name)} {wrong}")

    def _wrong_with(self, token_id: str, name: str, stub: Mapping[str, Any]) -> str:
        try:
            read = Measured(self._pool.store.get_attachment(token_id, name))
        except KeyError:
            return "is listed but not there"
        for _ in read:
            pass
        if read.agrees(stub, digests=self._pool.store.capabilities.exact_digests):
            return ""
        length = stub.get("length", read.length)
        return f"has {read.length} bytes of {length}" if read.length != length else "has other bytes than were stored"

    def _miscounted(self, before: Mapping[State, int], seen: Mapping[State, int]) -> Iterator[Problem]:
        """Told only of a pool that stood still meanwhile; the counts of one at work are of no one moment."""
        after = self._pool.count()
        wrong = {state: seen.get(state, 0) for state in State if after[state] != seen.get(state, 0)}
        if not wrong or before != after:
            return
        again = Counter(state for docs in _pages(self._pool, uncounted) for doc in docs if (state := state_of(doc)))
        if again != Counter(seen) or self._pool.count() != after:
            return
        for state, number in wrong.items():
            yield Problem(text=f"{after[state]} tokens are counted as {state}, there are {number}")

    def _give_back(self) -> Iterator[Problem]:
        """Watch for a lease whether the pilots come back, and give back what those hold that do not."""
        lease = self._findings.lease
        until = max(self._missing.values()) + lease
        shown = ", ".join(list(self._missing)[:3]) + (" ..." if len(self._missing) > 3 else "")
        if (left := until - time.monotonic()) > 0:
            self._tell(f"waiting {left:.0f} s to see whether pilots without a record come back: {shown}")
        while self._missing and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, lease / _LOOKS_PER_LEASE))
            self._look_for_pilots()
        self._look_for_pilots()
        for pilot in self._missing:
            report = self._pool.give_back(pilot)
            for token_id in report.changed:
                text = f"token {token_id}: it was locked by pilot {pilot}, which has no record; given back as lost"
                yield Problem(text=text, mended=True)
            for token_id in report.conflicts:
                yield Problem(
                    text=f"token {token_id}: it is locked by pilot {pilot}, which has no record, and keeps changing"
                )

    def _look_for_pilots(self) -> None:
        found = self._pool.pilots()
        self._pilots = {pilot.id for pilot in found}
        self._findings.lease = max([_LEASE, self._findings.lease, *(pilot.lease for pilot in found)])
        for pilot in self._pilots & self._missing.keys():
            del self._missing[pilot]

    def _again(self, docs: list[Doc]) -> list[Doc]:
        return [doc for doc in self._pool.store.get([doc["_id"] for doc in docs]) if doc is not None]


def _pilot_of(doc: Doc) -> str | None:
    """The pilot that holds a locked token under a lease."""
    claim = doc.get("claim")
    pilot = claim.get("pilot") if isinstance(claim, Mapping) and claim.get("at") == doc.get("lock") else None
    return pilot if isinstance(pilot, str) else None


def _by_needs(docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    """Documents in parts that wait for about so many tokens as a request should ask for."""
    part: list[Doc] = []
    size = 0
    for doc in docs:
        part.append(doc)
        size += len(awaited(doc))
        if size >= BATCH:
            yield part
            part, size = [], 0
    if part:
        yield part


def _pages(pool: Pool, count: Count[Doc]) -> Iterator[list[Doc]]:
    page: list[Doc] = []
    for doc in count(pool.documents()):
        page.append(doc)
        if len(page) >= BATCH:
            yield page
            page = []
    if page:
        yield page
