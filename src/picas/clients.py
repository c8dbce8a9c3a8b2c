"""The classic client: what PiCaS programs ask of a database, over any store."""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from picas.config import read_url
from picas.documents import Document
from picas.errors import Conflict, NoPool, NoSuchView, PicasError, StoreUnavailable, Unsupported
from picas.iterators import pilot_id
from picas.lifecycle import Doc, Outcome, Reason
from picas.rows import OVERVIEW, Row, ViewResult, overview, rows_of
from picas.stores import open_store
from picas.stores.base import Claim, Exchange, Settlement, TokenStore
from picas.stores.duck import couchdb_error
from picas.stores.viewserver import ViewServer
from picas.views import MONITOR, View

__all__ = ["Client", "CouchDB", "Row", "ViewResult"]

log = logging.getLogger("PiCaS")

_SERVERS = ("http:", "https:", "couchdb:", "couchdbs:")
_KEYS = frozenset({"key", "startkey", "start_key", "endkey", "end_key"})
_PAGE = 500
_STOPPED = Outcome(reason=Reason.STOPPED, give_back=True)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0


class Client:
    """Documents and views of the pool in a store. It belongs to the thread that made it, as the store does.

    ``db`` is the store, ``pilot`` the name under which claims are made through this client.
    """

    def __init__(self, store: TokenStore) -> None:
        self.db = store
        self.pilot = pilot_id()
        self._steps = 0
        self._postponed: Callable[[], object] | None = None

    @property
    def store(self) -> TokenStore | None:
        """The store to claim from and settle in; None for a subclass that reads or saves in a way of its own."""
        kind = type(self)
        own = kind.get_single_from_view is not Client.get_single_from_view or kind.save is not Client.save
        return None if own else self.db

    def copy(self) -> Client:
        """Another handle on the same pool, with the same settings."""
        other = copy.copy(self)
        with self._step():
            other.db = self.db.twin()
        other._steps, other._postponed = 0, None
        return other

    def __getitem__(self, idx: str) -> Document:
        return self.get(idx)

    def get(self, id: str) -> Document:  # noqa: A002 - programs may pass it by this name
        """The document with this id; ValueError when there is none."""
        with self._step():
            doc = self.db.get([id])[0]
        if doc is None:
            raise ValueError(f"{id} is not the id of a document in the database")
        return Document(doc)

    def doc_count(self) -> int:
        """How many documents there are, tokens or not; on CouchDB design documents count too."""
        with self._step():
            if self.db.server is not None:
                return self.db.server.document_count()
            return sum(1 for _ in self._pages(None))

    def view(self, view: str, design_doc: str = MONITOR.name, **view_params: Any) -> ViewResult:
        """The rows of a view. Parameters as in CouchDB, where all of them can be given, and any view.

        Elsewhere there are ``limit skip descending include_docs key startkey endkey``, and ``group`` for
        ``overview_total``. Any other parameter is `Unsupported`, none is passed over.
        """
        with self._step(), _not_found_too():
            if self.db.server is not None:
                return self._server_view(self.db.server, view, design_doc, view_params)
            if view == OVERVIEW:
                return ViewResult(overview(self.db.count(design_doc), **view_params))
            return ViewResult(rows_of(self._pages(_view(view, design_doc)), **view_params))

    def get_from_view(self, view: str, **view_params: Any) -> list[Document]:
        """The documents of a view."""
        rows = self.view(view, **{**view_params, "include_docs": True}).rows
        return [Document(doc) for doc in self._documents(rows)]

    def get_single_from_view(self, view: str, window_size: int = 1, **view_params: Any) -> Document:
        """A document of a view, picked at random from the first ``window_size``; IndexError when it is empty."""
        if set(view_params) <= {"design_doc"} and self.db.server is None:
            docs = self._head(view, window_size, **view_params)
        else:
            rows = self.view(view, **{**view_params, "limit": window_size, "include_docs": True}).rows
            docs = self._documents(rows)
        if not docs:
            raise IndexError(f"view {view} is empty")
        return Document(random.choice(docs))

    def is_view_nonempty(self, view: str, **view_params: Any) -> bool:
        """Whether a view has documents; False too when there is no such view."""
        try:
            self.get_single_from_view(view, **view_params)
        except IndexError:
            log.info("View %s is empty", view)
            return False
        except _not_found() as error:
            log.info("View %s does not exist: %s", view, error)
            return False
        log.info("View %s is non-empty", view)
        return True

    def save(self, doc: Document) -> Document:
        """Add the document, or replace its stored form when it has a ``_rev``; sets ``_id`` and ``_rev``.

        It is stored as it is given, whatever its type. `Conflict` when there is a newer revision, or a document of that
        id already; nothing is changed then.
        """
        answer = self._save([doc])[0]
        if isinstance(answer, Conflict):
            raise _as_couchdb(answer)
        return doc

    def save_documents(self, docs: Sequence[Document]) -> list[bool]:
        """Save many, new and old; for each, in order, whether it was saved. Those saved have a new ``_rev``.

        One with ``_deleted`` is deleted.
        """
        return [isinstance(answer, str) for answer in self._save(docs)]

    def _save(self, docs: Sequence[Document]) -> list[str | Conflict]:
        for doc in docs:
            doc.value.setdefault("_id", uuid4().hex)
        with self._step():
            answers = self._written(docs)
        for doc, answer in zip(docs, answers, strict=True):
            if isinstance(answer, str):
                doc["_rev"] = answer
        return answers

    def _written(self, docs: Sequence[Document]) -> list[str | Conflict]:
        """The answer for each, each kind written at once."""
        answers: dict[int, str | Conflict] = {}
        server, values = self.db.server, [doc.value for doc in docs]
        gone = [value for value in values if value.get("_deleted")]
        designs = [value for value in values if server and not value.get("_deleted") and _is_design(value)]
        rest = [value for value in values if not value.get("_deleted") and not (server and _is_design(value))]
        new, old = [one for one in rest if "_rev" not in one], [one for one in rest if "_rev" in one]
        for some, write in ((new, self._put), (old, self.db.update), (gone, self._remove)):
            answers |= {id(value): answer for value, answer in zip(some, write(some) if some else (), strict=True)}
        if server is not None:
            answers |= {id(value): server.put_design(value) for value in designs}
        return [answers[id(value)] for value in values]

    def _put(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        return self.db.put(docs, as_given=True)

    def _remove(self, docs: Sequence[Doc]) -> list[str | Conflict]:
        deleted = self.db.delete(docs)
        return [
            str(doc["_rev"]) if gone else Conflict(f"document {doc['_id']} was changed or deleted meanwhile")
            for doc, gone in zip(docs, deleted, strict=True)
        ]

    def delete(self, doc: Document) -> None:
        """Delete a document in the revision given; `Conflict` when that is not the current one."""
        if not self.delete_documents([doc])[0]:
            raise _as_couchdb(Conflict(f"document {doc.id} was changed or deleted meanwhile", hint="read it again"))

    def delete_documents(self, docs: Sequence[Document]) -> list[bool]:
        """Delete many; for each, in order, whether it was deleted."""
        with self._step():
            return self.db.delete([doc.value for doc in docs]) if docs else []

    def delete_from_view(self, view: str, design_doc: str = MONITOR.name) -> list[bool]:
        """Delete all documents of a view; for each whether it was deleted."""
        return self.delete_documents(self.get_from_view(view, design_doc=design_doc))

    def add_view(
        self,
        view: str,
        map_fun: str,
        *args: Any,
        reduce_fun: str | None = None,
        design_doc: str = MONITOR.name,
        **kwargs: Any,
    ) -> None:
        """Add a view in JavaScript to a design document, or replace it; `Unsupported` on all but CouchDB.

        Further arguments, of the old client's ``ViewDefinition``, have no effect on the view and are taken in silence.
        """
        del args, kwargs
        if self.db.server is not None:
            source = {"map": map_fun.strip()} | ({"reduce": reduce_fun.strip()} if reduce_fun else {})
            with self._step():
                self.db.server.put_view(design_doc, view, source)
            return
        raise Unsupported(
            f"view {design_doc}/{view} is written in JavaScript, which runs in CouchDB only",
            hint=f"`picas view add {design_doc} --where CONDITION` makes the views of a condition on any store",
        )

    def set_users(
        self,
        admins: Sequence[str] | None = None,
        members: Sequence[str] | None = None,
        admin_roles: Sequence[str] | None = None,
        member_roles: Sequence[str] | None = None,
    ) -> None:
        """Say who may use the database; what is not given stays as it is. `Unsupported` on all but CouchDB."""
        if self.db.server is None:
            raise Unsupported("this pool has no users of its own", hint="set the permissions of its file or server")
        given = {"admins": (admins, admin_roles), "members": (members, member_roles)}
        with self._step():
            security = self.db.server.security()
            for kind, (names, roles) in given.items():
                new = {key: list(value) for key, value in (("names", names), ("roles", roles)) if value is not None}
                security[kind] = {**security.get(kind, {}), **new}
            self.db.server.security(security)

    def exchange(
        self, settlements: Sequence[Settlement], claim: Claim | None = None, *, patience: float = math.inf
    ) -> Exchange:
        """The store's exchange, tried again for up to ``patience`` seconds while the store is away.

        Tokens claimed in the very moment in which the pilot was told to stop go back unspent.
        """
        until = time.monotonic() + patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._exchange(settlements, claim)
            except StoreUnavailable as error:
                if time.monotonic() + pause > until:
                    raise
                log.warning("the pool is away, trying again: %s", error)
            time.sleep(random.uniform(0.0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def when_idle(self, action: Callable[[], object]) -> None:
        """Call it now, or as soon as the store's current step is over: a signal may come in the middle of one."""
        if self._steps:
            self._postponed = action
        else:
            action()

    def _exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Exchange:
        with self._step(), _not_found_too():
            done = self.db.exchange(settlements, claim)
            if self._postponed is not None and done.claimed:
                self.db.exchange([Settlement(doc=doc, outcome=_STOPPED) for doc in done.claimed])
            return done

    @contextmanager
    def _step(self) -> Iterator[None]:
        self._steps += 1
        try:
            yield
        finally:
            self._steps -= 1
            if not self._steps and self._postponed is not None:
                action, self._postponed = self._postponed, None
                action()

    def _server_view(self, server: ViewServer, view: str, design_doc: str, given: Mapping[str, Any]) -> ViewResult:
        """The rows as the server gives them. Without ``group`` a view that reduces gives its one row, as there.

        None is a key like any other; any other parameter of None is one that was not given.
        """
        params = {name: value for name, value in given.items() if value is not None or name in _KEYS}
        rows, about = server.rows(design_doc, view, params, params.pop("keys", None))
        return ViewResult(rows, total_rows=about.get("total_rows"), offset=about.get("offset"))

    def _documents(self, rows: Sequence[Row]) -> list[Doc]:
        """The documents of rows, but for those that are gone.

        For a value with an ``_id`` CouchDB includes the document of that id, where the row's own is wanted.
        """
        included = {row["id"]: row.get("doc") for row in rows}
        others = [name for name, doc in included.items() if doc is None or doc["_id"] != name]
        if others:
            with self._step():
                included |= zip(others, self.db.get(others), strict=True)
        return [doc for row in rows if (doc := included[row["id"]]) is not None]

    def _pages(self, view: View | None) -> Iterator[Doc]:
        page = self.db.page(view, limit=_PAGE)
        yield from page.docs
        while page.next is not None:
            page = self.db.page(view, after=page.next, limit=_PAGE)
            yield from page.docs

    def _head(self, view: str, size: int, design_doc: str = MONITOR.name) -> list[Doc]:
        """The first documents in the store's order, which costs no look at the others."""
        with self._step(), _not_found_too():
            return self.db.page(_view(view, design_doc), limit=size).docs


class CouchDB(Client):
    """The client under its classic name and arguments.

    ``url`` is a CouchDB server, whose database ``db`` is meant, or the address of a pool of any other kind, which
    is the whole address. ``create`` makes the database, and the views of a pool where they are missing.
    ``ssl_verification`` is meant for certificates that nobody vouches for; name your own authority by ``?ca=FILE`` at
    the end of the URL instead.
    """

    def __init__(
        self,
        url: str = "http://localhost:5984",
        db: str = "test",
        username: str | None = None,
        password: str = "",
        ssl_verification: bool = True,
        create: bool = False,
    ) -> None:
        if not url.lower().startswith(_SERVERS):
            super().__init__(open_store(url, create=create))
            return
        server = read_url(url, "url")
        secret = password or (server.password.reveal() if server.password and username is None else None)
        base, _, query = server.url.partition("?")
        address = f"{base.rstrip('/')}/{quote(db, safe='')}" + (f"?{query}" if query else "")
        access = {"username": username or server.username, "password": secret, "verified": ssl_verification}
        if not ssl_verification:
            log.warning("the certificate of %s is not verified: anybody in between can read the password", base)
        with _not_found_too():
            store = open_store(address, create=create, plain=True, **access)
        super().__init__(store)


def _is_design(doc: Doc) -> bool:
    return str(doc["_id"]).startswith("_design/")


def _view(view: str, design_doc: str) -> View:
    return View.parse(view if "/" in view else f"{design_doc}/{view}")


@contextmanager
def _not_found_too() -> Iterator[None]:
    """Within it a database or a view that is missing is CouchDB's error of what is not found, too."""
    try:
        yield
    except (NoPool, NoSuchView) as error:
        kind: Any = NoPool if isinstance(error, NoPool) else NoSuchView
        raise _twofold(kind, "ResourceNotFound")(error.message, hint=error.hint) from None


@cache
def _twofold(ours: type[PicasError], theirs: str) -> type[PicasError]:
    """An error class of ours that is CouchDB's of that name too, where the ``couchdb`` package is installed."""
    other = couchdb_error(theirs)
    return type(theirs, (ours, other), {"__doc__": ours.__doc__}) if other else ours


def _not_found() -> type[PicasError]:
    return _twofold(NoSuchView, "ResourceNotFound")


def _as_couchdb(conflict: Conflict) -> PicasError:
    return _twofold(Conflict, "ResourceConflict")(conflict.message, hint=conflict.hint)
