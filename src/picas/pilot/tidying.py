"""What commands leave on disk, removed, and never anything beside it."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

__all__ = ["remove"]

log = logging.getLogger("picas.pilot")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it; what cannot be removed is said, and left.

    A link is removed, not what it leads to, and a folder in which something is mounted stays: what is mounted there may
    be somebody's home.
    """
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif mounted := _mounts_in(path):
            log.warning("work folder %s stays: something is mounted at %s", path, mounted[0])
        else:
            _remove_tree(path)
    except OSError as error:
        log.warning("%s could not be removed: %s", path, error.strerror or error)


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if not path.exists():
        return
    # Folders that a command made read-only, for which one needs to be more than their owner, or to change them first.
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)  # noqa: PTH101 - `os.walk` gives folders only, none of them a link
    shutil.rmtree(path)


def _mounts_in(path: Path) -> list[str]:
    """Where something is mounted below a folder (proc(5), mountinfo: spaces and the like are written in octal)."""
    inside = f"{path.resolve()}/"
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    points = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in lines]
    return [os.fsdecode(point) for point in points if os.fsdecode(point).startswith(inside)]
