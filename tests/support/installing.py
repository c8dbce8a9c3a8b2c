"""What the servers of the tests need on this machine, installed where that may be."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

__all__ = ["SERVERS", "Missing", "from_debian", "one_at_a_time", "or_skip", "program", "run"]

T = TypeVar("T")

SERVERS = Path(__file__).parent.parent / "servers"
"""Where programs are that Debian does not have, or may not install."""

_SECONDS = 600.0


class Missing(Exception):
    """There is no server, and none can be had here; the message says why."""


def run(command: Sequence[str], folder: Path | None = None) -> None:
    """Run a command that must succeed; raises Missing."""
    words = " ".join(command)
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise Missing(f"{words} did not end within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise Missing(f"{words} failed: {done.stderr.decode('utf-8', 'replace')[-500:]}")


def from_debian(*packages: str) -> None:
    """Have Debian install packages, where we may; raises Missing."""
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Missing(f"the tests need {wanted}, and there is no apt-get to install them")
    if os.getuid() != 0 and not (shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"]).returncode == 0):
        raise Missing(f"the tests need {wanted}, which only root may install: apt-get install {wanted}")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    apt = apt if os.getuid() == 0 else ["sudo", "-n", *apt]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    try:
        run(install)
    except Missing:
        run([*apt, "update"])
        run(install)


def program(name: str, *packages: str) -> str:
    """Where a program is, installed by these packages of Debian if it was not there; raises Missing."""
    if not shutil.which(name):
        with one_at_a_time():
            if not shutil.which(name):
                from_debian(*packages)
    path = shutil.which(name)
    if path is None:
        raise Missing(f"there is no {name} here, which the tests need")
    return path


def or_skip(get: Callable[[], T], *, wanted: bool = True) -> T:
    """What can be had; the test is skipped where that is missing, and fails in CI when it is ``wanted`` there."""
    try:
        return get()
    except Missing as missing:
        if wanted and os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Of several test runs in this tree, one at a time."""
    with (SERVERS / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
