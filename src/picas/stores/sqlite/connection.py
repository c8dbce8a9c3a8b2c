"""A connection to a pool file: opening it safely, fair write transactions, and errors in our own words."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from picas.errors import ConfigError, NoPool, StoreError, StoreFailure, StoreUnavailable, Unsupported
from picas.selectors import regexp
from picas.stores.derived import RESTORE
from picas.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS

__all__ = ["Database", "Sql", "filesystem_type", "monotonic", "translate"]

Sql: TypeAlias = Any
"""An `apsw.Connection`, whose rows no type checker can know."""

SQLITE_VERSION = apsw.sqlite_lib_version()

OLDEST_SAFE = 3_051_003
"""Before 3.51.3 two writers could corrupt a file in write-ahead mode (sqlite.org/wal.html, the reset bug)."""

LOCK_TIMEOUT = 30.0

_NETWORK_TYPES = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "ocfs2", "orangefs", "panfs", "smb3", "smbfs"}
)

_UNAVAILABLE: dict[type[apsw.Error], str] = {
    apsw.BusyError: "is kept locked by another program",
    apsw.LockedError: "is kept locked by another program",
    apsw.FullError: "has no room: the disk is full",
    apsw.IOError: "could not be read or written",
    apsw.InterruptError: "was interrupted",
}
_FAILURES: dict[type[apsw.Error], tuple[str, str]] = {
    apsw.ReadOnlyError: ("cannot be written", "check the permissions of the file and of its folder"),
    apsw.PermissionsError: ("cannot be written", "check the permissions of the file and of its folder"),
    apsw.CantOpenError: ("cannot be opened", "check the permissions of the file and of its folder"),
    apsw.CorruptError: ("is damaged", RESTORE),
    apsw.NotADBError: ("is not a picas pool", "give the path of a pool, or of a file that does not exist yet"),
}
_WHAT_IT_IS = """SELECT (SELECT application_id FROM pragma_application_id),
    (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)"""


class Database:
    """One connection to one pool file, for the thread that opened it."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.pid = os.getpid()
        _check_library(SQLITE_VERSION)
        _check_place(path, create=create)
        self._lock = _FileLock(Path(f"{path}-lock"))
        with self.translated():
            self.sql: Sql = _connect(path)
            try:
                self._prepare(create=create)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; the last one out folds the write-ahead log into it."""
        with self.translated():
            self.sql.close()
        self._lock.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        with self.translated():
            return list(self.sql.execute(query, values))

    def one(self, query: str, *values: Any) -> Any:
        """The first row of a query, None when there is none."""
        with self.translated():
            return self.sql.execute(query, values).fetchone()

    @contextmanager
    def transaction(self) -> Iterator[Sql]:
        """A write transaction, durable when it is left; rolled back when that raises. Waits its turn, in order."""
        with self.translated(), self._lock:
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield self.sql
                self.sql.execute("COMMIT")
            except BaseException:
                if self.sql.in_transaction:
                    self.sql.execute("ROLLBACK")
                raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What the driver raises inside, as errors of ours; refuses use in a forked child, which would corrupt."""
        if os.getpid() != self.pid:
            raise StoreFailure(f"pool {self.path} was opened before a fork", hint="open it anew in the child")
        try:
            yield
        except apsw.Error as error:
            raise translate(error, self.path) from error
        except UnicodeDecodeError as error:
            raise StoreFailure(f"pool {self.path} is damaged: text in it is no UTF-8", hint=RESTORE) from error

    def _prepare(self, *, create: bool) -> None:
        version = self._version()
        if version > len(MIGRATIONS):
            raise StoreFailure(
                f"pool {self.path} was made by a newer picas (schema {version}, this one knows {len(MIGRATIONS)})",
                hint="upgrade picas",
            )
        if version == 0 and not create:
            raise StoreFailure(f"{self.path} is not a picas pool: it is empty", hint="`picas init` makes one")
        self.sql.execute("PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-16000")
        if version < len(MIGRATIONS):
            with self._lock:
                self.sql.execute("PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=67108864")
            self._migrate()
        self.sql.execute("SELECT count(*) FROM designs").fetchone()

    def _version(self) -> int:
        # In one statement: between two of them another process may make the pool.
        mark, version, tables = self.sql.execute(_WHAT_IT_IS).fetchone()
        if mark != APPLICATION_ID and tables:
            raise StoreFailure(f"{self.path} is a SQLite file of another program, not a picas pool")
        return int(version)

    def _migrate(self) -> None:
        with self.transaction() as sql:
            done = sql.execute("PRAGMA user_version").fetchone()[0]
            for number, script in enumerate(MIGRATIONS[done:], done + 1):
                sql.execute(script)
                sql.execute(f"PRAGMA user_version={number}")
            sql.execute(f"PRAGMA application_id={APPLICATION_ID}")


def translate(error: apsw.Error, path: Path) -> StoreError:
    """The driver's error as one of ours: what may be tried again, and what may not."""
    for kind, what in _UNAVAILABLE.items():
        if isinstance(error, kind):
            return StoreUnavailable(f"pool {path} {what}", hint="try again; nothing was changed")
    for kind, (what, hint) in _FAILURES.items():
        if isinstance(error, kind):
            return StoreFailure(f"pool {path} {what} ({error})", hint=hint)
    return StoreFailure(f"pool {path}: {type(error).__name__}: {error}")


def filesystem_type(path: Path, mounts: str) -> str:
    """The type of the file system a path lies on, given the text of ``/proc/self/mountinfo`` (proc(5))."""
    best, found = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
        if (point == path or point in path.parents) and len(point.parts) >= best:
            best, found = len(point.parts), rest.split(" ")[0]
    return found


def _connect(path: Path) -> Sql:
    sql: Sql = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
    sql.set_busy_timeout(int(LOCK_TIMEOUT * 1000))
    sql.create_scalar_function("regexp", regexp, 2, deterministic=True)
    return sql


def _check_library(version: str) -> None:
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    if major * 1_000_000 + minor * 1_000 + patch < OLDEST_SAFE:
        raise Unsupported(
            f"SQLite {version} can corrupt a pool that two programs write", hint="pip install --upgrade apsw"
        )


def _check_place(path: Path, *, create: bool) -> None:
    folder = path.parent
    if path.is_dir():
        raise ConfigError(f"pool {path} is a folder", hint="give the path of a file in it, such as picas.db")
    if not folder.is_dir():
        raise ConfigError(f"folder {folder} does not exist, so there can be no pool in it")
    _check_filesystem(folder)
    if path.exists():
        _check_file(path, create=create)
    elif create:
        _make(path)
    else:
        raise NoPool(f"there is no pool at {path}", hint="`picas init` makes one, `--pool` names another")


def _check_filesystem(folder: Path) -> None:
    mountinfo = Path("/proc/self/mountinfo")
    kind = filesystem_type(folder.resolve(), mountinfo.read_text()) if mountinfo.exists() else ""
    if kind in _NETWORK_TYPES or (kind.startswith("fuse.") and kind != "fuse.fuse-overlayfs"):
        raise Unsupported(
            f"{folder} is on a network file system ({kind}), where SQLite files break",
            hint="use a local disk for one machine, CouchDB or PostgreSQL for many",
        )


def _check_file(path: Path, *, create: bool) -> None:
    if not path.is_file():
        raise ConfigError(f"pool {path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreFailure(f"pool {path} cannot be written by this user", hint="check the permissions of the file")
    if not os.access(path.parent, os.W_OK):
        raise StoreFailure(f"folder {path.parent} cannot be written", hint="a pool keeps files beside itself")
    if path.stat().st_size == 0 and not create:
        raise StoreFailure(f"{path} is not a picas pool: it is empty", hint="restore a copy, or `picas init` it")


def _make(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreFailure(f"pool {path} cannot be made: {error.strerror}") from error


class _FileLock:
    """An exclusive lock on a file beside the pool, handed over in the order of asking.

    SQLite's own lock is polled: among 16 writers some wait for seconds. flock(2) queues. It cannot be given a
    time limit, so that when it is taken a thread waits for it, and undoes it when the wait was given up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = self._open()

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._handle = self._queue(self._handle)

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            raise StoreFailure(f"{self._path} cannot be opened: {error.strerror}") from error

    def _queue(self, handle: int) -> int:
        waiter = _Waiter(handle)
        waiter.start()
        waiter.join(LOCK_TIMEOUT)
        if waiter.settle():
            return handle
        self._handle = self._open()
        raise StoreUnavailable(
            f"{self._path} has been held by another process for {LOCK_TIMEOUT:.0f} s",
            hint="a stopped process (state T) that uses the pool may hold it",
        )


class _Waiter(threading.Thread):
    def __init__(self, handle: int) -> None:
        super().__init__(daemon=True, name="picas-lock")
        self._handle = handle
        self._guard = threading.Lock()
        self._locked = False
        self._abandoned = False

    def run(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        with self._guard:
            self._locked = True
            if self._abandoned:
                os.close(self._handle)

    def settle(self) -> bool:
        """Whether the lock is ours; when not, the thread gives it up as soon as it gets it."""
        with self._guard:
            self._abandoned = not self._locked
            return self._locked


def monotonic() -> tuple[str, float]:
    """This machine's boot and the seconds since it: a clock that nobody sets, common to all its processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "", time.time()
    return boot, time.monotonic()
