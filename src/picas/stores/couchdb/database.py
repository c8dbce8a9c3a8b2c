"""What one database is asked, in CouchDB's protocol (https://docs.couchdb.org/en/stable/api/database/)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from picas.errors import ConfigError, InvalidToken, NoPool, NoSuchView, StoreFailure, StoreUnavailable
from picas.lifecycle import Doc
from picas.stores.couchdb.answers import Answer, Unsure
from picas.stores.couchdb.transport import Http

__all__ = ["VIEW_SECONDS", "Database", "TooLarge"]

VIEW_SECONDS = 300.0
"""Seconds for the first rows of a view: the server builds its index first."""


_TRIES = 3


class TooLarge(InvalidToken):
    """The server does not take so many bytes."""


class Database:
    """A database over HTTP. Each method is one request.

    ``view_seconds`` is how long to wait for a view; by default as long as it takes to build a large index.
    """

    def __init__(self, http: Http, *, view_seconds: float | None = None) -> None:
        self.http = http
        self._view_seconds = view_seconds
        self.path = http.address.path
        self._selects = True
        self._has_queries = True

    def info(self) -> dict[str, Any] | None:
        """What the server says of the database; None when it is not there."""
        answer = self.http.request("GET", self.path)
        return None if answer.status == 404 else self._object(answer)

    def create(self) -> bool:
        """Make it; whether it was not there before."""
        answer = self.http.request("PUT", self.path, repeat=True)
        if answer.status == 400:
            raise ConfigError(
                f"{self.name} is no name for a database",
                hint="lower-case letters, digits and _ $ ( ) + - /, a letter first",
            )
        return answer.status in (201, 202)

    def drop(self) -> None:
        """Delete it with all it holds."""
        self.http.request("DELETE", self.path, repeat=True)

    def bulk(self, docs: Sequence[bytes]) -> list[dict[str, Any]]:
        """Write documents, given as JSON; a row for each, in their order, with ``rev`` or ``error``.

        `Unsure` when no answer comes, `TooLarge` when the server does not take so much at once.
        """
        body = b'{"docs":[' + b",".join(docs) + b"]}"
        answer = self.http.request("POST", f"{self.path}/_bulk_docs", body=body)
        if answer.status == 413:
            raise TooLarge(
                f"a write of {len(body):,} bytes is more than {self.name} takes",
                hint="the server's limits are max_document_size and max_http_request_size",
            )
        rows = self.http.json(self._found(answer))
        if not isinstance(rows, list) or len(rows) != len(docs):
            raise StoreFailure(f"{self.name} answered a write of {len(docs)} documents with something else")
        return rows

    def docs(self, ids: Sequence[str], **params: str) -> list[Doc | None]:
        """The documents of these ids, in their order; None where there is none, or it was deleted."""
        if not ids:
            return []
        rows = self._rows(f"{self.path}/_all_docs", {"include_docs": "true", **params}, {"keys": list(ids)})
        if [row.get("key", row.get("id")) for row in rows] != list(ids):
            raise StoreFailure(f"{self.name} answered with other documents than those asked for")
        return [row.get("doc") for row in rows]

    def open_docs(self, ids: Sequence[str]) -> list[Doc]:
        """Those of these documents that are there; cheaper than `docs` for many (``_bulk_get``)."""
        if not ids:
            return []
        body = {"docs": [{"id": doc_id} for doc_id in ids]}
        answer = self.http.request("POST", f"{self.path}/_bulk_get", body=body, repeat=True)
        found = (_winner(one.get("docs", ())) for one in self._object(self._found(answer)).get("results", ()))
        return [doc for doc in found if doc is not None]

    def all_docs(self, **params: Any) -> list[dict[str, Any]]:
        """Rows of all documents, in order of id; parameters as of a view."""
        return self._rows(f"{self.path}/_all_docs", _encoded(params))

    def doc(self, doc_id: str, **params: str) -> Doc | None:
        """One document of any kind; None when it is not there."""
        answer = self.http.request("GET", self.of(doc_id), params=params)
        return None if answer.status == 404 else self._object(answer)

    def put(self, doc: Mapping[str, Any]) -> bool:
        """Write one document of any kind; False for a conflict. The same again does no harm."""
        answer = self.http.request("PUT", self.of(doc["_id"]), body=doc, repeat=True)
        return answer.status != 409 and bool(self._found(answer))

    def remove(self, doc_id: str, rev: str | None) -> bool:
        """Delete one document of any kind; whether it was deleted."""
        answer = self._delete(self.of(doc_id), rev, lambda: self.doc(doc_id) is None)
        return answer is None or answer.status in (200, 202)

    def remove_file(self, doc_id: str, name: str, rev: str) -> bool:
        """Delete a file of a document; False for a conflict."""

        def is_gone() -> bool:
            return name not in ((self.docs([doc_id])[0] or {}).get("_attachments") or {})

        answer = self._delete(self.of(doc_id, name), rev, is_gone)
        return answer is None or (answer.status not in (404, 409) and bool(self._found(answer)))

    def _delete(self, path: str, rev: str | None, is_gone: Callable[[], bool]) -> Answer | None:
        """Delete something; None when no answer came and it is gone. One that did not arrive is sent again."""
        params = {"rev": rev} if rev else None
        for tries in range(1, _TRIES + 1):
            try:
                return self.http.request("DELETE", path, params=params)
            except Unsure:
                if is_gone():
                    return None
                if tries == _TRIES:
                    raise
        return None

    def view(
        self, design: str, name: str, keys: Sequence[Any] | None = None, **params: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rows of a view, and what else its answer holds, by parameters as Python values; `NoSuchView`."""
        path = f"{self.path}/_design/{quote(design, safe='')}/_view/{quote(name, safe='')}"
        keys = params.pop("keys", None) if keys is None else keys
        body = None if keys is None else {"keys": list(keys)}
        method = "GET" if keys is None else "POST"
        answer = self.http.request(
            method, path, params=_encoded(params), body=body, repeat=True, read=self._view_seconds or VIEW_SECONDS
        )
        if answer.status == 404:
            raise self._missing(answer, design, name)
        found = self._object(answer)
        rows = self._checked(found.pop("rows", None))
        return rows, found

    def views(self, design: str, name: str, queries: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Rows of several queries of one view: one request where the server can, and one bringing up to date."""
        if self._has_queries:
            path = f"{self.path}/_design/{quote(design, safe='')}/_view/{quote(name, safe='')}/queries"
            body = {"queries": list(queries)}
            answer = self.http.request("POST", path, body=body, repeat=True, read=self._view_seconds or VIEW_SECONDS)
            if answer.status == 200:
                return [self._checked(found.get("rows")) for found in self._object(answer).get("results", ())]
            if answer.status == 404:
                raise self._missing(answer, design, name)
            self._has_queries = False
        return [self.view(design, name, **query)[0] for query in queries]

    def local_docs(self, prefix: str) -> list[Doc] | None:
        """Documents that stay on this server (``_local/``) whose names begin so; None where they cannot be listed."""
        ends = {"startkey": f"_local/{prefix}", "endkey": f"_local/{prefix}\ufff0"}
        params = _encoded({**ends, "include_docs": True})
        answer = self.http.request("GET", f"{self.path}/_local_docs", params=params)
        if _lacks_database(answer):
            self._found(answer)
        if answer.status != 200:
            return None
        return [row["doc"] for row in self._object(answer).get("rows", ()) if row.get("doc")]

    def local_docs_named(self, names: Sequence[str]) -> dict[str, Doc]:
        """Those of some ``_local/`` documents that are there, by id; in one request where the server can do that."""
        path, body = f"{self.path}/_local_docs", {"keys": list(names)}
        answer = self.http.request("POST", path, params=_encoded({"include_docs": True}), body=body, repeat=True)
        if answer.status != 200:
            found = [self.doc(name) for name in names]
        else:
            found = [row.get("doc") for row in self._object(answer).get("rows", ())]
        return {doc["_id"]: doc for doc in found if doc}

    def changes(self, since: str, seconds: float) -> dict[str, Any]:
        """Wait until a token came to wait, at most so long (``_changes``, long-polling)."""
        params = {"feed": "longpoll", "since": since, "timeout": int(seconds * 1000)}
        path, read = f"{self.path}/_changes", seconds + 20
        if self._selects:
            asked = {**params, "filter": "_selector"}
            body = {"selector": {"type": "token", "lock": 0, "done": 0}}
            answer = self.http.request("POST", path, params=asked, body=body, repeat=True, read=read)
            if answer.status not in (404, 405):
                return self._object(answer)
            # A server that filters by views only, for which it runs their JavaScript for each who waits.
            self._selects = False
        return self._object(self.http.request("GET", path, params={**params, **_BY_VIEW}, read=read))

    def security(self, new: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Who may use it (``_security``), after it was set to ``new`` when that is given."""
        path = f"{self.path}/_security"
        if new is not None:
            try:
                self._found(self.http.request("PUT", path, body=new, repeat=True))
            except StoreUnavailable as error:
                # What a server of several parts says to whoever has no right to it.
                if "no_majority" not in error.message:
                    raise
                raise StoreFailure(
                    f"user {self.http.address.username} may not change who may use {self.name}",
                    hint="an administrator of the database may",
                ) from None
        return self._object(self.http.request("GET", path))

    def of(self, doc_id: str, attachment: str | None = None) -> str:
        """The path of a document of any kind, or of a file of it; InvalidToken for one that would be another path."""
        if {doc_id, attachment} & {".", "..", ""}:
            raise InvalidToken(f"{attachment if attachment in ('.', '..', '') else doc_id!r} is not allowed as a name")
        kind, slash, name = doc_id.partition("/")
        inner = f"{kind}/{quote(name, safe='')}" if slash and kind in ("_local", "_design") else quote(doc_id, safe="")
        return f"{self.path}/{inner}" + (f"/{quote(attachment, safe='')}" if attachment is not None else "")

    def refuse(self, answer: Answer) -> None:
        """Raise what a status means that is none of those expected."""
        self._found(answer)

    @property
    def name(self) -> str:
        """The address, without secrets."""
        return self.http.address.shown

    def _rows(self, path: str, params: Mapping[str, str], body: Any = None) -> list[dict[str, Any]]:
        answer = self.http.request("GET" if body is None else "POST", path, params=params, body=body, repeat=True)
        return self._checked(self._object(self._found(answer)).get("rows"))

    def _checked(self, rows: Any) -> list[dict[str, Any]]:
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise StoreFailure(f"{self.name} answered without rows", hint="is this the address of a CouchDB server?")
        return rows

    def _object(self, answer: Answer) -> dict[str, Any]:
        found = self.http.json(self._found(answer))
        if not isinstance(found, dict):
            raise StoreFailure(f"{self.name} answered with JSON that is no object")
        return found

    def _found(self, answer: Answer) -> Answer:
        if _lacks_database(answer):
            raise NoPool(f"there is no database {self.name}", hint="`picas init` makes it")
        if answer.status >= 400:
            raise StoreFailure(f"{self.name} refused a request ({answer.status}): {answer.data[:200]!r}")
        return answer

    def _missing(self, answer: Answer, design: str, name: str) -> NoSuchView | ConfigError:
        if _lacks_database(answer):
            return NoPool(f"there is no database {self.name}", hint="`picas init` makes it")
        return NoSuchView(
            f"no view named {name!r}: {self.name} has no design document {design!r} with it",
            hint="`picas view ls` lists what there is; `picas init` makes the views of a pool",
        )


_BY_VIEW = {"filter": "_view", "view": "Monitor/todo"}


def _winner(leaves: Iterable[Mapping[str, Any]]) -> Doc | None:
    """The one that counts of a document's versions: of those not deleted the longest, then the last in order."""
    docs = [leaf["ok"] for leaf in leaves if not leaf.get("ok", {"_deleted": True}).get("_deleted")]
    return max(docs, key=lambda doc: (int(doc["_rev"].partition("-")[0]), doc["_rev"]), default=None)


def _lacks_database(answer: Answer) -> bool:
    return answer.status == 404 and (b"atabase" in answer.data or b"no_db_file" in answer.data)


def _encoded(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of a view as its URL has them: JSON, but for texts that are no keys, which stay as they are."""
    return {
        name: value if isinstance(value, str) and name not in _KEYS else orjson.dumps(value).decode()
        for name, value in params.items()
    }


_KEYS = frozenset({"key", "keys", "startkey", "start_key", "endkey", "end_key"})
