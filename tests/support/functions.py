"""Functions that tests call through pools, and that other processes can import."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any


def square(x: int) -> int:
    return x * x


def add(a: int, b: int, *, c: int = 0) -> int:
    return a + b + c


def unlucky(x: int) -> int:
    if x == 13:
        raise ValueError(f"{x} is unlucky")
    return x


def noted(place: dict[str, Any]) -> int:
    """Write a line for each time it is made, then its number."""
    with Path(place["file"]).open("a") as file:
        file.write(f"{place['n']} {os.getpid()}\n")
    time.sleep(place.get("seconds", 0.0))
    return int(place["n"])


def pid_slowly(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def dies(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def fails_once(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        raise OSError("not yet")
    return "at last"


def waits_for_a_process(seconds: float) -> int:
    return subprocess.run(["sleep", str(seconds)], check=False).returncode
