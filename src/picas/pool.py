"""`Pool`: what people and pilots do with a pool, derived from the verbs of its store and written once."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import TracebackType
from typing import Any

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken
from picas.lifecycle import Doc, State, awaited, fence_of, state_of
from picas.selectors import Selector, matches, parse
from picas.staging import staged
from picas.stores import open_store
from picas.stores.base import Loaded, PilotRecord, TokenStore
from picas.stores.steering import Pause
from picas.views import MONITOR, View

__all__ = ["BATCH", "Changed", "Pool", "Selection", "connect"]

BATCH = 500
"""Documents per request where many are changed."""

_ID_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which tokens: by id, of some views, by condition; what is given must all hold. ``everything`` is all tokens."""

    ids: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    where: Selector | None = None
    everything: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing was selected at all."""
        return not (self.ids or self.views or self.where or self.everything)


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What became of a change of many tokens: ids changed, ids for which it makes no sense, ids lost in conflicts.

    Of those changed, ``pending`` still have to be ended by their pilots, which were asked to.
    """

    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)


class Pool:
    """All tokens of a project, in one store. A context manager; belongs to the thread that opened it."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.url = store.url
        self.opened_with: tuple[str, str | None, str] | None = None
        """Address, username and password that `connect` was given, for processes that are to open the same pool."""

    def twin(self) -> Pool:
        """The same pool, opened once more: for another thread, which closes it."""
        twin = Pool(self.store.twin())
        twin.opened_with = self.opened_with
        return twin

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def add(self, docs: Iterable[Mapping[str, Any]], *, key: str | None = None) -> Loaded:
        """Add tokens; those without ``_id`` get one. One that is wrong refuses all.

        Where the store adds all or none (``capabilities.atomic_load``) nothing else can leave some of them either.

        With ``key`` the id comes from that field, so that adding the same again adds nothing. InvalidToken names
        the first document that breaks a rule.
        """
        make = _ids_by_key(key) if key else _fresh_ids()
        new = ({**doc, "_id": doc["_id"] if "_id" in doc else make(doc)} for doc in docs)
        return self.store.load(new if self.store.capabilities.atomic_load else staged(new))

    def get(self, token_id: str) -> Doc | None:
        """The token with this id."""
        return self.store.get([token_id])[0]

    def select(self, selection: Selection) -> Iterator[Doc]:
        """The tokens of a selection, page by page as they are asked for."""
        if selection.ids:
            yield from self._by_id(selection)
        elif selection.views:
            for view in dict.fromkeys(selection.views):
                yield from self._pages(view, selection.where)
        elif not selection.empty:
            yield from (doc for doc in self._pages(None, selection.where) if state_of(doc))

    def documents(self) -> Iterator[Doc]:
        """All that is in the pool, what is no token included, page by page as it is asked for."""
        yield from self._pages(None, None)

    def count(self, design: str = MONITOR.name, where: Selector | None = None) -> dict[State, int]:
        """How many tokens are in each state."""
        return self.store.count(design, where)

    def change(self, docs: Iterable[Doc], event: Callable[[Doc], Doc | None]) -> Changed:
        """Apply an event to tokens, in batches; one that somebody else changed meanwhile is read again.

        The event answers None where it makes no sense; such a token is skipped.
        """
        report = Changed()
        for batch in _batches(docs):
            self._change(batch, event, report)
        return report

    def reset(self, docs: Iterable[Doc]) -> Changed:
        """Put tokens back to todo as good as new. The result of a pilot that still runs one is superseded."""
        return self.change(docs, lambda doc: lifecycle.reset(doc) if state_of(doc) is not State.TODO else None)

    def cancel(self, docs: Iterable[Doc]) -> Changed:
        """End tokens in error, reason cancelled: at once, or when their pilot has ended the command.

        A claim that was made after the token was read is not meant, and is told among the conflicts.
        """
        now, claims, asked, later = self.store.now(), dict[str, int](), dict[str, bool](), set[str]()

        def event(doc: Doc) -> Doc | None:
            if state_of(doc) is State.LOCKED and claims.setdefault(doc["_id"], fence_of(doc)) != fence_of(doc):
                later.add(doc["_id"])
                return None
            if state_of(doc) in (State.DONE, State.ERROR):
                return None
            new = lifecycle.cancel(doc, now)
            asked[doc["_id"]] = lifecycle.is_cancelled(new)
            return new

        report = self.change(docs, event)
        skipped = [token_id for token_id in report.skipped if token_id not in later]
        pending = [token_id for token_id in report.changed if asked[token_id]]
        return replace(report, skipped=skipped, conflicts=[*report.conflicts, *later], pending=pending)

    def hold(self, docs: Iterable[Doc]) -> Changed:
        """Take waiting tokens out of the reach of pilots until they are reset."""
        return self.change(docs, lambda doc: lifecycle.hold(doc) if state_of(doc) is State.TODO else None)

    def prioritize(self, docs: Iterable[Doc], priority: int) -> Changed:
        """Have tokens that have not ended claimed before those of a lower priority; what runs keeps it for a retry."""

        def event(doc: Doc) -> Doc | None:
            is_same = doc.get("priority", 0) == priority
            return None if is_same or state_of(doc) in (State.DONE, State.ERROR) else {**doc, "priority": priority}

        return self.change(docs, event)

    def pause(self, why: str = "", by: str = "") -> None:
        """Have no pilot claim anything until `resume`; what runs goes on."""
        self.store.pause(Pause(by=by or _whoami(), at=self.store.now(), why=why))

    def resume(self) -> None:
        """Let pilots claim again."""
        self.store.pause(None)

    def delete(self, docs: Iterable[Doc]) -> Changed:
        """Delete tokens with their attachments."""
        report = Changed()
        for batch in _batches(docs):
            self._delete(batch, report)
        return report

    def pilots(self) -> list[PilotRecord]:
        """Every pilot that has not signed off."""
        return self.store.pilots()

    def recover(self, pilots: Sequence[PilotRecord] | None = None) -> list[str]:
        """Give back the tokens of pilots that have fallen silent; their ids. Anybody may do this at any time.

        The pilot's record goes last, so that whoever dies on the way leaves the rest to the next. ``pilots`` are those
        that were just looked up.
        """
        given_back, gone = [], set()
        for pilot in self.store.pilots() if pilots is None else pilots:
            if not pilot.lapsed:
                continue
            report = self.give_back(pilot.id)
            given_back += report.changed
            if not report.conflicts:
                gone.add(pilot.id)
        # One that came back meanwhile keeps its record: nobody would miss it if it claimed without one, and died.
        for pilot in self.store.pilots() if gone else ():
            if pilot.id in gone and pilot.lapsed:
                self.store.forget(pilot.id)
        return given_back

    def give_back(self, pilot: str) -> Changed:
        """Give back the tokens of a pilot that is known to be gone, as lost."""
        mine = self._pages(View(State.LOCKED), parse({"claim.pilot": pilot}))
        return self.change(list(mine), lambda doc: self._lose(doc, pilot))

    def release(self, docs: Iterable[Doc]) -> Changed:
        """Let go, of held tokens, those that wait for others all of which are done."""
        return self.change(docs, lambda doc: lifecycle.ready(doc) if self._is_free(doc) else None)

    def is_holding(self, pilots: Sequence[str]) -> bool:
        """Whether any of these pilots holds a token."""
        held = parse({"claim.pilot": {"$in": list(pilots)}})
        return bool(pilots) and bool(self.store.page(View(State.LOCKED), limit=1, where=held).docs)

    def _lose(self, doc: Doc, pilot: str) -> Doc | None:
        if state_of(doc) is not State.LOCKED or (doc.get("claim") or {}).get("pilot") != pilot:
            return None
        return lifecycle.lose(doc, self.store.now())

    def _is_free(self, doc: Doc) -> bool:
        if state_of(doc) is not State.HELD or not (needs := awaited(doc)):
            return False
        return all(state_of(need or {}) is State.DONE for part in _batches(needs) for need in self.store.get(part))

    def _by_id(self, selection: Selection) -> Iterator[Doc]:
        states = {view.state for view in selection.views}
        for ids in _batches(selection.ids):
            for doc in self.store.get(ids):
                if doc is not None and (not states or state_of(doc) in states) and _holds(selection.where, doc):
                    yield doc

    def _pages(self, view: View | None, where: Selector | None) -> Iterator[Doc]:
        after: str | None = None
        while True:
            page = self.store.page(view, after=after, limit=BATCH, where=where)
            yield from page.docs
            if page.next is None:
                return
            after = page.next

    def _change(self, docs: list[Doc], event: Callable[[Doc], Doc | None], report: Changed) -> None:
        for _ in range(5):
            wanted = {doc["_id"]: event(doc) for doc in docs}
            report.skipped.extend(token_id for token_id, new in wanted.items() if new is None)
            news = [new for new in wanted.values() if new is not None]
            answers = self.store.update(news) if news else []
            report.changed.extend(new["_id"] for new, rev in zip(news, answers, strict=True) if isinstance(rev, str))
            missed = [new["_id"] for new, rev in zip(news, answers, strict=True) if isinstance(rev, Conflict)]
            if not missed:
                return
            docs = [doc for doc in self.store.get(missed) if doc is not None]
        report.conflicts.extend(missed)

    def _delete(self, docs: list[Doc], report: Changed) -> None:
        gone = self.store.delete(docs)
        missed = [doc["_id"] for doc, deleted in zip(docs, gone, strict=True) if not deleted]
        again = [doc for doc in self.store.get(missed) if doc is not None] if missed else []
        gone_again = {doc["_id"] for doc, deleted in zip(again, self.store.delete(again), strict=True) if deleted}
        left = {doc["_id"] for doc in again} - gone_again
        report.changed.extend(doc["_id"] for doc in docs if doc["_id"] not in left)
        report.conflicts.extend(left)


def connect(url: str = "picas.db", *, create: bool = False, username: str | None = None, password: str = "") -> Pool:
    """Open the pool at an address; ``create`` makes it when it is not there. ConfigError when there is none."""
    pool = Pool(open_store(url, create=create, username=username, password=password or None))
    pool.opened_with = url, username, password
    return pool


def _whoami() -> str:
    """This user of this machine; by number where users have no names."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _holds(where: Selector | None, doc: Doc) -> bool:
    return where is None or matches(where, doc)


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


def _fresh_ids() -> Callable[[Mapping[str, Any]], str]:
    """Ids that sort by age, are short enough to type, and new: the time and chance, then a number."""
    stamp = time.strftime("%m%d%H%M", time.gmtime())
    prefix = stamp + "".join(random.SystemRandom().choices(_ID_LETTERS, k=4))
    numbers = iter(range(1, 1 << 62))
    return lambda _: f"{prefix}-{next(numbers):06d}"


def _ids_by_key(key: str) -> Callable[[Mapping[str, Any]], str]:
    def make(doc: Mapping[str, Any]) -> str:
        if key not in doc:
            raise InvalidToken(f"there is no field {key!r} to make the id from", hint=f"fields: {', '.join(doc)}")
        return _id_of(doc[key])

    return make


def _id_of(value: object) -> str:
    """A value as an id; by a digest when it cannot be one itself."""
    text = value if isinstance(value, str) else tokens.dumps(value)
    try:
        return tokens.check_id(text)
    except InvalidToken:
        return "key-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
