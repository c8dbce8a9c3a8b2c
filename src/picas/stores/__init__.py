"""The kinds of databases that hold pools; the only module that knows them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from picas.errors import ConfigError
from picas.stores.base import TokenStore

__all__ = ["TokenStore", "open_store"]


def open_store(
    url: str, *, create: bool = False, username: str | None = None, password: str | None = None
) -> TokenStore:
    """The store at an address, observed: a path or ``sqlite:///path``, or ``memory:``.

    ConfigError when there is no pool (unless ``create``) or the address is of no known kind.
    """
    from picas.stores.observed import observe

    del username, password
    scheme, colon, _ = url.partition(":")
    if not colon or len(scheme) == 1 or "/" in scheme:
        return observe(_open_sqlite(url, create=create))
    if scheme not in _KINDS:
        known = ", ".join(f"{name}:" for name in _KINDS)
        raise ConfigError(f"pools at {scheme}: are not known", hint=f"known are a path, {known}")
    return observe(_KINDS[scheme](url, create=create))


def _open_sqlite(url: str, *, create: bool) -> TokenStore:
    from picas.stores.sqlite import SqliteStore

    return SqliteStore.open(Path(url).expanduser(), create=create)


def _open_sqlite_url(url: str, *, create: bool) -> TokenStore:
    path = url.removeprefix("sqlite:")
    if path.startswith("//"):
        path = path.removeprefix("//").removeprefix("/") if path.startswith("///.") else path.removeprefix("//")
    return _open_sqlite(path, create=create)


def _open_memory(url: str, *, create: bool) -> TokenStore:
    from picas.stores.memory import MemoryStore

    del url, create
    return MemoryStore()


_KINDS: dict[str, Callable[..., TokenStore]] = {"sqlite": _open_sqlite_url, "memory": _open_memory}
