"""Addresses of pools in PostgreSQL: ``postgresql://user@host:port/database?schema=NAME``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from picas.errors import ConfigError

__all__ = ["Address", "read_address"]

_SCHEMA = "picas"
_HINT = "write postgresql://user@host:port/database"
_PASSED_ON = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "host", "service"})
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a pool is, and how it is reached.

    ``options`` are those of libpq. With ``pooled`` there is a pooler in between that hands out connections by
    transaction, so that nothing may rest on what is kept by one.
    """

    url: str
    options: dict[str, str]
    schema: str
    pooled: bool = False
    password: str | None = field(default=None, repr=False)


def read_address(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    verified: bool = True,
    plain: bool = False,
) -> Address:
    """Read an address. Over a network the server's certificate is verified unless ``sslmode`` says otherwise.

    ``sslmode``, ``sslrootcert`` and the like in the address are those of libpq; a ``host`` that is a path is a
    socket's folder. ``?pooler=transaction`` is for PgBouncer in that mode. ConfigError when it cannot be read.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"the address of the pool cannot be read: {error}", hint=_HINT) from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = unquote(parts.path.lstrip("/"))
    if not database or "\0" in unquote(url):
        raise ConfigError("the address of the pool names no database", hint=_HINT)
    schema, pooler = query.pop("schema", _SCHEMA), query.pop("pooler", "session")
    _check(schema, pooler, query)
    user = username or (unquote(parts.username) if parts.username else None)
    options = {"host": host, "dbname": database, **({"user": user} if user else {}), **query}
    if port:
        options["port"] = str(port)
    options["sslmode"] = _sslmode(options, verified=verified, plain=plain)
    if not options["host"]:
        del options["host"]
    if options["sslmode"].startswith("verify") and "sslrootcert" not in options:
        options["sslrootcert"] = os.environ.get("PGSSLROOTCERT", "system")
        if options["sslrootcert"] == "system":
            options["sslmode"] = "verify-full"  # the only one with which libpq takes the system's
    given = password if password is not None else (unquote(parts.password) if parts.password else None)
    return Address(
        url=_shown(parts.scheme, user, host, port, database, schema, query),
        options=options,
        schema=schema,
        pooled=pooler == "transaction",
        password=given,
    )


def _check(schema: str, pooler: str, query: dict[str, str]) -> None:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,47}", schema) or schema.startswith("pg_"):
        raise ConfigError(f"schema {schema!r} is not allowed", hint="use small letters, digits and _, up to 48")
    if pooler not in ("session", "transaction"):
        raise ConfigError(f"pooler={pooler} is not known", hint="it is session or transaction, as in PgBouncer")
    if unknown := query.keys() - _PASSED_ON:
        known = ", ".join(sorted(_PASSED_ON | {"schema", "pooler"}))
        raise ConfigError(f"the address has an unknown option {min(unknown)!r}", hint=f"known are {known}")


def _sslmode(options: dict[str, str], *, verified: bool, plain: bool) -> str:
    if "sslmode" in options:
        return options["sslmode"]
    host = options.get("host", "")
    if "service" in options or host in _LOCAL or host.startswith("/"):
        return "prefer"
    if plain:
        return "disable"
    return "verify-full" if verified else "require"


def _shown(
    scheme: str, user: str | None, host: str, port: int | None, database: str, schema: str, query: dict[str, str]
) -> str:
    """The address without a password; two of one pool look the same."""
    login = f"{quote(user, '')}@" if user else ""
    place = f"[{host}]" if ":" in host else host
    options = {**query, **({"schema": schema} if schema != _SCHEMA else {})}
    tail = "&".join(f"{name}={quote(value, '/')}" for name, value in options.items())
    where = f"{login}{place}{f':{port}' if port else ''}/{quote(database, '')}"
    return f"{scheme}://{where}{f'?{tail}' if tail else ''}"
