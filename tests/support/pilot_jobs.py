"""Pilots as jobs of a batch system, by the commands that a user has, on a pool in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from picas.lifecycle import State, state_of
from support.cli import Cli
from support.daemons import until

__all__ = ["SIDE", "SLEEPS", "TOGETHER", "PilotJobs", "half_a_minute_later"]

SIDE = "echo $PICAS_TOKEN_ID >> side"
"""What a command does last, which says that it got to its end."""
SLEEPS = "echo $PICAS_TOKEN_ID >> started; exec sleep 600"

TOGETHER = f"touch at-work-$PPID; until [ $(ls at-work-* | wc -l) -ge 4 ]; do sleep 0.05; done; {SIDE}"
"""No command ends before four runners, of pilots of one core, are at work, however slowly they come."""


class PilotJobs:
    """A pool, and pilots for it on ``system``. ``environ`` is what its commands need."""

    def __init__(self, system: str, folder: Path, environ: dict[str, str], pool: str = "") -> None:
        self.system = system
        self.folder = folder
        self.picas = Cli(folder, **environ, **({"PICAS_POOL": pool} if pool else {}))
        self.ids: list[str] = []

    def add(self, *commands: str) -> None:
        """Add a token for each shell command."""
        new = [f"t{number:05d}" for number in range(len(self.ids), len(self.ids) + len(commands))]
        docs = [{"_id": name, "command": ["sh", "-c", line]} for name, line in zip(new, commands, strict=True)]
        self.picas.ok("add", "--jsonl", "-", stdin="".join(json.dumps(doc) + "\n" for doc in docs))
        self.ids += new

    def submit(self, *options: str) -> list[str]:
        """Submit pilots; the ids of their jobs."""
        return self.picas.ok("pilot", "submit", self.system, "--folder", "out", *options).out.split()

    def docs(self) -> list[dict[str, Any]]:
        """All tokens, as they are stored."""
        if "PICAS_POOL" not in self.picas.environ:
            return self.picas.docs()
        return [json.loads(line) for line in self.picas.ok("ls", "--all", "-o", "jsonl").out.splitlines()]

    def lines(self, name: str) -> list[str]:
        """What commands wrote into a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def until_started(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many commands sleep."""
        until(f"{count} commands run\n{self.said()}", lambda: len(self.lines("started")) >= count, seconds)

    def until_settled(self, *states: State, seconds: float = 60.0) -> None:
        """Wait until each token is in one of these states."""
        until(f"all are {states}", lambda: all(state_of(doc) in states for doc in self.docs()), seconds)

    def said(self) -> str:
        """What the pilots printed."""
        return "\n".join(path.read_text() for path in sorted((self.folder / "out").glob("*")))

    def listed(self) -> list[dict[str, Any]]:
        """What ``picas pilot ls`` shows."""
        rows: list[dict[str, Any]] = json.loads(self.picas.ok("pilot", "ls", "-o", "json").out)["rows"]
        return rows

    def assert_all_done_once(self) -> None:
        """Each token has one accepted result, and its command got to its end once; no pilot fell over."""
        docs = self.docs()
        assert [doc["_id"] for doc in docs if state_of(doc) is State.DONE] == self.ids, self.said()
        assert sorted(self.lines("side")) == self.ids
        assert all([attempt["reason"] for attempt in doc["attempts"]].count("exit") == 1 for doc in docs), docs
        assert "Traceback" not in self.said()

    def assert_given_back(self, reasons: Sequence[str] = ("stopped", "time")) -> None:
        """Each token waits again, was charged nothing, and says why it was given back."""
        for doc in self.docs():
            assert state_of(doc) is State.TODO, (doc, self.said())
            assert (doc["scrub_count"], doc.get("lost", 0)) == (0, 0), doc
            assert doc["reason"] in reasons, doc
        assert "Traceback" not in self.said()


def half_a_minute_later(state: Path) -> None:
    """Have an autopilot's last look at its batch system be half a minute ago, so that it looks again; ``state`` is
    the folder of what its user's programs keep."""
    for journal in state.glob("picas/autopilot/*.json"):
        values = json.loads(journal.read_text())
        values["tried_at"] = values["looked_at"] = values["tried_at"] - 31
        journal.write_text(json.dumps(values))
