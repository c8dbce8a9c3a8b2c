"""Compiles a runner's fast path while the package is built or installed for development, where there is a C compiler.

Without one nothing is lost but some speed, and the package is for any machine. `CC` names another compiler.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "src/picas/pilot/fastpath.c"
LIBRARY = "src/picas/pilot/libfastpath.so"
FLAGS = ("-O2", "-std=gnu11", "-D_FILE_OFFSET_BITS=64", "-Wall", "-Wextra", "-shared", "-fPIC")


class FastPathHook(BuildHookInterface[Any]):
    """Called by hatchling for a wheel, and for what ``pip install --editable`` makes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel bear what came of it."""
        root = Path(self.root)
        library = root / LIBRARY
        problem = compiled(root / SOURCE, library)
        if problem:
            sys.stderr.write(f"picas: the fast path of runners was not compiled: {problem}\n")
        elif version != "editable":
            build_data["artifacts"].append(LIBRARY)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compiled(source: Path, library: Path) -> str:
    """Compile the library; what was in the way, if anything."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    part = library.with_suffix(f".{os.getpid()}")
    try:
        # One of other sources must not stay, whatever comes of this.
        library.unlink(missing_ok=True)
        if not compiler:
            return "there is no C compiler"
        finished = subprocess.run(
            [*compiler.split(), *FLAGS, "-o", str(part), str(source)], capture_output=True, text=True, check=False
        )
        if finished.returncode:
            return finished.stderr.strip() or f"{compiler} ended with {finished.returncode}"
        part.replace(library)
    except OSError as error:
        return f"{compiler}: {error.strerror or error}"
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return ""
