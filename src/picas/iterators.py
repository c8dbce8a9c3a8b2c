"""Where a pilot's next token comes from: one view, two in order of priority, or a view that is waited for.

Each class is its own iterator and ends when its view is empty or when it is told to stop. On a `picas.clients.Client`
claims go through the store's exchange; on any other database object, and for parameters that only CouchDB's views
have, by revision (`picas.stores.duck`).
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from picas.documents import Task
from picas.errors import StoreUnavailable, Unsupported
from picas.jobid import job_ids
from picas.lifecycle import Claimant, State, state_of
from picas.stores.base import Claim, TokenStore
from picas.stores.duck import DuckStore, jitter
from picas.stores.steering import Pause
from picas.views import View

__all__ = [
    "EndlessViewIterator",
    "PrioritizedViewIterator",
    "TaskViewIterator",
    "ViewIterator",
    "pilot_id",
    "store_of",
    "view_of",
]

log = logging.getLogger("PiCaS")

_SLICE = 0.5
"""Seconds of waiting between looks at whether to stop."""
_PAUSE_LOOK = 10.0
"""Seconds between looks at whether a paused pool goes on, where nothing tells of it."""
_LOOK = 100
"""Documents at the head of a view that are looked at when nothing could be claimed from it."""
_SPREAD = 0.05
"""Seconds over which idle pilots spread their tries when the pool has changed."""


class ViewIterator:
    """Base of the iterators; a subclass says in `claim_task` where the next token comes from."""

    database: Any = None
    _waits_for_resume = True
    """Whether it waits while the pool is paused, instead of ending."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._pilot = pilot_id()

    def __iter__(self) -> ViewIterator:
        return self

    def __next__(self) -> Task:
        """The next token, locked and saved; StopIteration when there is none or after `stop`."""
        if self.is_stopped():
            raise StopIteration
        try:
            return self.claim_task()
        except IndexError:
            self.stop()
            raise StopIteration from None

    def reset(self) -> None:
        """Let it go on after it has ended."""
        self._stopped.clear()

    def stop(self) -> None:
        """End it; callable from any thread and from a signal handler."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Whether it has ended."""
        return self._stopped.is_set()

    def reconnect(self, database: Any) -> None:
        """Claim through another handle on the same database from now on."""
        self.database = database

    def claim_task(self) -> Task:
        """Claim one token: locked and saved. IndexError when there is none."""
        raise NotImplementedError("claim_task is to be written by the subclass")

    def _claim(self, view: str, params: Mapping[str, Any]) -> Task:
        store = store_of(self.database)
        # Parameters such as a key only the views of a server have; they are read through the client then.
        if store is not None and (store.server is None or params.keys() <= {"design_doc"}):
            for failures in itertools.count(1):
                try:
                    return _claim_from_store(self.database, view, **params)
                except IndexError:
                    if self._waited_for_resume(store):
                        continue
                    left = _left_in(self.database, view, **params) if store.server is not None else None
                    if left is None or self.is_stopped():
                        raise
                    if left is not State.TODO:
                        break
                self._stopped.wait(jitter(failures))
        duck = DuckStore(self.database, stopped=self.is_stopped, pause=self._stopped.wait)
        return duck.claim(view, self._pilot if store is None else self.database.pilot, **params)

    def _waited_for_resume(self, store: TokenStore) -> bool:
        """Whether the pool was paused, and goes on; a pilot of a paused pool does not take it for empty."""
        waited, look_at = False, 0.0
        while self._waits_for_resume and not self.is_stopped():
            if time.monotonic() >= look_at:
                if (pause := _paused(store, waited)) is None:
                    return waited
                if not waited:
                    log.warning("the pool is paused by %s; waiting until it goes on", pause.by)
                waited, look_at = True, time.monotonic() + _PAUSE_LOOK
            if store.wait(_SLICE):
                look_at = 0.0
        return False


class TaskViewIterator(ViewIterator):
    """The tokens of a view, for as long as there are any."""

    def __init__(self, database: Any, view: str, **view_params: Any) -> None:
        super().__init__()
        self.database = database
        self.view = view
        self.view_params = view_params

    def claim_task(self) -> Task:
        return self._claim(self.view, self.view_params)


class PrioritizedViewIterator(ViewIterator):
    """The tokens of one view, and those of another whenever the first is empty."""

    def __init__(self, database: Any, high_priority_view: str, low_priority_view: str, **view_params: Any) -> None:
        super().__init__()
        self.database = database
        self.high_priority_view = high_priority_view
        self.low_priority_view = low_priority_view
        self.view_params = view_params

    def claim_task(self) -> Task:
        try:
            return self._claim(self.high_priority_view, self.view_params)
        except IndexError:
            return self._claim(self.low_priority_view, self.view_params)


class EndlessViewIterator(ViewIterator):
    """The tokens of another iterator, waiting for more when it is empty.

    It ends when ``stop_callback(**stop_callback_args)``, asked before each try, is true, when told to `stop`, or
    at ``stop_at`` on the monotonic clock. ``sleep_sec`` is the longest wait between tries; on a store that tells
    of changes new work is found at once.
    """

    def __init__(
        self,
        view_iterator: Any,
        sleep_sec: float = 10,
        stop_callback: Callable[..., Any] | None = None,
        **stop_callback_args: Any,
    ) -> None:
        super().__init__()
        self.iterator = view_iterator
        if isinstance(view_iterator, ViewIterator):
            view_iterator._waits_for_resume = False  # it is asked again anyway, and this one knows when to end
        self.sleep_sec = sleep_sec
        self.stop_callback = stop_callback
        self.stop_callback_args = stop_callback_args
        self.stop_at: float | None = None
        self._watched: TokenStore | None = None

    def __next__(self) -> Task:
        while not self.is_cancelled():
            try:
                return cast("Task", next(self.iterator))
            except StopIteration:
                log.debug("no work, waiting for some")
            if not self.is_stopped():
                self.iterator.reset()
                self._wait()
        self.stop()
        raise StopIteration

    def claim_task(self) -> Task:
        """Claim one token of the iterator within; IndexError when it has none."""
        return cast("Task", self.iterator.claim_task())

    def is_cancelled(self) -> bool:
        """Whether it is to end."""
        if self.is_stopped() or (self.stop_at is not None and time.monotonic() >= self.stop_at):
            return True
        return self.stop_callback is not None and bool(self.stop_callback(**self.stop_callback_args))

    def reset(self) -> None:
        super().reset()
        self.iterator.reset()

    def stop(self) -> None:
        super().stop()
        self.iterator.stop()

    def reconnect(self, database: Any) -> None:
        super().reconnect(database)
        self.iterator.reconnect(database)

    def _wait(self) -> None:
        until = time.monotonic() + self.sleep_sec
        if self.stop_at is not None:
            until = min(until, self.stop_at)
        store = store_of(getattr(self.iterator, "database", None))
        if store is None:
            self._stopped.wait(max(0.0, until - time.monotonic()))
        elif store is not self._watched:
            # Changes are noticed from the first wait on; what came before it must be looked for once more.
            store.wait(0)
            self._watched = store
        else:
            self._wait_for_change(store, until)

    def _wait_for_change(self, store: TokenStore, until: float) -> None:
        while not self.is_stopped() and (left := until - time.monotonic()) > 0:
            if store.wait(min(left, _SLICE)):
                self._stopped.wait(min(left, random.uniform(0.0, _SPREAD)))
                return


def store_of(database: Any) -> TokenStore | None:
    """The store behind a client that claims and settles in it directly; None for other database objects."""
    store = getattr(database, "store", None)
    return store if isinstance(store, TokenStore) else None


def view_of(view: str, design_doc: str = "Monitor") -> View:
    """The view of this name, in this design document unless the name says another."""
    return View.parse(view if "/" in view else f"{design_doc}/{view}", any_name=True)


def pilot_id() -> str:
    """A name for a pilot that no other pilot anywhere has."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"


def _paused(store: TokenStore, before: bool) -> Pause | None:
    """The pause in force; taken to go on while the pool is away."""
    try:
        return store.paused()
    except StoreUnavailable:
        return Pause(by="", at=0.0) if before else None


def _left_in(database: Any, view: str, design_doc: str = "Monitor") -> State | str | None:
    """What waits in a view of a server from which nothing could be claimed; None when it is empty.

    Tokens (`State.TODO`) that others were first to, or documents of a type of the application's own, which a view that
    it wrote may have.
    """
    where = view_of(view, design_doc)
    found = database.get_from_view(where.in_design(), design_doc=where.design, limit=_LOOK)
    docs = [doc.value for doc in found]
    waiting = [doc for doc in docs if doc.get("lock") == 0 and doc.get("done") == 0]
    if any(state_of(doc) is State.TODO and not _is_later(doc.get("not_before")) for doc in waiting):
        return State.TODO
    return "others" if any(doc.get("type") != "token" for doc in waiting) else None


def _is_later(not_before: object) -> bool:
    return isinstance(not_before, (int, float)) and not_before > time.time()


def _claim_from_store(database: Any, view: str, design_doc: str = "Monitor", **params: Any) -> Task:
    if params:
        raise Unsupported(
            f"claims from this pool take no view parameters ({', '.join(params)})",
            hint="make a design document with the condition (`picas view add --where`) and give its name as design_doc",
        )
    job = cast("Mapping[str, str]", job_ids(os.environ))  # one of the ids may be None, and is stored as such
    claimant = Claimant(pilot=database.pilot, hostname=socket.gethostname(), job=job)
    claimed = database.exchange([], Claim(view=view_of(view, design_doc), count=1, claimant=claimant)).claimed
    if not claimed:
        raise IndexError(f"view {view} of {design_doc} has no token to claim")
    return Task(claimed[0])
