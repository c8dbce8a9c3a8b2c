"""``pilot bundle``: a pilot in one file or folder, for machines where only ``python3`` is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from picas.cli.output import clean
from picas.cli.selecting import PoolOption
from picas.cli.session import SETTINGS, address
from picas.errors import ConfigError, UsageError

__all__ = ["bundle"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.pyz")


def bundle(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.pyz]", show_default=False, help="The file to write.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a folder instead of a file.", show_default=False)
    ] = None,
    jdl: Annotated[bool, typer.Option("--jdl", help="Write a job description for the Grid beside the file.")] = False,
    run: Annotated[str, typer.Option(metavar="OPTIONS", help="Options of `picas run`, for the job description.")] = "",
    pool: PoolOption = None,
) -> None:
    """Write a pilot that needs nothing but Python 3.10 or later, for pools on CouchDB servers."""
    from picas import bundle as making
    from picas.bundled import lines, refuse
    from picas.schedulers import dirac

    refuse("makes no bundles", hint="it can be copied as it is")
    words = _run_words(run)
    target = _target(file, folder, jdl or bool(words))
    if words and not jdl:
        raise UsageError("--run is for the job description", hint="add --jdl, or give the options where it is started")
    about, files = making.collect(_pool(pool))
    size = making.write_folder(target, files) if folder else making.write_file(target, files)
    typer.echo(clean(f"{target}: {size:,} bytes, picas {about.version}"))
    for line in lines(about):
        typer.echo(clean(line))
    if jdl:
        script, description = target.with_suffix(".sh"), target.with_suffix(".jdl")
        making.write_beside(script, making.start_script(target.name).encode(), 0o755)
        text = dirac.description(target.stem, script.name, [script.name, target.name], arguments=("run", *words))
        making.write_beside(description, text.encode(), 0o644)
        typer.echo(clean(f"{description}: a job description, with {script.name} to start the pilot"))


def _target(file: Path | None, folder: Path | None, is_for_job: bool) -> Path:
    if (file is None) == (folder is None):
        raise UsageError("name a file, or a folder by --folder", hint="`picas pilot bundle picas.pyz` writes a file")
    if folder is not None and is_for_job:
        raise UsageError(
            "a job description is for a file, not for a folder", hint="`picas pilot bundle FILE.pyz --jdl`"
        )
    if file is not None and not _NAME.fullmatch(file.name):
        raise UsageError(
            f"a bundle may not be called {file.name!r}", hint="letters, digits and ._+- are good, and .pyz at its end"
        )
    found: Any = file or folder
    return Path(found)


def _pool(pool: str | None) -> str | None:
    """The address that was asked for, in a form that goes into the bundle; the environment's is another matter."""
    if pool is None and SETTINGS.pool is None:
        return None
    from picas.sandbox import address_for_bundles

    return address_for_bundles(address(pool))


def _run_words(text: str) -> tuple[str, ...]:
    """The options, when `picas run` knows them and they can stand in a job description."""
    from picas.cli import running
    from picas.config import without_credentials
    from picas.schedulers.template import HARMLESS

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--run {text!r}: {error}") from None
    for word in words:
        if without_credentials(word) != word:
            raise ConfigError("--run: a password may not stand in a job description", hint="put it in picas.password")
        if not HARMLESS.fullmatch(word):
            raise UsageError(f"--run: {word!r} cannot stand in a job description", hint="put it into FILE.sh instead")
    typer.main.get_command(running.app).make_context("picas run", list(words), resilient_parsing=False)
    return tuple(words)
