"""`CouchStore`: the waist's verbs on a CouchDB database. The work is in the modules beside this."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO, Any

from picas import tokens
from picas.errors import Conflict, InvalidToken, NoPool, NoSuchView, StoreUnavailable
from picas.lifecycle import Doc, State, state_of
from picas.selectors import Selector, matches
from picas.stores.base import (
    Beat,
    Capabilities,
    Claim,
    Exchange,
    Loaded,
    Page,
    PilotRecord,
    Problem,
    Settlement,
    TokenStore,
)
from picas.stores.couchdb import bodies, files, loading
from picas.stores.couchdb.address import Address
from picas.stores.couchdb.clock import ServerClock
from picas.stores.couchdb.crowd import Crowd
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.dependents import Dependents, waits
from picas.stores.couchdb.exchange import Exchanger
from picas.stores.couchdb.library import Library
from picas.stores.couchdb.live import Live
from picas.stores.couchdb.pilots import Pilots
from picas.stores.couchdb.queue import Queue
from picas.stores.couchdb.scripts import COMPANION, CONFLICT, INDEX, all_of
from picas.stores.couchdb.server import Server, version_of
from picas.stores.couchdb.transport import Http, Login
from picas.stores.couchdb.waiting import Watcher
from picas.stores.couchdb.writer import Writer, is_revision
from picas.stores.live import LiveVerbs
from picas.stores.steering import Pause
from picas.views import MONITOR, Design, View

__all__ = ["CouchStore"]

_BATCH = 500
_PROMPT = 30.0
_SWEEP_EVERY = 60.0


class CouchStore(LiveVerbs, TokenStore):
    """A pool in a CouchDB database, for any number of pilots anywhere."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        atomic_load=False,
        javascript=True,
        wakes_for_work_only=True,
        strict_order=False,
        kept_counts=True,
        pauses_at_once=False,
        exact_digests=False,
        exact_numbers=False,
        live_output=True,
    )

    def __init__(
        self,
        address: Address,
        login: Login,
        clock: ServerClock,
        info: dict[str, Any],
        version: str,
        crowd: Crowd | None = None,
    ) -> None:
        self.url = address.shown
        copies = (info.get("cluster") or {}).get("n", 1)
        note = f"{version}, {copies} copies" if copies > 1 else version
        self.capabilities = replace(type(self).capabilities, note=note)
        crowd = crowd or Crowd()
        self._opened = address, login, clock, info, version, crowd
        self._clock = clock
        self._http = Http(address, login, clock)
        self._db = Database(self._http)
        self._writer = Writer(self._db)
        # What a pilot asks between its beats does not wait for an index to be built.
        prompt = Database(self._http, view_seconds=_PROMPT)
        self._dependents = Dependents(prompt)
        self._library = Library(self._db)
        self._queue = Queue(prompt, self._library, self._dependents, crowd)
        self._exchanger = Exchanger(self._db, self._queue, self.now, self._dependents.release, crowded=copies > 1)
        self._pilots = Pilots(prompt, self.now, crowd)
        self._live: Live = Live(prompt, self.now, self._pilots)
        self._watcher = Watcher(lambda: Database(Http(address, login, clock)))
        self._swept_at = 0.0
        self.server: Server = Server(self._db, version, info, self._views_changed)

    @classmethod
    def open(cls, address: Address, *, create: bool = False) -> CouchStore:
        """The pool at this address; with ``create`` what is missing of it is made, the database and its views.

        NoPool when there is none, ConfigError when its server lets nobody in by this name and password.
        """
        login, clock = Login(address), ServerClock()
        database = Database(Http(address, login, clock))
        try:
            version = version_of(database)
            info = database.info()
            if create:
                if info is None:
                    database.create()
                Library(database).complete()
                info = database.info()
        finally:
            database.http.close()
        if info is None:
            raise NoPool(f"there is no database {address.shown}", hint="`picas init` makes it")
        return cls(address, login, clock, info, version)

    def now(self) -> float:
        return self._clock.now()

    def put(self, docs: Sequence[Doc], *, as_given: bool = False) -> list[str | Conflict]:
        made = [bodies.new(doc, as_given=as_given) for doc in docs]
        self._queue.forget()
        sent = [doc for doc in made if not isinstance(doc, Conflict)]
        written = iter(self._write(sent))
        return [doc if isinstance(doc, Conflict) else next(written) for doc in made]

    def load(self, docs: Iterable[Doc]) -> Loaded:
        return loading.load(self.put, docs)

    def get(self, ids: Sequence[str]) -> list[Doc | None]:
        found: list[Doc | None] = []
        for start in range(0, len(ids), _BATCH):
            found += self._db.docs(ids[start : start + _BATCH])
        return found

    def update(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        for doc in docs:
            tokens.check_id(doc.get("_id"))
        with_files = [doc["_id"] for doc in docs if doc.get("_attachments")]
        stored = {doc["_id"]: doc.get("_attachments") or {} for doc in self.get(with_files) if doc}
        bodies_ = [bodies.checked(doc, stored.get(doc["_id"], ())) for doc in docs]
        self._queue.forget()
        written = iter(self._write([doc for doc in bodies_ if is_revision(doc.get("_rev"))]))
        return [
            next(written)
            if is_revision(doc.get("_rev"))
            else Conflict(f"token {doc['_id']} was changed or deleted by somebody else", hint="read it again")
            for doc in bodies_
        ]

    def delete(self, docs: Sequence[Doc]) -> list[bool]:
        self._queue.forget()
        known = [{"_id": doc["_id"], "_rev": doc["_rev"]} for doc in docs if is_revision(doc.get("_rev"))]
        written = iter(self._writer.write([{**doc, "_deleted": True} for doc in known]))
        return [is_revision(doc.get("_rev")) and isinstance(next(written), str) for doc in docs]

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        if claim is not None:
            self._watcher.prime()
            claim = None if claim.count and self._pilots.is_paused() else claim
        done = self._exchanger.exchange(settlements, claim)
        if claim is None or not claim.count:
            return done
        if done.claimed:
            self._watcher.stop()
            return done
        if self._watcher.running:
            return done
        # Nothing is there: from now on changes are noticed, and what came just before that is looked for.
        try:
            self._watcher.start()
            more = self._exchanger.exchange([], claim).claimed
        except StoreUnavailable:
            return done
        return Exchange(settled=done.settled, claimed=more)

    def page(
        self, view: View | None, *, after: str | None = None, limit: int = 100, where: Selector | None = None
    ) -> Page:
        found: list[tuple[str, Doc]] = []
        for cursor, doc in self._library.documents(view, after, limit if where is None else _BATCH):
            if where is None or matches(where, doc):
                found.append((cursor, doc))
            if len(found) > limit:
                break
        more = len(found) > limit
        following = found[limit - 1][0] if more and limit > 0 else None
        return Page(docs=[doc for _, doc in found[:limit]], next=following)

    def count(self, design: str = MONITOR.name, where: Selector | None = None) -> dict[State, int]:
        if where is None:
            return self._library.count(design)
        counts = dict.fromkeys(State, 0)
        for state in State:
            view = View(state, design)
            counts[state] = sum(1 for _, doc in self._library.documents(view, None, _BATCH) if matches(where, doc))
        return counts

    def next_ready(self, view: View) -> float | None:
        ready = self._queue.next_ready(view, self.now())
        if ready == 0 or time.monotonic() < self._swept_at + _SWEEP_EVERY:
            return ready
        self._swept_at = time.monotonic()
        return self._queue.next_ready(view, self.now()) if self._dependents.sweep() else ready

    def put_attachment(
        self,
        token_id: str,
        name: str,
        data: IO[bytes],
        *,
        content_type: str = "application/octet-stream",
        fence: int | None = None,
    ) -> str:
        self._queue.forget()
        return files.put(self._db, token_id, name, data, content_type=content_type, fence=fence)

    def get_attachment(self, token_id: str, name: str) -> Iterator[bytes]:
        return files.read(self._db, token_id, name)

    def delete_attachment(self, token_id: str, name: str) -> bool:
        self._queue.forget()
        return files.delete(self._db, token_id, name)

    def beat(self, record: PilotRecord) -> Beat:
        told = self._pilots.beat(record)
        return replace(told, followed=self.followed(record.id)) if told.held and record.live else told

    def pilots(self) -> list[PilotRecord]:
        return self._pilots.listed()

    def order(self, pilot: str, orders: str) -> bool:
        return self._pilots.order(pilot, orders)

    def forget(self, pilot: str) -> None:
        # First what it may hold without knowing, since nobody misses a pilot without a record.
        self._exchanger.give_back()
        self._pilots.forget(pilot)
        self._live.forget(pilot)

    def pause(self, pause: Pause | None) -> None:
        self._pilots.pause(pause)

    def paused(self) -> Pause | None:
        return self._pilots.paused()

    def install(self, design: Design) -> None:
        self._library.install(design)
        self._views_changed()

    def uninstall(self, name: str) -> bool:
        self._views_changed()
        return self._library.uninstall(name)

    def designs(self) -> list[Design]:
        return self._library.designs()

    def wait(self, seconds: float) -> bool:
        return self._watcher.wait(seconds)

    def check(self, *, mend: bool = False) -> list[Problem]:
        problems = self._library.check(mend=mend)
        try:
            conflicts, _ = self._db.view(COMPANION, INDEX, reduce=False, **all_of(CONFLICT))
        except NoSuchView:
            return problems
        return problems + [
            Problem(text=f"token {row['id']} has {row['value']} versions that two servers took at once; one is shown")
            for row in conflicts
        ]

    def findings(self) -> Iterator[tuple[str, str]]:
        return self.server.findings()

    def twin(self) -> CouchStore:
        return CouchStore(*self._opened)

    def drop(self) -> None:
        self._db.drop()
        self.close()

    def close(self) -> None:
        self._watcher.close()
        self._http.close()

    def _views_changed(self) -> None:
        self._queue.forget()
        self._library.forget()

    def _write(self, docs: list[Doc]) -> list[str | Conflict]:
        """Write documents, and let go what waits for nothing after that; the revisions they have in the end."""
        answers: list[str | Conflict] = []
        for answer in self._writer.write(docs) if docs else []:
            if isinstance(answer, InvalidToken):
                raise answer
            answers.append(answer)
        written = [doc for doc, rev in zip(docs, answers, strict=True) if isinstance(rev, str)]
        if done := [doc["_id"] for doc in written if state_of(doc) is State.DONE]:
            self._dependents.release(done)
        waiting = [doc["_id"] for doc in written if waits(doc)]
        revisions = self._dependents.waiting(waiting) if waiting else {}
        return [
            revisions.get(doc["_id"], rev) if isinstance(rev, str) else rev
            for doc, rev in zip(docs, answers, strict=True)
        ]
