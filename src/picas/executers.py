"""PiCaS helpers that run a command and wait for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["execute", "execute_old"]

_Argument: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"


def execute(
    args: _Argument | Sequence[_Argument], shell: bool = False
) -> tuple[subprocess.Popen[bytes], int, bytes, bytes]:
    """Run a command to its end and give ``(process, return code, stdout, stderr)``, the last two as bytes.

    Both streams are held in memory. With ``shell=True`` ``args`` is a line for ``/bin/sh``. A return code
    below 0 is a signal's number. Raises ``OSError`` when the command cannot be started.
    """
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, shell=shell) as process:
        stdout, stderr = process.communicate()
    return process, process.returncode, stdout, stderr


def execute_old(cmd: str) -> int:
    """Run a line by the shell, with this process's own streams, and give its wait status (``os.system``)."""
    return os.system(cmd)  # noqa: S605 - a line for the shell is what callers give
