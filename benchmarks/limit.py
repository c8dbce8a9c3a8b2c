"""The limit: how many commands per second Python can spawn here, with one bare process per slot."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from programs import Failed, own_environment

__all__ = ["spawn_rate"]

_SCRIPT = Path(__file__).parent / "drivers" / "spawn_limit.py"


def spawn_rate(what: str, count: int, slots: int, *, environment: str = "small", timeout: float = 120) -> float:
    """Commands per second of ``slots`` processes that spawn ``count`` commands (``true`` or ``echo``) together.

    The environment handed to the commands is ``small`` (PATH alone) or ``own`` (the one of this process).
    """
    share = max(1, count // slots)
    argv = [sys.executable, "-I", "-S", str(_SCRIPT), what, str(share), environment]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_started(argv)) for _ in range(slots)]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        spans = [_span(process, timeout) for process in processes]
    return share * slots / (max(end for _, end in spans) - min(start for start, _ in spans))


def _span(process: subprocess.Popen[str], timeout: float) -> tuple[float, float]:
    try:
        answer, _ = process.communicate(timeout=timeout)
        start, end = answer.split()
    except (subprocess.TimeoutExpired, ValueError) as problem:
        raise Failed(f"the spawn limit could not be measured: {problem}") from problem
    return float(start), float(end)


@contextlib.contextmanager
def _started(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own_environment())
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
