"""The kinds of databases that hold pools; the only module that knows them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from picas import bundled
from picas.errors import ConfigError
from picas.stores.base import TokenStore

__all__ = ["TokenStore", "open_store"]

_REACHES = "it reaches pools on CouchDB servers: name one by --pool or PICAS_POOL, or install picas on this machine"


def open_store(url: str, *, create: bool = False, **access: Any) -> TokenStore:
    """The store at an address, observed.

    A path or ``sqlite:///path``, ``postgresql://``, ``couchdb(s)://`` or ``http(s)://``, ``memory:``.

    ``create`` makes what is missing. ``access`` is for stores on servers: ``username`` and ``password``, and for
    programs of PiCaS ``verified`` (false: any certificate will do) and ``plain`` (the password may cross a network
    unencrypted). ConfigError when there is no pool, nobody is let in, or the address is of no known kind.
    """
    from picas.stores.observed import observe

    scheme, colon, _ = url.partition(":")
    if not colon or len(scheme) == 1 or "/" in scheme:
        return observe(_open_sqlite(url, create=create))
    if scheme.lower() not in _KINDS:
        known = ", ".join(f"{name}:" for name in _KINDS)
        raise ConfigError(f"pools at {scheme}: are not known", hint=f"known are a path, {known}")
    return observe(_KINDS[scheme.lower()](url, create=create, **access))


def _open_sqlite(url: str, *, create: bool) -> TokenStore:
    bundled.refuse("has no SQLite store", _REACHES)
    from picas.stores.sqlite import SqliteStore

    return SqliteStore.open(Path(url).expanduser(), create=create)


def _open_sqlite_url(url: str, *, create: bool, **access: Any) -> TokenStore:
    del access
    path = url.removeprefix("sqlite:")
    if path.startswith("//"):
        path = path.removeprefix("//").removeprefix("/") if path.startswith("///.") else path.removeprefix("//")
    return _open_sqlite(path, create=create)


def _open_memory(url: str, *, create: bool, **access: Any) -> TokenStore:
    from picas.stores.memory import MemoryStore

    del url, create, access
    return MemoryStore()


def _open_couchdb(url: str, *, create: bool, **access: Any) -> TokenStore:
    from picas.stores.couchdb import CouchStore, read_address

    return CouchStore.open(read_address(url, **access), create=create)


def _open_postgres(url: str, *, create: bool, **access: Any) -> TokenStore:
    bundled.refuse("has no PostgreSQL store", _REACHES)
    try:
        from picas.stores.postgres import PostgresStore, read_address
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise ConfigError("the driver of PostgreSQL is missing", hint="pip install 'picas[postgres]'") from None
    return PostgresStore.open(read_address(url, **access), create=create)


_KINDS: dict[str, Callable[..., TokenStore]] = {
    "sqlite": _open_sqlite_url,
    "couchdb": _open_couchdb,
    "couchdbs": _open_couchdb,
    "http": _open_couchdb,
    "https": _open_couchdb,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
    "memory": _open_memory,
}
