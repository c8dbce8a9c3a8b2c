"""`SqliteStore`: the waist's verbs on one file. Each is one transaction; the work is in the modules beside this."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from picas import tokens
from picas.errors import Conflict, NoSuchView, Unsupported, UsageError
from picas.lifecycle import Doc, State, holds, state_of
from picas.selectors import Selector, both, to_sql
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
    lost,
)
from picas.stores.derived import STATES, read
from picas.stores.inline import stub
from picas.stores.live import Tail
from picas.stores.sqlite import checks, exchange, files, live, loading, pilots, rows
from picas.stores.sqlite.connection import SQLITE_VERSION, Database, Sql
from picas.stores.steering import Pause
from picas.views import MONITOR, Design, View, no_handwritten

__all__ = ["SqliteStore"]

_LOOK_EVERY = 0.04
"""Seconds between looks at the file's change counter while waiting; a look costs some microseconds."""


class SqliteStore(TokenStore):
    """A pool in one file, for any number of processes of one machine."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        atomic_load=True,
        local=True,
        live_output=True,
        tells_followers=True,
        note=f"SQLite {SQLITE_VERSION}; one machine; not on network file systems",
    )

    def __init__(self, database: Database) -> None:
        self._db = database
        self.url = str(database.path)
        self._designs: dict[str, Design] = {}
        self._designs_at = -1
        self._watcher = _Watcher(database.path)
        self._called = live.Called()

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> SqliteStore:
        """The pool in this file; ConfigError when there is none, unless it may be made."""
        return cls(Database(Path(path).absolute(), create=create))

    def now(self) -> float:
        return time.time()

    def put(self, docs: Sequence[Doc], *, as_given: bool = False) -> list[str | Conflict]:
        answers: list[str | Conflict] = []
        with self._db.transaction() as sql:
            for doc in docs:
                inline = doc.get("_attachments")
                bare = {**doc, "_attachments": {}} if inline else doc
                rev = rows.add(sql, bare, as_given=as_given) if "_rev" not in doc else None
                answers.append(rev or Conflict(f"token {doc.get('_id')} exists already"))
                if rev and inline:
                    answers[-1] = self._attach_inline(sql, doc)
        return answers

    def load(self, docs: Iterable[Doc]) -> Loaded:
        return loading.load(self._db, docs)

    def get(self, ids: Sequence[str]) -> list[Doc | None]:
        found = [self._db.one("SELECT doc FROM tokens WHERE id=?", token_id) for token_id in ids]
        return [read(row[0]) if row else None for row in found]

    def update(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        answers: list[str | Conflict] = []
        with self._db.transaction() as sql:
            for doc in docs:
                tokens.check_id(doc.get("_id"))
                row = _current(sql, doc)
                if row is None:
                    answers.append(Conflict(f"token {doc['_id']} was changed or deleted by somebody else"))
                    continue
                seq, old = row
                new = files.take_inline(sql, seq, doc, self.now())
                files.drop_unlisted(sql, seq, new)
                answers.append(rows.replace(sql, seq, state_of(old), new)["_rev"])
        return answers

    def delete(self, docs: Sequence[Doc]) -> list[bool]:
        answers = []
        with self._db.transaction() as sql:
            for doc in docs:
                row = _current(sql, doc)
                answers.append(row is not None)
                if row is not None:
                    rows.remove(sql, row[0])
        return answers

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        if claim is not None:
            no_handwritten(claim.view)
            self._watcher.prime()
        if not settlements and claim is not None and self.next_ready(claim.view) != 0:
            return Exchange(settled=[], claimed=[])
        claimed: list[Doc] = []
        with self._db.transaction() as sql:
            now = self.now()
            settled = exchange.settle(sql, settlements, now)
            if claim is not None:
                claimed = exchange.claim(sql, claim, self._selector(claim.view.design), now)
        return Exchange(settled=settled, claimed=claimed)

    def page(
        self, view: View | None, *, after: str | None = None, limit: int = 100, where: Selector | None = None
    ) -> Page:
        no_handwritten(view)
        selector = both(self._selector(view.design) if view else None, where)
        condition, values = to_sql(selector, "doc") if selector else ("1", [])
        state = "state=?" if view else "state>=?"
        order = "(rank, seq) > (?, ?)" if view else "seq > ?"
        query = f"""SELECT rank, seq, doc FROM tokens WHERE {state} AND {order} AND {condition}
                    ORDER BY {"rank, seq" if view else "seq"} LIMIT ?"""
        found = self._db.rows(query, STATES[view.state] if view else 0, *_place(after, view), *values, limit + 1)
        more = len(found) > limit
        cursor = f"{found[limit - 1][0]}:{found[limit - 1][1]}" if more and limit > 0 else None
        return Page(docs=[read(text) for _, _, text in found[:limit]], next=cursor)

    def count(self, design: str = MONITOR.name, where: Selector | None = None) -> dict[State, int]:
        selector = both(self._selector(design), where)
        condition, values = to_sql(selector, "doc") if selector else ("1", [])
        query = f"SELECT state, count(*) FROM tokens WHERE {condition} GROUP BY state"
        found = dict(self._db.rows(query, *values))
        return {state: found.get(STATES[state], 0) for state in State}

    def next_ready(self, view: View) -> float | None:
        no_handwritten(view)
        selector = self._selector(view.design)
        condition, values = to_sql(selector, "doc") if selector else ("1", [])
        base = f"FROM tokens WHERE state=1 AND {condition}"
        now = self.now()
        ready = f"SELECT 1 {base} AND (not_before IS NULL OR not_before <= ?) LIMIT 1"
        if self._db.one(ready, *values, now):
            return 0.0
        (soonest,) = self._db.one(f"SELECT min(not_before) {base}", *values)
        return None if soonest is None else max(0.001, soonest - now)

    def put_attachment(
        self,
        token_id: str,
        name: str,
        data: IO[bytes],
        *,
        content_type: str = "application/octet-stream",
        fence: int | None = None,
    ) -> str:
        tokens.check_attachment_name(name)
        self._check_fence(self._db.one("SELECT doc FROM tokens WHERE id=?", token_id), token_id, fence)
        file, length, digest = files.write_pending(self._db, data, self.now())
        with self._db.transaction() as sql:
            row = sql.execute("SELECT doc, seq FROM tokens WHERE id=?", (token_id,)).fetchone()
            doc = self._check_fence(row, token_id, fence)
            new = files.link(sql, row[1], doc, file, name, stub(doc.get("_rev"), content_type, length, digest))
            return str(rows.replace(sql, row[1], state_of(doc), new, checked=True)["_rev"])

    def get_attachment(self, token_id: str, name: str) -> Iterator[bytes]:
        return files.read(self._db, token_id, name)

    def delete_attachment(self, token_id: str, name: str) -> bool:
        with self._db.transaction() as sql:
            row = sql.execute("SELECT doc, seq FROM tokens WHERE id=?", (token_id,)).fetchone()
            doc = read(row[0]) if row else {}
            if name not in doc.get("_attachments", {}):
                return False
            rows.replace(sql, row[1], state_of(doc), files.detach(sql, row[1], doc, name), checked=True)
        return True

    def beat(self, record: PilotRecord) -> Beat:
        with self._db.transaction() as sql:
            told = pilots.beat(sql, record)
        return replace(told, followed=self.followed(record.id)) if told.held else told

    def pilots(self) -> list[PilotRecord]:
        return pilots.listed(self._db)

    def order(self, pilot: str, orders: str) -> bool:
        with self._db.transaction() as sql:
            return bool(sql.execute("UPDATE pilots SET orders=? WHERE id=? RETURNING 1", (orders, pilot)).fetchone())

    def forget(self, pilot: str) -> None:
        with self._db.transaction() as sql:
            sql.execute("DELETE FROM pilots WHERE id=?", (pilot,))
            live.forget(sql, pilot)

    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        with self._db.transaction() as sql:
            return live.follow(sql, pilot, token_id, seconds)

    def has_followers(self, pilot: str) -> bool:
        return self._called.look(self._db, pilot)

    def followed(self, pilot: str) -> frozenset[str]:
        return live.followed(self._db, pilot)

    def send_tails(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        with self._db.transaction() as sql:
            live.send(sql, pilot, tails)
        return self.followed(pilot)

    def tails(self, pilot: str) -> list[Tail]:
        return live.tails(self._db, pilot)

    def pause(self, pause: Pause | None) -> None:
        with self._db.transaction() as sql:
            pilots.pause(sql, pause)

    def paused(self) -> Pause | None:
        return pilots.paused(self._db)

    def install(self, design: Design) -> None:
        if design.javascript is not None:
            raise Unsupported(f"the views of {design.name!r} are in JavaScript, which runs in CouchDB only")
        if design.name == MONITOR.name:
            return
        source = json.dumps(design.selector.source) if design.selector else None
        with self._db.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO designs (name, selector) VALUES (?, ?)", (design.name, source))
        self._designs_at = -1

    def uninstall(self, name: str) -> bool:
        with self._db.transaction() as sql:
            found = sql.execute("DELETE FROM designs WHERE name=? RETURNING 1", (name,)).fetchone()
        self._designs_at = -1
        return found is not None

    def designs(self) -> list[Design]:
        version = self._db.one("PRAGMA data_version")[0]
        if version != self._designs_at:
            found = self._db.rows("SELECT name, selector FROM designs ORDER BY name")
            made = [Design.from_source(name, json.loads(text) if text else None) for name, text in found]
            self._designs = {design.name: design for design in [MONITOR, *made]}
            self._designs_at = version
        return list(self._designs.values())

    def wait(self, seconds: float) -> bool:
        return self._watcher.wait(seconds)

    def check(self, *, mend: bool = False) -> list[Problem]:
        return checks.check(self._db, mend=mend)

    def twin(self) -> SqliteStore:
        return SqliteStore.open(self._db.path)

    def drop(self) -> None:
        with self._db.transaction():
            for ending in ("", "-wal", "-shm", "-lock"):
                Path(f"{self._db.path}{ending}").unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        self._watcher.close()
        self._db.close()

    def _selector(self, design: str) -> Selector | None:
        if design == MONITOR.name:
            return None
        self.designs()
        if design not in self._designs:
            names = ", ".join(self._designs)
            raise NoSuchView(
                f"pool has no design document {design!r}", hint=f"it has {names}; `picas view add` adds one"
            )
        return self._designs[design].selector

    def _attach_inline(self, sql: Sql, doc: Doc) -> str:
        seq, text = sql.execute("SELECT seq, doc FROM tokens WHERE id=?", (doc["_id"],)).fetchone()
        stored = read(text)
        new = files.take_inline(sql, seq, {**stored, "_attachments": doc["_attachments"]}, self.now())
        return str(rows.replace(sql, seq, state_of(stored), new)["_rev"])

    def _check_fence(self, row: Any, token_id: str, fence: int | None) -> Doc:
        doc = read(row[0]) if row else {}
        if fence is not None and not holds(doc, fence):
            raise lost(token_id, fence, doc)
        if not doc:
            raise Conflict(f"token {token_id} does not exist")
        return doc


class _Watcher:
    """A connection of its own that sees when anybody commits; for `SqliteStore.wait`, in whatever thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: Database | None = None
        self._guard = threading.Lock()
        self._closed = False
        self._seen: int | None = None

    def wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._changed():
            left = until - time.monotonic()
            if left <= 0 or self._closed:
                return False
            time.sleep(min(_LOOK_EVERY, left))
        return True

    def prime(self) -> None:
        """Take note of how things are, before the first look for work, so that no later change is missed."""
        if self._seen is None:
            self._changed()

    def close(self) -> None:
        with self._guard:
            self._closed = True
            if self._db is not None:
                self._db.close()
                self._db = None

    def _changed(self) -> bool:
        with self._guard:
            if self._closed:
                return False
            if self._db is None:
                self._db = Database(self._path)
            version = self._db.one("PRAGMA data_version")[0]
        seen, self._seen = self._seen, version
        return seen is not None and seen != version


def _current(sql: Sql, doc: Doc) -> tuple[int, Doc] | None:
    """The row of a document whose revision is current, and the document as stored."""
    row = sql.execute("SELECT seq, doc FROM tokens WHERE id=? AND rev=?", (doc["_id"], doc.get("_rev"))).fetchone()
    return (row[0], read(row[1])) if row else None


def _place(after: str | None, view: View | None) -> list[int]:
    """Where to go on after a cursor, ``rank:seq``."""
    found = re.fullmatch("(-?[0-9]{1,18}):([0-9]{1,18})", after) if after else None
    if after and found is None:
        raise UsageError(f"{after!r:.80} is no cursor of this store")
    rank, seq = (int(found[1]), int(found[2])) if found else (-(1 << 62), -1)
    return [rank, seq] if view else [seq]
