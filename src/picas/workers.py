"""Pilots for functions as processes of this program: started, replaced when they die, ended with it.

They are started anew, not forked: a SQLite file that is open must not be carried into another process
(sqlite.org/howtocorrupt.html, 2.6). So a function must be one that a new process can import, as for
`multiprocessing` and `concurrent.futures` with the start method ``spawn``. Only a pool that no other process can open
is worked by threads.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from picas.errors import PicasError, StoreUnavailable, UsageError
from picas.functions import FunctionActor
from picas.iterators import pilot_id
from picas.pilot.calls import Functions
from picas.pilot.options import RunOptions
from picas.pool import Pool, connect
from picas.process import die_with_parent

__all__ = ["Workers"]

_FRUITLESS = 3
"""Workers that die one after the other with nothing in their hands, until it is taken to be no accident."""
_ENDING = 30.0
"""Seconds that workers have to give back what they hold."""


@dataclass(kw_only=True)
class _Worker:
    name: str
    process: Any
    """A process, or a thread."""

    @property
    def has_died(self) -> bool:
        """Whether it ended, and not by itself."""
        return not self.process.is_alive() and getattr(self.process, "exitcode", 0) != 0


class Workers:
    """So many pilots that call these functions for as long as this is entered."""

    def __init__(self, pool: Pool, functions: Functions, count: int, options: Mapping[str, Any]) -> None:
        self.pool = pool
        """Whoever enters it in another thread puts a pool of that thread here."""
        self._functions = functions
        self._count = count
        self._options = dict(options)
        self._in_threads = not pool.store.capabilities.shared
        self._stop = threading.Event()
        self._workers: list[_Worker] = []
        self._fruitless = 0
        RunOptions(**self._options)  # a wrong option is told here, not by each worker
        if not self._in_threads:
            _check_importable(functions)

    def __enter__(self) -> Workers:
        atexit.register(self.close)
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def tend(self) -> None:
        """Give back what dead workers held, and put others in their place. PicasError when they cannot live at all."""
        for place, worker in enumerate(self._workers):
            if not worker.has_died:
                continue  # one that ended by itself was told to, by `picas pilot stop` say
            try:
                held = self._bury(worker)
            except StoreUnavailable:
                return
            self._fruitless = 0 if held else self._fruitless + 1
            if self._fruitless >= max(_FRUITLESS, self._count + 1):
                raise PicasError(
                    f"the workers end as soon as they begin (exit code {worker.process.exitcode})",
                    hint='their error is above; a script needs `if __name__ == "__main__":` around what starts them',
                )
            self._workers[place] = self._start()

    def close(self) -> None:
        """End them: each gives back what it holds."""
        atexit.unregister(self.close)
        self._stop.set()
        workers, self._workers = self._workers, []
        for worker in workers:
            if not self._in_threads and worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGTERM)
        until = time.monotonic() + _ENDING
        for worker in workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if not self._in_threads and worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.has_died:
                with contextlib.suppress(PicasError):  # its lease gives back what it held, then
                    self._bury(worker)

    def _bury(self, worker: _Worker) -> bool:
        """Give back what a dead worker held, and forget it; whether it held anything."""
        held = self.pool.give_back(worker.name).changed
        self.pool.store.forget(worker.name)
        return bool(held)

    def _start(self) -> _Worker:
        name = pilot_id()
        if self._in_threads:
            thread = threading.Thread(target=self._work_here, args=(name,), name=name, daemon=True)
            thread.start()
            return _Worker(name=name, process=thread)
        address = self.pool.opened_with or (self.pool.url, None, "")
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_work, args=(os.getpid(), address, self._functions, self._options, name))
        process.start()
        return _Worker(name=name, process=process)

    def _work_here(self, name: str) -> None:
        with self.pool.twin() as pool:
            FunctionActor(pool, self._functions, _options(self._options), name=name, stop=self._stop).run()


def _work(parent: int, address: tuple[str, str | None, str], functions: Functions, options: Any, name: str) -> None:
    """A worker's life, in a process of its own."""
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return
    url, username, password = address
    with contextlib.suppress(KeyboardInterrupt), connect(url, username=username, password=password) as pool:
        FunctionActor(pool, functions, _options(options), name=name).run()


def _options(given: Mapping[str, Any]) -> RunOptions:
    return RunOptions(**{"idle": float("inf"), **given})


def _check_importable(functions: Functions) -> None:
    for name, function in functions.items():
        try:
            pickle.dumps(function)
        except (pickle.PicklingError, AttributeError, TypeError):
            raise UsageError(
                f"function {name} cannot be called by another process",
                hint="define it with `def` at the top of a module or script, not within a function, nor by lambda",
            ) from None
