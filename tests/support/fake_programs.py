"""What pretended batch systems have in common: programs in a folder, a state that they share, and a log of their calls.

The programs run a module of tests/support by its file, with Python's own modules alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


class FakePrograms:
    """The programs ``names``, which run ``module`` with the folder and their own name as the first arguments."""

    def __init__(self, folder: Path, module: str, names: Sequence[str], state: dict[str, Any]) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        for name in names:
            program = self.programs / name
            words = (
                f"import runpy, sys; sys.argv[1:1] = [{str(folder)!r}, {name!r}]; sys.path.insert(0, {str(TESTS)!r})"
            )
            program.write_text(f"#!{sys.executable} -SE\n{words}; runpy.run_path({module!r}, run_name='__main__')\n")
            program.chmod(0o755)
        (folder / "state.json").write_text(json.dumps(state))

    def path(self) -> str:
        """PATH with these programs first."""
        return f"{self.programs}{os.pathsep}{os.environ['PATH']}"

    def tell(self, **told: str) -> None:
        """What commands are to do from now on."""
        with changing(self.folder) as state:
            state["told"].update(told)

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of a command."""
        return [call["argv"] for call in self._log() if call["name"] == name]

    def environments(self, name: str) -> list[dict[str, str]]:
        """What each call of a command found in its environment."""
        return [call["environ"] for call in self._log() if call["name"] == name]

    def _log(self) -> list[dict[str, Any]]:
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, Any]]:
    """The state, locked, and written back."""
    with (folder / "state.json").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        yield state
        file.seek(0)
        file.truncate()
        json.dump(state, file)


def note_call(folder: Path, name: str, words: list[str]) -> None:
    """Have a call in the log, with its environment."""
    with (folder / "calls.jsonl").open("a") as log:
        log.write(json.dumps({"name": name, "argv": words, "environ": dict(os.environ)}) + "\n")
