"""Pythons of this machine that are not the tests' own, as they are on a node where nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["GOOD", "OLD", "SYSTEM"]

_NEEDED = (3, 10)


def _interpreters() -> dict[str, str]:
    """By version: the system's, pyenv's, any named."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    given = ["/usr/bin/python3", *map(str, sorted(pyenv.glob("versions/*/bin/python3")))]
    given += filter(None, (shutil.which(f"python3.{minor}") for minor in range(6, 20)))
    found: dict[str, str] = {}
    for path in [*given, getattr(sys, "_base_executable", sys.executable)]:
        asked = [path, "-I", "-S", "-c", "import sys, ssl, zlib; print('%d.%d' % sys.version_info[:2])"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


_FOUND = _interpreters()
GOOD = {version: path for version, path in _FOUND.items() if tuple(map(int, version.split("."))) >= _NEEDED}
"""Those that a bundle runs on, by version."""
OLD = {version: path for version, path in _FOUND.items() if version not in GOOD}
SYSTEM = next(iter(GOOD.values()))
