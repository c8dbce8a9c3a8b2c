"""What the server and the driver say, as errors of ours: what may be tried again, and what may not."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from picas.errors import ConfigError, NoPool, StoreError, StoreFailure, StoreUnavailable
from picas.stores.postgres.address import Address

__all__ = ["translate"]

_UNAVAILABLE: dict[str, str] = {
    "08": "is out of reach",
    "40": "is too busy: others change the same tokens",
    "53100": "has no room: the server's disk is full",
    "53200": "has no memory left",
    "53300": "takes no more connections",
    "53": "is short of resources",
    "55P03": "keeps a lock for too long: somebody else holds what is needed",
    "57014": "did not answer in time",
    "57": "is stopping or starting",
    "58": "has trouble with its disk",
    "25006": "takes no writes at the moment: it is read-only, or a standby",
}
"""By SQLSTATE, or its class; see appendix A of PostgreSQL's manual."""

_REFUSALS = (
    (r"password authentication failed|no password supplied|authentication failed", "the password is wrong"),
    (r'role ".*" does not exist', "there is no such user"),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", "this user may not connect from here"),
    (r"permission denied for database", "this user may not connect to the database"),
    (r"certificate|SSL|root.crt", "the server's certificate is not trusted"),
)
_LOGIN_HINT = "set PICAS_USERNAME and PICAS_PASSWORD, or run `picas init`"


def translate(error: psycopg.Error, address: Address) -> StoreError | ConfigError:
    """The driver's error as one of ours, in one line."""
    said = " ".join(str(error.diag.message_primary or error).split())
    if isinstance(error, errors.InsufficientPrivilege):
        user = address.options.get("user", "this user")
        return StoreFailure(
            f"pool {address.url}: role {user} has too few rights: {said}",
            hint="whoever made the pool gives them by `picas pool create --grant ROLE`",
        )
    if isinstance(error, errors.UndefinedObject) and said.startswith("role "):
        return StoreFailure(f"pool {address.url}: {said}", hint="an administrator makes it: CREATE ROLE NAME LOGIN")
    if isinstance(error, (errors.UndefinedTable, errors.InvalidSchemaName)):
        return NoPool(f"there is no pool at {address.url}", hint="`picas init` makes one in a database that is there")
    if error.sqlstate is None:
        return _unreached(said, address)
    for length in (5, 2):
        what = _UNAVAILABLE.get(error.sqlstate[:length])
        if what:
            return StoreUnavailable(f"pool {address.url} {what} ({said})", hint="try again; nothing was changed")
    return StoreFailure(f"pool {address.url}: {said} ({error.sqlstate})")


def _unreached(said: str, address: Address) -> StoreError | ConfigError:
    """No answer, or one to the connection itself, which comes without a code."""
    if re.search(r'database ".*" does not exist', said):
        name = address.options["dbname"]
        return NoPool(f"there is no database {name!r} on the server of {address.url}", hint=f"createdb {name}")
    for pattern, what in _REFUSALS:
        if re.search(pattern, said):
            hint = _LOGIN_HINT if "password" in what else ""
            return ConfigError(f"pool {address.url}: {what} ({_last(said)})", hint=hint)
    return StoreUnavailable(f"pool {address.url} is out of reach ({_last(said)})", hint="try again later")


def _last(said: str) -> str:
    """What counts of the driver's message on a connection, which tells of every address it tried."""
    return said.rpartition("failed: ")[2][:200]
