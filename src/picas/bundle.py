"""Bundles: picas and all it needs for pools on CouchDB servers, in one file or folder that a bare ``python3`` runs.

In it are picas's own modules and those of its dependencies that are Python alone. What is compiled stays out: no
SQLite, no PostgreSQL, no encryption; `picas.plain_json` stands in for orjson. Nothing is unpacked when it runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from io import BytesIO
from pathlib import Path

import picas
from picas.bundled import ABOUT_FILE, About
from picas.errors import ConfigError, UsageError
from picas.files import replace

__all__ = ["COMPILED", "collect", "start_script", "write_beside", "write_file", "write_folder"]

COMPILED = frozenset({"apsw", "cryptography", "orjson", "psutil"})
"""Dependencies that run on the machine alone for which they were compiled."""
_UNUSED = frozenset({"markdown-it-py", "pygments", "colorama"})
"""What dependencies want for things that picas does not do: pages in Markdown, coloured source, Windows."""
_LEFT_OUT = ("testing", "stores/sqlite", "stores/postgres", "web")
_LEGAL = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)([._-].*)?", re.IGNORECASE)
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(;.*)?")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STAND_IN = """\
from picas.plain_json import OPT_STRICT_INTEGER, JSONDecodeError, JSONEncodeError, dumps, loads
"""
# It has to be read by old Pythons too, to tell them that they are.
_MAIN = """\
import os
import sys

if sys.version_info < (3, 10):
    sys.stderr.write("picas: this bundle needs Python 3.10 or later, and this is %s\\n" % sys.version.split()[0])
    sys.stderr.write("hint: start it with another one, as in `python3.11 picas.pyz run`\\n")
    sys.exit(3)

# The processes that a pilot starts import from here, too, and may be in another folder.
sys.path[0] = os.path.abspath(sys.path[0])

from picas.cli.main import main

sys.exit(main())
"""
_SCRIPT = """\
#!/bin/sh
# Starts a picas pilot with the first Python 3.10 or later of this node. PICAS_PYTHON names another one.
# The pool's password may be in the file picas.password beside this; it is removed once it was read.
umask 077
here=$(cd "$(dirname "$0")" && pwd) || exit 3
if [ -f "$here/picas.password" ]; then
    PICAS_PASSWORD=$(cat "$here/picas.password") || exit 3
    export PICAS_PASSWORD
    rm -f "$here/picas.password"
fi
for python in "$PICAS_PYTHON" python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
    if [ -n "$python" ] &&
        "$python" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        exec "$python" -I -S "$here/{target}" "$@"
    fi
done
echo "picas: this node has no Python 3.10 or later" >&2
echo "hint: load a module that has one before this, or name it in PICAS_PYTHON" >&2
exit 3
"""


def collect(pool: str | None = None) -> tuple[About, dict[str, bytes]]:
    """What a bundle says of itself, and its files by name, in the order of names.

    ``pool`` is the address it is for, without a password. ConfigError when a dependency's files are not known.
    """
    own = _distribution("picas")
    needed = _needed(own)
    about = About(version=own.version, holds={found.name: found.version for found in needed}, pool=pool)
    files = {
        f"picas/{ABOUT_FILE}": _json(asdict(about)),
        "__main__.py": _MAIN.encode(),
        "orjson.py": _STAND_IN.encode(),
    }
    files.update(_own_modules(Path(picas.__file__).parent))
    files.update(_papers(own))
    for found in needed:
        files.update(_papers(found))
        files.update(_modules(found))
    return about, {name: files[name] for name in sorted(files)}


def write_file(path: Path, files: Mapping[str, bytes]) -> int:
    """Write a bundle as one file, all of it or nothing; its size in bytes.

    The same files give the same bytes. ConfigError when it cannot be written.
    """
    content = BytesIO(b"#!/usr/bin/env python3\n")
    content.seek(0, os.SEEK_END)
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    write_beside(path, content.getvalue(), 0o755)
    return len(content.getvalue())


def write_folder(folder: Path, files: Mapping[str, bytes]) -> int:
    """Write a bundle as a folder, with a script that starts it, all of it or nothing; its size in bytes.

    UsageError when something is in the folder already, ConfigError when it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already, and not an empty folder", hint="name another, or remove it")
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        for name, data in {**files, "pilot.sh": start_script("").encode()}.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(data)
        (fresh / "pilot.sh").chmod(0o755)
        fresh.chmod(0o755)
        fresh.rename(folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise _unwritable(folder, error) from error
    return sum(map(len, files.values()))


def write_beside(path: Path, data: bytes, mode: int) -> None:
    """Write a file that belongs to a bundle, all of it or nothing; ConfigError when that cannot be."""
    try:
        replace(path, data)
        path.chmod(mode)
    except OSError as error:
        raise _unwritable(path, error) from error


def start_script(target: str) -> str:
    """A shell script that finds a Python and becomes the bundle of this name beside it, or the folder it is in."""
    return _SCRIPT.replace("{target}", target)


def _needed(own: Distribution) -> list[Distribution]:
    """The distributions that picas needs in a bundle, and those that these need, by name."""
    found: dict[str, Distribution] = {}
    waiting = [own]
    while waiting:
        for name, is_certain in _requirements(waiting.pop()):
            if name in found or name in COMPILED or name in _UNUSED:
                continue
            try:
                found[name] = _distribution(name)
            except ConfigError:
                if is_certain:
                    raise
                continue
            waiting.append(found[name])
    return [found[name] for name in sorted(found)]


def _requirements(of: Distribution) -> Iterator[tuple[str, bool]]:
    """Names of what a distribution requires, and whether always: others are taken where they are installed."""
    for text in of.requires or ():
        parts = _REQUIREMENT.fullmatch(text)
        if parts is not None and "extra" not in (parts[2] or ""):
            yield re.sub("[-_.]+", "-", parts[1]).lower(), parts[2] is None


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise ConfigError(f"{name} is not installed, and a bundle needs it", hint=_HOW) from None


_HOW = "make bundles where picas was installed by pip"


def _own_modules(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(tuple(f"{part}/" for part in _LEFT_OUT)):
            yield f"picas/{name}", path.read_bytes()


def _modules(found: Distribution) -> dict[str, bytes]:
    """The modules in Python of a distribution."""
    paths = [path for path in found.files or () if path.suffix == ".py" and ".." not in path.parts]
    if not paths:
        raise ConfigError(f"nothing says which files {found.name} has, and a bundle needs them", hint=_HOW)
    return {path.as_posix(): path.read_binary() for path in paths}


def _papers(of: Distribution) -> dict[str, bytes]:
    """A distribution's licence and such, and the file that says which version it is."""
    kept = {}
    for path in of.files or ():
        folder = path.parts[0]
        if folder.endswith(".dist-info") and (path.name == "METADATA" or _LEGAL.fullmatch(path.name)):
            kept[path.as_posix()] = path.read_binary()
    return kept


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be written: {error.strerror}")
