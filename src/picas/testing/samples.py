"""Short words for what the contract's tests do all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from picas.lifecycle import Claimant, Doc, Outcome, Reason, State, state_of
from picas.stores.base import Claim, Page, PilotRecord, Settlement, TokenStore
from picas.tokens import Requirements
from picas.views import View

__all__ = [
    "DONE",
    "FAILED",
    "GIVEN_BACK",
    "TODO",
    "Background",
    "Reopen",
    "all_pages",
    "beat_of",
    "change",
    "claim",
    "claim_one",
    "eventually",
    "found",
    "ids",
    "put",
    "same",
    "settle",
    "shown",
    "state",
]

Reopen = Callable[[], TokenStore]
"""Another handle on the pool of the fixture ``store``."""

TODO = View(State.TODO)
DONE = Outcome()
FAILED = Outcome(exit_code=1)
GIVEN_BACK = Outcome(reason=Reason.STOPPED, give_back=True)


def put(store: TokenStore, *names: str, **fields: Any) -> None:
    """Add tokens that differ by id alone."""
    answers = store.put([{"_id": name, **fields} for name in names])
    assert all(isinstance(answer, str) for answer in answers), answers


def found(store: TokenStore, token_id: str) -> Doc:
    """A document that must be there."""
    doc = store.get([token_id])[0]
    assert doc is not None, f"{token_id} is missing"
    return doc


def state(store: TokenStore, token_id: str) -> State | None:
    return state_of(found(store, token_id))


def change(store: TokenStore, token_id: str, how: Callable[[Doc], Doc]) -> Doc:
    """Read, change and write a document, as a person does; the document as stored."""
    answers = store.update([how(found(store, token_id))])
    assert isinstance(answers[0], str), answers
    return found(store, token_id)


def claim(
    store: TokenStore, count: int = 1, *, pilot: str = "p1", view: View = TODO, offer: Requirements | None = None
) -> list[Doc]:
    wish = Claim(view=view, count=count, claimant=Claimant(pilot=pilot, hostname="node1"), offer=offer)
    return store.exchange([], wish).claimed


def claim_one(store: TokenStore, *, pilot: str = "p1") -> Doc:
    """Claim the next token, of which there must be one."""
    (doc,) = claim(store, pilot=pilot)
    return doc


def settle(store: TokenStore, doc: Doc, outcome: Any = DONE, **kwargs: Any) -> Any:
    """Settle one claim; the store's answer for it."""
    return store.exchange([Settlement(doc=doc, outcome=outcome, **kwargs)]).settled[0]


def shown(value: object) -> str:
    """A short name for a parameter of a test."""
    return ascii(value)[:30]


def same(store: TokenStore, one: Any, other: Any) -> bool:
    """Whether two documents, or two listings of attachments, are the same, as exactly as the store tells."""
    return bool(_told(store, one) == _told(store, other))


def _told(store: TokenStore, value: Any) -> Any:
    """Without digests, where they are of something else than the bytes."""
    if store.capabilities.exact_digests or not isinstance(value, dict):
        return value
    return {name: _told(store, one) for name, one in value.items() if name != "digest"}


def ids(docs: Sequence[Doc]) -> list[str]:
    return [doc["_id"] for doc in docs]


def all_pages(store: TokenStore, view: View | None, *, limit: int = 100, **kwargs: Any) -> list[Doc]:
    """The documents of every page, each page within the limit and none but the last without a cursor."""
    docs: list[Doc] = []
    page = Page(docs=[], next=None)
    while True:
        page = store.page(view, after=page.next, limit=limit, **kwargs)
        assert len(page.docs) <= limit
        docs += page.docs
        if page.next is None:
            return docs


def beat_of(pilot: str, **fields: Any) -> PilotRecord:
    known = {"hostname": "node1", "pid": 7, "started_at": 1_700_000_000.5, "lease": 60.0}
    return PilotRecord(id=pilot, **{**known, **fields})


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Come back as soon as the condition holds; fail when it has not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)


def woken_by(store: TokenStore, act: Callable[[], object], seconds: float) -> float:
    """Have a thread wait at a store, then act; seconds until it was woken, which it must have been in time."""
    waiting = threading.Event()

    def wait() -> bool:
        waiting.set()
        return store.wait(seconds)

    sleeper = Background(wait)
    assert waiting.wait(seconds)
    begun = time.monotonic()
    act()
    assert sleeper.result(seconds) is True
    return time.monotonic() - begun


class Background(threading.Thread):
    """A function in another thread; `result` waits for what it returns and raises what it raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001  raised again by result()
            self._error = error

    def result(self, seconds: float = 30.0) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "still running"
        if self._error is not None:
            raise self._error
        return self._value
