"""The pool in memory: the reference for what every store does, and a store for tests and notebooks."""

from __future__ import annotations

import copy
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import IO

from picas import lifecycle, tokens
from picas.errors import Conflict, InvalidToken, Unsupported, UsageError
from picas.lifecycle import Doc, State
from picas.selectors import Selector
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
from picas.stores.live import Tail, asking, still_asking
from picas.stores.memory.state import Pool
from picas.stores.steering import Pause
from picas.views import MONITOR, Design, View

__all__ = ["MemoryStore"]

_CHUNK_BYTES = 256 * 1024


class MemoryStore(TokenStore):
    """A pool that lives as long as its process. Threads may share one handle; ``clock`` is the store's time."""

    capabilities = Capabilities(
        durable=False,
        shared=False,
        atomic_load=True,
        local=True,
        live_output=True,
        tells_followers=True,
        note="gone when the process ends",
    )
    url = "memory:"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._pool = Pool(clock)
        self._seen = 0
        self._closed = False

    def now(self) -> float:
        return self._pool.clock()

    def put(self, docs: Sequence[Doc], *, as_given: bool = False) -> list[str | Conflict]:
        with self._pool.step():
            return [self._pool.add(doc, as_given=as_given) for doc in docs]

    def load(self, docs: Iterable[Doc]) -> Loaded:
        # Copied at once: an iterator may yield one dict again and again. An exported document has a revision.
        drafts = [copy.deepcopy({name: value for name, value in doc.items() if name != "_rev"}) for doc in docs]
        if twice := [token_id for token_id, n in Counter(doc.get("_id") for doc in drafts).items() if n > 1]:
            raise InvalidToken(f"id {twice[0]!r} stands twice in the input")
        answers = self.put(drafts)
        added = sum(isinstance(answer, str) for answer in answers)
        return Loaded(added=added, existing=len(answers) - added)

    def get(self, ids: Sequence[str]) -> list[Doc | None]:
        with self._pool.step():
            rows = [self._pool.rows.get(token_id) for token_id in ids]
            return [row.copy() if row else None for row in rows]

    def update(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        with self._pool.step():
            return [self._pool.change(doc) for doc in docs]

    def delete(self, docs: Sequence[Doc]) -> list[bool]:
        with self._pool.step():
            return [self._pool.remove(doc) for doc in docs]

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None = None) -> Exchange:
        with self._pool.step():
            settled = [self._pool.settle(one) for one in settlements]
            claimed = self._pool.claim(claim) if claim else []
            if claim:
                self._seen = self._pool.sequence
        return Exchange(settled=settled, claimed=claimed)

    def page(
        self, view: View | None, *, after: str | None = None, limit: int = 100, where: Selector | None = None
    ) -> Page:
        place = _place(after)
        with self._pool.step():
            rows = (row for row in self._pool.select(view, where) if row.place > place)
            found = list(islice(rows, limit + 1))
        docs = [row.copy() for row in found[:limit]]
        return Page(docs=docs, next=str(found[limit - 1].place) if len(found) > limit else None)

    def count(self, design: str = "Monitor", where: Selector | None = None) -> dict[State, int]:
        with self._pool.step():
            return {state: sum(1 for _ in self._pool.select(View(state, design), where)) for state in State}

    def next_ready(self, view: View) -> float | None:
        with self._pool.step():
            now = self._pool.clock()
            return min((max(0.0, row.not_before - now) for row in self._pool.waiting_in(view)), default=None)

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
        content = b"".join(_chunks(data))
        with self._pool.step():
            row = self._pool.rows.get(token_id)
            if fence is not None and not (row and lifecycle.holds(row.doc, fence)):
                raise lost(token_id, fence, row.doc if row else {})
            if row is None:
                raise Conflict(
                    f"token {token_id} does not exist", hint="an attachment belongs to a token; put it first"
                )
            return self._pool.write(row.doc, {name: (content_type, content)}).revision

    def get_attachment(self, token_id: str, name: str) -> Iterator[bytes]:
        with self._pool.step():
            row = self._pool.rows.get(token_id)
            if row is None or name not in row.files:
                raise KeyError(name)
            return _chunks(io.BytesIO(row.files[name].data))

    def delete_attachment(self, token_id: str, name: str) -> bool:
        with self._pool.step():
            row = self._pool.rows.get(token_id)
            if row is None or name not in row.files:
                return False
            stubs = {key: stub for key, stub in row.doc["_attachments"].items() if key != name}
            self._pool.write({**row.doc, "_attachments": stubs})
            return True

    def beat(self, record: PilotRecord) -> Beat:
        with self._pool.step():
            orders = self._pool.heard(record)
            mine = [row.doc for row in self._pool.held_by(record.id)]
        held = {doc["_id"]: lifecycle.fence_of(doc) for doc in mine}
        cancelled = frozenset(doc["_id"] for doc in mine if lifecycle.is_cancelled(doc))
        return Beat(held=held, cancelled=cancelled, orders=orders, followed=self.followed(record.id))

    def pilots(self) -> list[PilotRecord]:
        with self._pool.step():
            now = self._pool.clock()
            return [replace(record, silent=max(0.0, now - at)) for record, at in self._pool.pilots.values()]

    def order(self, pilot: str, orders: str) -> bool:
        with self._pool.step():
            if pilot not in self._pool.pilots:
                return False
            record, heard_at = self._pool.pilots[pilot]
            self._pool.pilots[pilot] = replace(record, orders=orders), heard_at
            return True

    def forget(self, pilot: str) -> None:
        with self._pool.step():
            self._pool.pilots.pop(pilot, None)
            self._pool.followers.pop(pilot, None)
            self._pool.tails.pop(pilot, None)

    def follow(self, pilot: str, token_id: str, seconds: float) -> bool:
        with self._pool.step():
            if pilot not in self._pool.pilots:
                return False
            until = self._pool.followers.get(pilot, {})
            self._pool.followers[pilot] = asking(until, token_id, self._pool.clock(), seconds)
            return True

    def has_followers(self, pilot: str) -> bool:
        return bool(self.followed(pilot))

    def followed(self, pilot: str) -> frozenset[str]:
        with self._pool.step():
            return still_asking(self._pool.followers.get(pilot, {}), self._pool.clock())

    def send_tails(self, pilot: str, tails: Sequence[Tail]) -> frozenset[str]:
        with self._pool.step():
            if pilot in self._pool.pilots:
                self._pool.tails[pilot] = list(tails)
        return self.followed(pilot)

    def tails(self, pilot: str) -> list[Tail]:
        with self._pool.step():
            return list(self._pool.tails.get(pilot, ()))

    def pause(self, pause: Pause | None) -> None:
        with self._pool.step():
            self._pool.pause = pause
            self._pool.sequence += 1

    def paused(self) -> Pause | None:
        with self._pool.step():
            return self._pool.pause

    def install(self, design: Design) -> None:
        if design.javascript is not None:
            raise Unsupported(f"the views of {design.name!r} are in JavaScript, which runs in CouchDB only")
        if design.name == MONITOR.name and design.selector is not None:
            raise UsageError(f"{MONITOR.name} has no condition", hint="give the design document another name")
        with self._pool.step():
            self._pool.designs[design.name] = design
            self._pool.sequence += 1

    def uninstall(self, name: str) -> bool:
        with self._pool.step():
            return name != MONITOR.name and self._pool.designs.pop(name, None) is not None

    def designs(self) -> list[Design]:
        with self._pool.step():
            return list(self._pool.designs.values())

    def wait(self, seconds: float) -> bool:
        """What changed since this handle last claimed or waited counts too, so that no change is slept through."""
        pool, seen = self._pool, self._seen
        with pool.changed:
            pool.changed.wait_for(lambda: self._closed or pool.sequence != seen, timeout=max(0.0, seconds))
            self._seen = pool.sequence
            return not self._closed and pool.sequence != seen

    def check(self, *, mend: bool = False) -> list[Problem]:  # noqa: ARG002
        return []

    def twin(self) -> TokenStore:
        other = MemoryStore(self._pool.clock)
        other._pool = self._pool
        other._seen = self._pool.sequence
        return other

    def drop(self) -> None:
        with self._pool.step():
            self._pool.clear()
        self.close()

    def close(self) -> None:
        with self._pool.changed:
            self._closed = True
            self._pool.changed.notify_all()


def _chunks(data: IO[bytes]) -> Iterator[bytes]:
    while chunk := data.read(_CHUNK_BYTES):
        yield chunk


def _place(cursor: str | None) -> int:
    try:
        return int(cursor) if cursor is not None else 0
    except ValueError:
        raise UsageError(f"{cursor!r:.80} is no cursor of this store") from None
