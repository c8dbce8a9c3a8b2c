"""What there is to know of the server that a pool is on, for `picas doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from picas.stores.postgres.connection import Database

__all__ = ["findings"]

Finding = tuple[str, str]

_SETTINGS = ("server_version", "fsync", "full_page_writes", "synchronous_commit", "autovacuum", "max_connections")
_LONG = 600.0
_ROLE = """SELECT rolname, rolsuper, pg_has_role(n.nspowner, 'USAGE') FROM pg_roles r, pg_namespace n
    WHERE rolname = current_user AND n.nspname = %s"""
_RIGHTS = """SELECT t.name FROM unnest(ARRAY['tokens', 'waits', 'tallies', 'files', 'chunks', 'pilots']) AS t (name)
    WHERE NOT has_table_privilege(format('%%I.%%I', %s::text, t.name), 'SELECT, INSERT, UPDATE, DELETE')"""
_OLDEST = """SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
_DEAD = "SELECT n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'tokens'"
_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def findings(db: Database) -> Iterator[Finding]:
    """A line each, with ``ok``, ``warn`` or ``bad``."""
    values = {name: str(db.one("SELECT current_setting(%s)", name)[0]) for name in _SETTINGS}
    yield "ok", f"PostgreSQL {values['server_version']}, schema {db.address.schema}"
    yield from _durability(values)
    yield from _rights(db)
    yield from _room(db, int(values["max_connections"]))
    yield from _order(db, values)


def _durability(values: dict[str, str]) -> Iterator[Finding]:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if values[name] == "off"]
    for name in off:
        yield "bad", f"{name} is off: results that were acknowledged can be lost when the server goes down"
    if not off:
        yield "ok", "what was acknowledged survives the end of the server"


def _rights(db: Database) -> Iterator[Finding]:
    role, is_super, owns = db.one(_ROLE, db.address.schema)
    missing = [name for (name,) in db.rows(_RIGHTS, db.address.schema)]
    if missing:
        yield (
            "bad",
            f"role {role} may not work with {', '.join(missing)}; `picas pool create --grant {role}` gives that",
        )
    elif is_super:
        yield "warn", f"role {role} is a superuser; pilots need only what `picas pool create --grant ROLE` gives"
    elif owns:
        yield "ok", f"role {role} owns the pool"
    else:
        yield "ok", f"role {role} may add, work and change tokens"
    over_network = db.address.options.get("host", "") not in ("", "localhost", "127.0.0.1", "::1")
    (is_secure,) = db.one(_TLS) or (False,)
    if over_network and not is_secure and not db.address.options["host"].startswith("/"):
        yield "warn", "the connection is not encrypted"


def _room(db: Database, most: int) -> Iterator[Finding]:
    (used,) = db.one(_CONNECTIONS)
    mark = "warn" if used > most * 0.8 else "ok"
    yield mark, f"{used} of {most} connections are in use; a pilot takes one, and a second while it waits for work"


def _order(db: Database, values: dict[str, str]) -> Iterator[Finding]:
    if values["autovacuum"] == "off":
        yield "bad", "autovacuum is off: claims get slower with each token that is done"
    (oldest,) = db.one(_OLDEST)
    if oldest > _LONG:
        yield (
            "warn",
            f"a transaction has been open for {oldest / 60:.0f} min: what was deleted since is still in the way",
        )
    live, dead = db.one(_DEAD, db.address.schema) or (0, 0)
    if dead > max(100_000, live):
        yield "warn", f"{dead:,} dead rows beside {live:,} tokens: the server does not keep up with clearing them away"
