"""Pilots as batch jobs: what a job runs, and how its pilot finds the pool without anything secret in its script.

The pool's address goes with the job. Its password does not: the pilot finds it where this user's commands do, in a file
that only they can read. Where there is no such file, nothing is submitted.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from picas.config import PoolAddress, find_pool, without_secrets
from picas.errors import ConfigError, UsageError
from picas.files import state_folder
from picas.schedulers.base import JobSpec

__all__ = [
    "PilotJob",
    "address_for_jobs",
    "environment_for_jobs",
    "is_file",
    "jobs_folder",
    "new_name",
    "warning_of",
    "with_user",
]

_WARNING = 120.0
"""Seconds before its end at which a job is warned, unless that is more than a quarter of its time."""

_ADDRESSES = ("PICAS_POOL", "PICAS_HOST_URL", "PICAS_DATABASE", "PICAS_USERNAME")
_KEPT = ("PYTHONPATH", "PICAS_SPOOL")


@dataclass(frozen=True, kw_only=True)
class PilotJob:
    """What is asked for of jobs that are pilots; `spec` makes one of a name.

    ``options`` are words for ``picas run``, ``environment`` is from `environment_for_jobs`. ``folder`` is where the
    commands of tokens run. ``program`` is what starts picas, this very one if not given, and ``sandbox`` what has to be
    where it starts. Sizes in bytes, times in seconds.
    """

    environment: Mapping[str, str]
    folder: Path
    output: Path
    options: Sequence[str] = ()
    program: Sequence[str] = ()
    sandbox: Sequence[Path] = ()
    cores: int = 1
    memory: int | None = None
    gpus: int = 0
    time: float | None = None
    warning: float | None = None
    queue: str = ""
    native: Sequence[str] = ()

    def spec(self, name: str) -> JobSpec:
        """One such job. Its name is with its pilot, too, where the batch system leaves no id."""
        return JobSpec(
            name=name,
            argv=[*(self.program or _picas()), "run", *self._amounts(), *self.options],
            folder=self.folder,
            output=self.output,
            cores=self.cores,
            memory=self.memory,
            gpus=self.gpus,
            time=self.time,
            warning=self._warning,
            queue=self.queue,
            sandbox=self.sandbox,
            environment={**self.environment, "PICAS_JOB": name},
            native=self.native,
        )

    @property
    def _warning(self) -> float:
        return warning_of(self.time) if self.warning is None else self.warning

    def _amounts(self) -> list[str]:
        """What the pilot may use, and its time: it ends of itself when the batch system would warn it."""
        words = ["--cores", str(self.cores)]
        if self.memory is not None:
            words += ["--memory", f"{max(self.memory >> 20, 1)}MiB"]
        if self.gpus:
            words += ["--gpus", str(self.gpus)]
        if self.time is not None:
            left = self.time - self._warning
            if left < 1:
                text = f"a job of {self.time:g} s that is warned {self._warning:g} s before its end has no time to work"
                raise UsageError(text, hint="give it more --time, or a shorter --warning")
            words += ["--max-time", f"{int(left)}s"]
        return words


def warning_of(time: float | None) -> float:
    """How long before its end a job of that length is warned where nothing else is asked for, in seconds."""
    return _WARNING if time is None else min(_WARNING, time / 4)


def new_name() -> str:
    """The beginning of the names of the jobs of one submission, which no other has."""
    return f"picas-{secrets.token_hex(4)}"


def jobs_folder() -> Path:
    """Where the output of jobs goes, a folder for each submission: in the user's state folder."""
    return state_folder("jobs")


def environment_for_jobs(found: PoolAddress, environ: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """The variables of a job: its pool, and the programs that are at hand here. ConfigError as `address_for_jobs`."""
    address = address_for_jobs(found, environ, cwd)
    made = {"PICAS_POOL": address} if address else {}
    programs = str(Path(sys.executable).parent)
    path = environ.get("PATH", os.defpath)
    made["PATH"] = path if path.split(os.pathsep)[0] == programs else f"{programs}{os.pathsep}{path}"
    if sys.prefix != sys.base_prefix:
        made["VIRTUAL_ENV"] = sys.prefix
    return {**made, **{name: environ[name] for name in _KEPT if environ.get(name)}}


def address_for_jobs(found: PoolAddress, environ: Mapping[str, str], cwd: Path) -> str | None:
    """The pool's address for a job that runs in ``cwd``, without a password; None where it is to find it there itself.

    Raises `ConfigError`, with what to do, when the job would not find the password, or anybody could.
    """
    if found.url.startswith("memory:"):
        raise UsageError(
            "a pool in memory is seen by one process, not by jobs", hint="`picas init` makes one in a file"
        )
    address = with_user(found)
    if is_file(found.url):
        return address
    quiet = without_secrets(environ)
    if found.is_postgres:
        return _of_postgres(found, address, environ, cwd)
    if found.password is None or find_pool(address, quiet, cwd).password == found.password:
        return address
    if _in_private_file(found, quiet, cwd):
        return None
    hint = "`picas init` keeps it encrypted in ~/.config/picas/conf.yml, where jobs find it, too"
    raise ConfigError(_would_not_find(found, environ), hint=hint)


def is_file(url: str) -> bool:
    """Whether a pool is a file, which the pilots of one machine share."""
    return "://" not in url or url.startswith("sqlite:")


def _of_postgres(found: PoolAddress, address: str, environ: Mapping[str, str], cwd: Path) -> str | None:
    """As `address_for_jobs`; the driver looks for passwords itself, where users of PostgreSQL keep them."""
    file = Path(environ.get("PGPASSFILE") or Path(environ.get("HOME", "/"), ".pgpass"))
    if (found.password is None and not environ.get("PGPASSWORD")) or file.is_file():
        return address
    if found.password is not None and _in_private_file(found, without_secrets(environ), cwd):
        return None
    hint = "write HOST:PORT:DATABASE:USER:PASSWORD to ~/.pgpass, and `chmod 600 ~/.pgpass`; jobs find it there, too"
    raise ConfigError(_would_not_find(found, environ), hint=hint)


def _in_private_file(found: PoolAddress, environ: Mapping[str, str], cwd: Path) -> bool:
    """Whether a ``picas.toml``, which a job in this folder reads as well, has the address and its password."""
    path = Path(found.origin)
    if path.name != "picas.toml":
        return False
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} has the pool's password in it, and others can read it", hint=f"chmod 600 {path}")
    rest = {name: value for name, value in environ.items() if name not in _ADDRESSES}
    return find_pool(None, rest, cwd) == found


def _would_not_find(found: PoolAddress, environ: Mapping[str, str]) -> str:
    variable = next((name for name in ("PICAS_PASSWORD", "PGPASSWORD") if environ.get(name)), found.origin)
    return f"a job would not find the pool's password: it is in {variable} alone, which no job is given"


def with_user(found: PoolAddress) -> str:
    """The address with its user's name, and without a password."""
    if not found.username or "://" not in found.url:
        return found.url
    parts = urlsplit(found.url)
    return parts._replace(netloc=f"{quote(found.username, safe='')}@{parts.netloc}").geturl()


def _picas() -> list[str]:
    """This very program. A module of the folder it runs in must not be taken for one of Python's own."""
    return [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else []), "-m", "picas"]
