"""The default store: one SQLite file on a local disk, any number of processes of one machine."""

from picas.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
