"""The server around a pool, for what only CouchDB has: views of any kind, who may use the pool, and users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from picas.errors import Conflict, PicasError, StoreFailure
from picas.rows import Row
from picas.stores.couchdb.database import Database
from picas.stores.couchdb.library import Library
from picas.stores.couchdb.users import Users
from picas.stores.viewserver import ViewServer

__all__ = ["Server", "version_of"]

_OLDEST = (3, 0)
_TRIES = 20


class Server(ViewServer):
    """What the waist does not have, of the server on which a database lies."""

    def __init__(
        self, database: Database, version: str, info: Mapping[str, Any], views_changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._views_changed = views_changed
        self._version = version
        self._info = info
        self._users = Users(database.http)

    def rows(
        self, design: str, view: str, params: Mapping[str, Any], keys: Sequence[Any] | None = None
    ) -> tuple[list[Row], dict[str, Any]]:
        found, about = self._database.view(design, view, keys, **params)
        return [Row(row) for row in found], about

    def document_count(self) -> int:
        return int((self._database.info() or {}).get("doc_count", 0))

    def put_view(self, design: str, view: str, source: Mapping[str, str]) -> None:
        doc_id = f"_design/{design}"
        for _ in range(_TRIES):
            doc = self._database.doc(doc_id) or {"_id": doc_id, "language": "javascript"}
            views = {**doc.get("views", {}), view: dict(source)}
            if doc.get("views") == views or self._database.put({**doc, "views": views}):
                self._views_changed()
                return
        raise Conflict(f"{doc_id} does not stop changing", hint="try again")

    def put_design(self, doc: Mapping[str, Any]) -> str | Conflict:
        if not self._database.put(doc):
            return Conflict(f"{doc['_id']} was changed or deleted by somebody else", hint="read it again")
        self._views_changed()
        return str((self._database.doc(doc["_id"]) or {}).get("_rev", ""))

    def security(self, new: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._database.security(new)

    def users(self) -> list[dict[str, Any]]:
        return self._users.listed()

    def add_user(self, name: str, password: str, roles: Sequence[str]) -> bool:
        return self._users.add(name, password, roles)

    def set_password(self, name: str, password: str) -> bool:
        return self._users.set_password(name, password)

    def findings(self) -> Iterator[tuple[str, str]]:
        yield from self._of_version()
        yield from self._of_copies()
        yield from self._of_encryption()
        yield from self._of_limits()
        for asked in (self._of_members, self._of_rights):
            try:
                yield from asked()
            except PicasError as error:
                yield "warn", error.message
        for problem in Library(self._database).check(mend=False):
            yield "warn", f"{problem.text}; an administrator makes it by `picas init`"

    def _of_version(self) -> Iterator[tuple[str, str]]:
        number = self._version.rpartition(" ")[2].split(".")
        known = self._version.startswith("CouchDB ") and number[0].isdigit()
        if known and (int(number[0]), int(number[1]) if number[1:] else 0) < _OLDEST:
            yield "warn", f"server {self._version}: older than 3.0, and no longer looked after by its makers"
        else:
            yield "ok", f"server {self._version}"

    def _of_copies(self) -> Iterator[tuple[str, str]]:
        cluster = self._info.get("cluster") or {}
        copies, shards = cluster.get("n", 1), cluster.get("q", 1)
        if copies > 1:
            yield "warn", f"{copies} copies of each document: every claim is read back, which costs one request more"
        else:
            yield "ok", f"one copy of each document, {shards} shards"

    def _of_encryption(self) -> Iterator[tuple[str, str]]:
        address = self._database.http.address
        if address.server.startswith("https:"):
            yield (
                ("ok", "encrypted, its certificate verified")
                if address.verified
                else (
                    "warn",
                    "encrypted, but its certificate is not verified",
                )
            )
        elif address.username is not None and not address.is_local:
            yield "warn", "the password crosses the network unencrypted; use couchdbs://"

    def _of_limits(self) -> Iterator[tuple[str, str]]:
        """The sizes it takes, which only administrators can see."""
        for section, name in (("couchdb", "max_document_size"), ("chttpd", "max_http_request_size")):
            try:
                answer = self._database.http.request("GET", f"/_node/_local/_config/{section}/{name}")
            except PicasError:
                return
            if answer.status == 200:
                yield "ok", f"{name} {self._database.http.json(answer)} bytes"

    def _of_members(self) -> Iterator[tuple[str, str]]:
        security = self._database.security()
        members = security.get("members") or {}
        if not (members.get("names") or members.get("roles")):
            yield "warn", "anybody who reaches the server may read and write this pool; `picas user allow` limits it"
            return
        names = [*members.get("names", ()), *(f"role {role}" for role in members.get("roles", ()))]
        yield "ok", f"members: {', '.join(sorted(names))[:200]}"

    def _of_rights(self) -> Iterator[tuple[str, str]]:
        http = self._database.http
        session = http.json(http.request("GET", "/_session")).get("userCtx", {})
        roles, name = set(session.get("roles", ())), session.get("name")
        admins = self._database.security().get("admins") or {}
        is_admin = "_admin" in roles or name in admins.get("names", ()) or roles & set(admins.get("roles", ()))
        what = "administrator of this database" if is_admin else "member of this database"
        yield "ok", f"logged in as {name or 'nobody'}, {what}"
        if is_admin:
            yield "warn", "pilots need only a member; one that is an administrator may delete the pool"


def version_of(database: Database) -> str:
    """The server's name and version; StoreFailure when it is no CouchDB."""
    http = database.http
    answer = http.request("GET", "/")
    found = http.json(answer)
    if answer.status != 200 or not isinstance(found, dict) or not {"couchdb", "express-pouchdb"} & set(found):
        raise StoreFailure(f"{http.address.shown}: there is no CouchDB at this address", hint="is the port right?")
    name = "pouchdb-server" if "express-pouchdb" in found else "CouchDB"
    return f"{name} {found.get('version', '')}".strip()
