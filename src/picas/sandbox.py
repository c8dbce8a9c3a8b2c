"""Pilots as jobs wherever these run: as this very program, or as a bundle for nodes that see nothing of this machine.

To such nodes, as those of the Grid, a bundle travels with the job, and a script that starts it. The pool's address is
in the job's script. Its password is in nothing that is made here: whoever wants it to travel, too, has a private file
``picas.password`` go with the job, and says so; the start script reads and removes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from picas import bundle
from picas.bundled import refuse
from picas.config import PoolAddress
from picas.errors import ConfigError
from picas.submission import PilotJob, environment_for_jobs, with_user

__all__ = ["PASSWORD_FILE", "address_for_bundles", "pack", "pilot_job"]

PASSWORD_FILE = "picas.password"  # noqa: S105 - of the file, not the password
"""Beside the start script, with the pool's password in it."""

_BUNDLE, _START = "picas.pyz", "picas.sh"


def pilot_job(
    found: PoolAddress, environ: Mapping[str, str], folder: Path, output: Path, *, far: bool, **asked: Any
) -> PilotJob:
    """A pilot on this pool as a job; ``asked`` is what else a `PilotJob` has. Nothing is written.

    ``far``: on nodes that see nothing of this machine, by a bundle that `pack` puts into ``output``. Raises
    ConfigError, with what to do, when the pilot would not reach the pool, or not find its password.
    """
    if not far:
        environment = environment_for_jobs(found, environ, folder)
        return PilotJob(environment=environment, folder=folder, output=output, **asked)
    refuse("makes no bundles, which these jobs need", hint="submit them where picas is installed")
    _must_have_password(found, asked.get("native", ()), folder)
    return PilotJob(
        environment={"PICAS_POOL": address_for_bundles(found)},
        folder=folder,
        output=output,
        program=("/bin/sh", _START),
        sandbox=(output / _START, output / _BUNDLE),
        **asked,
    )


def pack(folder: Path) -> None:
    """Write what travels with far jobs into their folder. ConfigError when that cannot be."""
    bundle.write_file(folder / _BUNDLE, bundle.collect()[1])
    bundle.write_beside(folder / _START, bundle.start_script(_BUNDLE).encode(), 0o755)


def address_for_bundles(found: PoolAddress) -> str:
    """A pool's address with its user, and without a password; ConfigError for a pool that no bundle reaches."""
    if not found.is_couchdb:
        raise ConfigError(f"a bundle does not reach {found.url}", hint="it reaches pools on CouchDB servers only")
    return with_user(found)


def _must_have_password(found: PoolAddress, native: Sequence[str], folder: Path) -> None:
    """A pool with a password: the file for it is named among the native options, and nobody else can read it."""
    if found.password is None:
        return
    named = [folder / part for word in native for part in re.split("[=,]", word) if Path(part).name == PASSWORD_FILE]
    if not named:
        hint = (
            f"write it to {PASSWORD_FILE} (umask 077), and have that go with the jobs: -- InputSandbox={PASSWORD_FILE}"
        )
        raise ConfigError("far from here a job would not find the pool's password", hint=hint)
    path = named[0]
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file", hint="write the pool's password to it")
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} has the pool's password in it, and others can read it", hint=f"chmod 600 {path}")
