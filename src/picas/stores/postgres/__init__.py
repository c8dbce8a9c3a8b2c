"""The store for the largest pools: a schema in a PostgreSQL database."""

from picas.stores.postgres.address import read_address
from picas.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore", "read_address"]
