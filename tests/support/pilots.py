"""Pilots in processes of their own, marked so that whatever they leave behind can be found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from picas.errors import StoreUnavailable
from picas.pool import Pool, connect

T = TypeVar("T")

_PILOT = """
import dataclasses, json, os, sys
from picas.command import CommandActor, RunOptions
from picas.pool import connect
from picas.views import View

options = json.loads(sys.argv[1])
if "view" in options:
    options["view"] = View.parse(options["view"], any_name=True)
pool = {name: os.environ[f"SITE_{name.upper()}"] for name in ("url", "username", "password")}
with connect(**pool) as pool:
    report = CommandActor(pool, RunOptions(**options)).run()
print(json.dumps(dataclasses.asdict(report)))
"""


def until(what: str, condition: Callable[[], T], seconds: float = 15.0, *, every: float = 0.01) -> T:
    """Ask until the answer is true, and return it; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)
    return answer


def insist(
    act: Callable[[], T], heal: Callable[[], None], tries: int = 10, *, heal_after: int = 1
) -> tuple[T, list[StoreUnavailable]]:
    """Do it again, as a pilot does, until the store is not away; the answer, and the failures before it.

    It heals after so many failures.
    """
    failures: list[StoreUnavailable] = []
    for _ in range(tries):
        try:
            return act(), failures
        except StoreUnavailable as error:
            failures.append(error)
            if len(failures) >= heal_after:
                heal()
    raise AssertionError(f"still away after {tries} tries: {failures[-1]}")


class Pilot:
    """One pilot process."""

    def __init__(self, site: Site, number: int, options: dict[str, Any]) -> None:
        self.err_path = site.folder / f"pilot{number}.err"
        self._out_path = site.folder / f"pilot{number}.out"
        self.was_killed = False
        command = [sys.executable, "-c", _PILOT, json.dumps(options)]
        with self.err_path.open("wb") as err, self._out_path.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=site.environ, cwd=site.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.pid = self.process.pid

    def signal(self, number: int) -> None:
        """Send a signal to the pilot's process alone."""
        self.was_killed = self.was_killed or number == signal.SIGKILL
        os.kill(self.pid, number)

    def ended(self, seconds: float = 20.0) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)

    def report(self, seconds: float = 20.0) -> dict[str, Any]:
        """Wait for its proper end; what it says that it did."""
        code = self.ended(seconds)
        assert code == 0, self.err_path.read_text()
        report: dict[str, Any] = json.loads(self._out_path.read_text())
        return report


class Site:
    """A folder with one pool, and the pilots that work it.

    ``access`` is the address of a pool elsewhere (``url``, ``username``, ``password``), which its pilots may be
    made to reach by another URL, ``via``.
    """

    def __init__(
        self, folder: Path, path: Path | None = None, *, access: Mapping[str, str] | None = None, via: str | None = None
    ) -> None:
        self.folder = folder
        self.path = path or folder / "picas.db"
        found = {"url": str(self.path), "username": "", "password": "", **(access or {})}
        self.side = folder / "side.txt"
        self.mark = f"PICAS_TEST_MARK={uuid.uuid4()}"
        self.pilots: list[Pilot] = []
        self.ids: list[str] = []
        self.pool: Pool = connect(**found, create=True)
        temporary = folder / "tmp"
        temporary.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICAS_", "SLURM_"))}
        own = {"PICAS_SPOOL": str(folder / "spool"), "TMPDIR": str(temporary), "SIDE": str(self.side)}
        own |= {f"SITE_{name.upper()}": value for name, value in found.items()} | ({"SITE_URL": via} if via else {})
        self.environ = {**kept, **own, "PICAS_TEST_MARK": self.mark.partition("=")[2]}

    def add(self, *commands: str | list[str], **fields: Any) -> list[str]:
        """Add a token per command; their ids, in order."""
        first = len(self.ids)
        new = [f"t{number:05d}" for number in range(first, first + len(commands))]
        docs = [{"_id": name, "command": command, **fields} for name, command in zip(new, commands, strict=True)]
        self.pool.add(docs)
        self.ids += new
        return new

    def pilot(self, **options: Any) -> Pilot:
        """Start a pilot."""
        pilot = Pilot(self, len(self.pilots), options)
        self.pilots.append(pilot)
        return pilot

    def run(self, *commands: str | list[str], fields: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """Have one pilot work these commands to the end; the tokens as they are then."""
        new = self.add(*commands, **(fields or {}))
        self.pilot(**{"cores": 2, "lease": 10.0, "grace": 1.0, **options}).report(40.0)
        return [self.doc(token_id) for token_id in new]

    def doc(self, token_id: str) -> dict[str, Any]:
        """A token as it is stored."""
        doc = self.pool.get(token_id)
        assert doc is not None, token_id
        return doc

    def lines(self) -> list[str]:
        """What commands wrote into the file that ``$SIDE`` names."""
        return self.side.read_text().splitlines() if self.side.exists() else []

    def attachment(self, token_id: str, name: str) -> bytes:
        """A file of a token."""
        return b"".join(self.pool.store.get_attachment(token_id, name))

    def marked(self) -> list[int]:
        """Every process that has our mark in its environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if self.mark.encode() in environ.split(b"\0"):
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """End what is left, whatever happened."""
        for pilot in self.pilots:
            if pilot.process.poll() is None:
                pilot.process.kill()
            pilot.process.wait()
        for pid in self.marked():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.pool.close()


@contextmanager
def site(folder: Path, path: Path | None = None, **elsewhere: Any) -> Iterator[Site]:
    """A site that is cleaned up after."""
    made = Site(folder, path, **elsewhere)
    try:
        yield made
    finally:
        made.close()
