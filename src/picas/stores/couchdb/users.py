"""Users of a server: documents in its database ``_users``, where it keeps passwords as hashes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from picas.errors import ConfigError, StoreFailure, UsageError
from picas.stores.couchdb.address import read_address
from picas.stores.couchdb.answers import Answer
from picas.stores.couchdb.clock import ServerClock
from picas.stores.couchdb.transport import Http, Login

__all__ = ["Users", "change_user_password"]

_PREFIX = "org.couchdb.user:"
_ENDS = {"startkey": f'"{_PREFIX}"', "endkey": f'"{_PREFIX}\ufff0"', "include_docs": "true"}
_TRIES = 5


class Users:
    """The users of a server, as far as who asks may see them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def listed(self) -> list[dict[str, Any]]:
        """Name and roles of each user, by name."""
        answer = self._http.request("GET", "/_users/_all_docs", params=_ENDS)
        docs = [row.get("doc") or {} for row in self._object(answer).get("rows", ())]
        return [{"name": doc.get("name"), "roles": list(doc.get("roles", ()))} for doc in docs if doc.get("name")]

    def add(self, name: str, password: str, roles: Sequence[str]) -> bool:
        """Add a user; False when there is one of that name. UsageError for a name or role no server takes."""
        _check(name, roles)
        doc = {"_id": f"{_PREFIX}{name}", "name": name, "type": "user", "roles": list(roles), "password": password}
        return self._put(doc)

    def set_password(self, name: str, password: str) -> bool:
        """Give a user another password and leave the rest of it, its roles say; False when there is none."""
        for _ in range(_TRIES):
            answer = self._http.request("GET", _path(name))
            if answer.status == 404:
                return False
            doc = self._object(answer)
            if self._put({**doc, "password": password}):
                return True
        raise StoreFailure(f"user {name} does not stop changing", hint="try again")

    def _put(self, doc: dict[str, Any]) -> bool:
        answer = self._http.request("PUT", _path(doc["name"]), body=doc, repeat=True)
        if answer.status == 409:
            return False
        self._object(answer)
        return True

    def _object(self, answer: Answer) -> dict[str, Any]:
        found = self._http.json(answer)
        if answer.status >= 400 or not isinstance(found, dict):
            reason = found.get("reason") if isinstance(found, dict) else "it is no object"
            raise StoreFailure(
                f"the users of {self._http.address.server}: {reason}",
                hint="an administrator may see and change them",
            )
        return found


def change_user_password(host_url: str, username: str, password: str, new_password: str) -> None:
    """Change a user's own password on a server. ConfigError when the old one is wrong or there is no such user."""
    address = read_address(f"{host_url.rstrip('/')}/_users", username=username, password=password, plain=True)
    http = Http(address, Login(address), ServerClock())
    try:
        if not Users(http).set_password(username, new_password):
            raise ConfigError(
                f"{address.server} has no user {username} among its users",
                hint="the password of a server's administrator is changed in its configuration",
            )
    finally:
        http.close()


def _path(name: str) -> str:
    return f"/_users/{quote(_PREFIX + name, safe='')}"


def _check(name: str, roles: Sequence[str]) -> None:
    if not name or name.startswith("_") or ":" in name:
        raise UsageError(f"user name {name!r} is not allowed", hint="not empty, no colon, no _ in front")
    for role in roles:
        if not role or role.startswith("_"):
            raise UsageError(f"role {role!r} is not allowed", hint="roles that begin with _ are the server's own")
