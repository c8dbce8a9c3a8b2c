"""`PostgresStore`: the waist's verbs on one schema. Each is one transaction; the work is in the modules beside this."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO

from picas import tokens
from picas.errors import Conflict, NoSuchView, StoreUnavailable, Unsupported
from picas.lifecycle import Doc, State, awaited, holds, state_of
from picas.selectors import Selector, both, matches, to_postgres
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
from picas.stores.derived import STATES, read, state_number
from picas.stores.inline import stub
from picas.stores.live import LiveVerbs
from picas.stores.postgres import checks, files, loading, rows, schema, server
from picas.stores.postgres.address import Address
from picas.stores.postgres.connection import Database, Sql
from picas.stores.postgres.exchange import Exchanger
from picas.stores.postgres.listening import Watcher
from picas.stores.postgres.live import Live
from picas.stores.postgres.pilots import Pilots
from picas.stores.steering import Pause
from picas.views import MONITOR, Design, View, no_handwritten

__all__ = ["PostgresStore"]

_BATCH = 500
_DESIGNS_BELIEVED = 2.0
"""Seconds for which pilots remember the condition of the view that they claim from."""


class PostgresStore(LiveVerbs, TokenStore):
    """A pool in a schema of a PostgreSQL database, for any number of pilots anywhere."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        atomic_load=True,
        wakes_for_work_only=True,
        kept_counts=True,
        roles=True,
        live_output=True,
        tells_followers=True,
        note="PostgreSQL 14 and later; conditions with ~ are told by Python, not by the server",
    )

    def __init__(self, database: Database) -> None:
        self._db = database
        self.url = database.address.url
        self._exchanger = Exchanger(database)
        self._pilots = Pilots(database)
        self._live = Live(database)
        self.capabilities = replace(type(self).capabilities, tells_followers=not database.address.pooled)
        self._watcher = Watcher(database.address)
        self._known: dict[str, Design] = {}
        self._known_at = 0.0

    @classmethod
    def open(cls, address: Address, *, create: bool = False) -> PostgresStore:
        """The pool at this address; NoPool when there is none, unless it may be made."""
        if create:
            schema.create(address)
        database = Database(address)
        try:
            schema.check_version(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def now(self) -> float:
        return self._db.now()

    def put(self, docs: Sequence[Doc], *, as_given: bool = False) -> list[str | Conflict]:
        def add(sql: Sql) -> dict[str, str]:
            inline = {doc["_id"]: doc["_attachments"] for doc in new if doc.get("_attachments")}
            bare = [{**doc, "_attachments": {}} if doc.get("_attachments") else doc for doc in new]
            revs = rows.add(sql, bare, as_given=as_given)
            for token_id in inline.keys() & revs.keys():
                (text,) = sql.one("SELECT doc::text FROM @tokens WHERE id = %s", token_id)
                stored = read(text)
                with_files = files.take_inline(sql, {**stored, "_attachments": inline[token_id]})
                revs[token_id] = rows.replace(sql, [(state_number(stored), with_files)])[0]["_rev"]
            return revs

        new = [doc for doc in docs if "_rev" not in doc]
        revs = self._db.write(add)
        self._recheck([doc for doc in new if doc.get("_id") in revs])
        answers: list[str | Conflict] = []
        for doc in docs:
            rev = revs.pop(doc["_id"], None) if "_rev" not in doc else None
            answers.append(rev or Conflict(f"token {doc.get('_id')} exists already"))
        return answers

    def load(self, docs: Iterable[Doc]) -> Loaded:
        loaded, held, done = loading.load(self._db, docs)
        for start in range(0, max(len(held), len(done)), _BATCH):
            part = slice(start, start + _BATCH)
            self._db.write(lambda sql, part=part: rows.recheck(sql, held[part], done[part]))  # type: ignore[misc]
        return loaded

    def get(self, ids: Sequence[str]) -> list[Doc | None]:
        found = dict(self._db.rows("SELECT id, doc::text FROM @tokens WHERE id = ANY(%s)", rows.storable(ids)))
        return [read(found[token_id]) if token_id in found else None for token_id in ids]

    def update(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        for doc in docs:
            tokens.check_id(doc.get("_id"))

        def replace(sql: Sql) -> list[str | Conflict]:
            answers: list[str | Conflict] = []
            stored = rows.locked(sql, [doc["_id"] for doc in docs])
            changes: list[tuple[int, Doc]] = []
            for doc in docs:
                old = stored.pop(doc["_id"], None)
                if old is None or old["_rev"] != doc.get("_rev"):
                    answers.append(Conflict(f"token {doc['_id']} was changed or deleted by somebody else"))
                    continue
                new = files.take_inline(sql, doc) if doc.get("_attachments") else doc
                if old.get("_attachments"):
                    files.drop_unlisted(sql, new)
                changes.append((state_number(old), new))
                answers.append(doc["_id"])
            revs = {doc["_id"]: doc["_rev"] for doc in rows.replace(sql, changes)}
            return [revs[answer] if isinstance(answer, str) else answer for answer in answers]

        answers = self._db.write(replace)
        self._recheck([doc for doc, rev in zip(docs, answers, strict=True) if isinstance(rev, str)])
        return answers

    def delete(self, docs: Sequence[Doc]) -> list[bool]:
        def remove(sql: Sql) -> list[bool]:
            stored = rows.locked(sql, [doc["_id"] for doc in docs])
            answers = []
            for doc in docs:
                old = stored.get(doc["_id"])
                answers.append(old is not None and old["_rev"] == doc.get("_rev"))
                if answers[-1]:
                    del stored[doc["_id"]]
            gone = [doc["_id"] for doc, is_current in zip(docs, answers, strict=True) if is_current]
            if gone:
                rows.remove(sql, gone)
            return answers

        return self._db.write(remove)

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        if claim is not None:
            no_handwritten(claim.view)
        selector = self._selector(claim.view.design, believed=True) if claim is not None else None
        done = self._exchanger.exchange(settlements, claim, selector)
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
            more = self._exchanger.exchange([], claim, selector).claimed
        except StoreUnavailable:
            return done
        return Exchange(settled=done.settled, claimed=more)

    def page(
        self, view: View | None, *, after: str | None = None, limit: int = 100, where: Selector | None = None
    ) -> Page:
        no_handwritten(view)
        selector = both(self._selector(view.design) if view else None, where)
        while True:
            docs, after = self._rows_of(view, after, limit, selector)
            # Of rows that only may match, none may have: the next ones then, since an empty page is the last.
            if docs or after is None or not limit:
                return Page(docs=docs, next=after)

    def _rows_of(
        self, view: View | None, after: str | None, limit: int, selector: Selector | None
    ) -> tuple[list[Doc], str | None]:
        """Documents of one look, and where the next begins."""
        condition, values, exact = to_postgres(selector) if selector else ("true", [], True)
        start = rows.behind(after, view) if after else ("true", [])
        order = "rank, seq" if view else "id"
        state = f"state = {STATES[view.state]}" if view else "true"
        query = f"""SELECT id, rank, seq, doc::text FROM @tokens
            WHERE {state} AND {start[0]} AND {condition} ORDER BY {order} LIMIT %s"""
        found = self._db.rows(query, *start[1], *values, limit + 1)
        more, found = len(found) > limit, found[:limit]
        last = found[-1] if found else None
        cursor = None if last is None or not more else {"id": last[0]} if view is None else {"place": last[1:3]}
        docs = [read(row[3]) for row in found]
        kept = docs if exact or selector is None else [doc for doc in docs if matches(selector, doc)]
        return kept, json.dumps(cursor) if cursor is not None else None

    def _all(self, view: View | None, where: Selector | None = None) -> Iterator[Doc]:
        """The documents of all pages."""
        after: str | None = None
        while True:
            page = self.page(view, after=after, limit=_BATCH, where=where)
            yield from page.docs
            if page.next is None:
                return
            after = page.next

    def count(self, design: str = MONITOR.name, where: Selector | None = None) -> dict[State, int]:
        selector = both(self._selector(design), where)
        if selector is None:
            kept = self._db.read(rows.counts)
            return {state: kept[STATES[state]] for state in State}
        condition, values, exact = to_postgres(selector)
        if exact:
            query = f"SELECT state, count(*) FROM @tokens WHERE {condition} GROUP BY state"
            found = dict(self._db.write(lambda sql: sql.rows(query, *values), patience=None))
            return {state: found.get(STATES[state], 0) for state in State}
        tally = Counter(state_of(doc) for doc in self._all(None, selector))
        return {state: tally[state] for state in State}

    def next_ready(self, view: View) -> float | None:
        no_handwritten(view)
        selector = self._selector(view.design)
        condition, values, exact = to_postgres(selector) if selector else ("true", [], True)
        if not exact:
            return self._next_ready_by_python(view)
        waits = "extract(epoch FROM clock_timestamp())::float8"
        query = f"""SELECT CASE WHEN EXISTS (SELECT FROM @tokens WHERE state = 1 AND {condition}
                AND (not_before IS NULL OR not_before <= {waits})) THEN 0
            ELSE (SELECT min(not_before) - {waits} FROM @tokens WHERE state = 1 AND {condition}) END"""
        (soonest,) = self._db.one(query, *values, *values)
        return None if soonest is None else max(0.001, float(soonest)) if soonest else 0.0

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
        _checked(self.get([token_id])[0], token_id, fence)
        file, length, digest = files.write_pending(self._db, data)

        def link(sql: Sql) -> str:
            doc = _checked(rows.locked(sql, [token_id]).get(token_id), token_id, fence)
            files.link(sql, token_id, file, name)
            about = stub(doc["_rev"], content_type, length, digest)
            new = {**doc, "_attachments": {**doc.get("_attachments", {}), name: about}}
            return str(rows.replace(sql, [(state_number(doc), new)], checked=True)[0]["_rev"])

        return self._db.write(link)

    def get_attachment(self, token_id: str, name: str) -> Iterator[bytes]:
        if rows.storable([token_id, name]) != [token_id, name]:
            raise KeyError(name)
        return files.read(self._db, token_id, name)

    def delete_attachment(self, token_id: str, name: str) -> bool:
        def remove(sql: Sql) -> bool:
            doc = rows.locked(sql, [token_id]).get(token_id, {})
            if name not in doc.get("_attachments", {}):
                return False
            files.drop(sql, token_id, name)
            rest = {key: value for key, value in doc["_attachments"].items() if key != name}
            bare = {key: value for key, value in doc.items() if key != "_attachments"}
            rows.replace(sql, [(state_number(doc), {**bare, "_attachments": rest} if rest else bare)], checked=True)
            return True

        return self._db.write(remove)

    def beat(self, record: PilotRecord) -> Beat:
        return self._pilots.beat(record)

    def pilots(self) -> list[PilotRecord]:
        return self._pilots.listed()

    def order(self, pilot: str, orders: str) -> bool:
        return self._pilots.order(pilot, orders)

    def forget(self, pilot: str) -> None:
        # First what it may hold without knowing, since nobody misses a pilot without a record.
        self._exchanger.give_back()
        self._pilots.forget(pilot)

    def pause(self, pause: Pause | None) -> None:
        self._pilots.pause(pause)

    def paused(self) -> Pause | None:
        return self._pilots.paused()

    def install(self, design: Design) -> None:
        if design.javascript is not None:
            raise Unsupported(f"the views of {design.name!r} are in JavaScript, which runs in CouchDB only")
        if design.name == MONITOR.name:
            return
        source = json.dumps(design.selector.source) if design.selector else None
        put = """INSERT INTO @designs (name, selector) VALUES (%s, %s::json)
            ON CONFLICT (name) DO UPDATE SET selector = excluded.selector RETURNING 1"""
        self._db.write(lambda sql: sql.rows(put, design.name, source))
        self._known = {}

    def uninstall(self, name: str) -> bool:
        self._known = {}
        gone = "DELETE FROM @designs WHERE name = %s RETURNING 1"
        return bool(self._db.write(lambda sql: sql.rows(gone, name)))

    def designs(self) -> list[Design]:
        found = self._db.rows("SELECT name, selector::text FROM @designs ORDER BY name")
        return [MONITOR, *(Design.from_source(name, json.loads(text) if text else None) for name, text in found)]

    def wait(self, seconds: float) -> bool:
        return self._watcher.wait(seconds)

    def check(self, *, mend: bool = False) -> list[Problem]:
        return checks.check(self._db, mend=mend)

    def findings(self) -> Iterator[tuple[str, str]]:
        return server.findings(self._db)

    def grant(self, role: str) -> None:
        schema.grant(self._db, role)

    def twin(self) -> PostgresStore:
        return PostgresStore(Database(self._db.address))

    def drop(self) -> None:
        self._watcher.close()
        schema.drop(self._db)
        self.close()

    def close(self) -> None:
        self._watcher.close()
        self._db.close()

    def _selector(self, design: str, *, believed: bool = False) -> Selector | None:
        if design == MONITOR.name:
            return None
        if not (believed and design in self._known and time.monotonic() - self._known_at < _DESIGNS_BELIEVED):
            self._known = {found.name: found for found in self.designs()}
            self._known_at = time.monotonic()
        if design not in self._known:
            names = ", ".join(self._known)
            raise NoSuchView(
                f"pool has no design document {design!r}", hint=f"it has {names}; `picas view add` adds one"
            )
        return self._known[design].selector

    def _recheck(self, docs: Sequence[Doc]) -> None:
        """What was added as waiting, or as done, is looked at again when that can be seen by others."""
        held = [doc["_id"] for doc in docs if awaited(doc)]
        done = [doc["_id"] for doc in docs if state_of(doc) is State.DONE]
        if held or done:
            self._db.write(lambda sql: rows.recheck(sql, held, done))

    def _next_ready_by_python(self, view: View) -> float | None:
        """By reading: for a condition that PostgreSQL cannot tell."""
        now = self.now()
        soonest: float | None = None
        for doc in self._all(view):
            at = doc.get("not_before")
            left = max(0.001, at - now) if isinstance(at, (int, float)) and at > now else 0.0
            soonest = left if soonest is None else min(soonest, left)
            if not soonest:
                break
        return soonest


def _checked(doc: Doc | None, token_id: str, fence: int | None) -> Doc:
    if fence is not None and not holds(doc or {}, fence):
        raise lost(token_id, fence, doc or {})
    if not doc:
        raise Conflict(f"token {token_id} does not exist")
    return doc
