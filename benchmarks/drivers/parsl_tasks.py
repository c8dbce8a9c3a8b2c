"""Time N tasks on Parsl's HighThroughputExecutor on loopback; run in Parsl's own environment.

The workers are started and warm before the clock is.
"""

import argparse
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import parsl  # type: ignore[import-not-found]
from parsl.config import Config  # type: ignore[import-not-found]
from parsl.executors import HighThroughputExecutor  # type: ignore[import-not-found]
from parsl.providers import LocalProvider  # type: ignore[import-not-found]


def shell_true() -> str:
    return "/bin/true"


def shell_echo(stdout: str = "", stderr: str = "") -> str:  # noqa: ARG001 - parsl reads them
    return "echo hello"


def function() -> int:
    return 0


def config(slots: int) -> Config:
    """One block of ``slots`` workers on this machine."""
    executor = HighThroughputExecutor(
        label="bench",
        address="127.0.0.1",
        max_workers_per_node=slots,
        prefetch_capacity=slots * 10,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    return Config(executors=[executor], run_dir="runinfo", initialize_logging=False, retries=0)


def launcher(what: str) -> Callable[[int], Any]:
    """What starts task number n and returns its future."""
    if what == "function":
        python = parsl.python_app(function)
        return lambda _n: python()
    if what == "true":
        true = parsl.bash_app(shell_true)
        return lambda _n: true()
    echo = parsl.bash_app(shell_echo)
    return lambda n: echo(stdout=f"{n}.out", stderr=f"{n}.err")


def main() -> None:
    """Print ``{"seconds": ...}`` from the first submission until the last result is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["true", "echo", "function"])
    parser.add_argument("count", type=int)
    parser.add_argument("slots", type=int)
    parser.add_argument("timeout", type=int)
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    signal.alarm(args.timeout)
    with parsl.load(config(args.slots)):
        launch = launcher(args.what)
        for future in [launch(-n) for n in range(1, 4 * args.slots + 1)]:
            future.result()
        start = time.monotonic()
        for future in [launch(n) for n in range(args.count)]:
            if future.result() != 0:
                raise SystemExit("a task failed")
        print(json.dumps({"seconds": time.monotonic() - start}))


main()
