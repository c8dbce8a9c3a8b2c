"""The daemons of a server of the tests, in a folder of their own: started, waited for, ended with all they began."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from support import pilots
from support.installing import Missing

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Daemons", "free_ports", "until"]

_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
"""Daemons end when we do, however that comes."""
_START_SECONDS = 30.0


class Daemons:
    """Some daemons, and the folder that they work in.

    ``environ`` is what their commands must have. ``foreign`` are the beginnings of variables that another such
    server, whose job we may be, has left in our environment.
    """

    def __init__(self, name: str, foreign: Sequence[str]) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"picas-{name.lower()}-"))
        self.folder.chmod(0o711)  # jobs of any user, and munged's socket, where not all may pass
        self.environ: dict[str, str] = {}
        self._foreign = tuple(foreign)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of the commands."""
        return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, env=self._environ())

    def run(self, *words: str, stdin: str = "") -> str:
        """Run one of the commands, which must succeed; what it printed."""
        done = self.ask(*words, stdin=stdin)
        assert done.returncode == 0, (words, done)
        return done.stdout.strip()

    def start(self, name: str, *words: str) -> None:
        """Start a daemon, which must stay in the foreground."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                [*_WITH_US, *words],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environ(),
                start_new_session=True,
            )

    def until_up(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, and see that none has ended meanwhile."""

        def checked() -> bool:
            for name, daemon in self._running.items():
                if daemon.poll() is not None:
                    said = (self.folder / f"{name}.out").read_text(errors="replace")
                    raise Missing(f"{self.name} does not start, {name} ended: {said[-1500:]}")
            return condition()

        until(f"{self.name} is up in {self.folder}", checked, _START_SECONDS)

    def kill(self, name: str) -> None:
        """End a daemon as a power cut would, and nothing that it started."""
        daemon = self._running.pop(name)
        daemon.kill()
        daemon.wait()

    def close(self) -> None:
        """End them, and all that they started; nothing of it is left."""
        for name in reversed(list(self._running)):
            self.kill(name)
        for process in [process for process in psutil.process_iter() if self.is_ours(process)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_ours(self, process: psutil.Process) -> bool:
        """Whether it is a job, by its environment, or minds one, which it does in our folder."""
        with contextlib.suppress(psutil.Error, OSError):
            has_ours = self.environ.items() <= process.environ().items()
            in_ours = Path(process.cwd()).is_relative_to(self.folder)
            return process.pid != os.getpid() and (has_ours or in_ours)
        return False

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(self._foreign)}
        return {**kept, "LC_ALL": "C", **self.environ}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until all are found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Ask until the answer is true, not so often that asking is work; fails after so many seconds."""
    pilots.until(what, condition, seconds, every=0.05)
