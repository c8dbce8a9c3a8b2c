"""``picas logs -f`` and ``picas top`` beside pilots at work, on every store."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from support.cli import Cli
from support.pilots import until

LINES = 12
STAMPS = f"for i in $(seq {LINES + 6}); do date +%s.%N; sleep 0.5; done; echo last >&2"


class Reader:
    """``picas logs -f`` in a process of its own, and each line it printed with the time at which it came."""

    def __init__(self, picas: Cli, *words: str) -> None:
        argv = picas.argv(("logs", "-f", *words))
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(argv, cwd=picas.folder, env=picas.environ, **pipes)
        self.lines: list[tuple[float, str]] = []
        self.notes: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._note, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def ended(self, seconds: float = 60.0) -> int:
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(10)
        return code

    def said(self, pattern: str) -> bool:
        return any(re.search(pattern, note) for note in self.notes)

    def _read(self) -> None:
        with self.process.stdout as stream:
            self._take(stream)

    def _take(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.lines.append((time.time(), line.decode().rstrip("\n")))

    def _note(self) -> None:
        with self.process.stderr as stream:
            for line in stream:
                self.notes.append(line.decode())


@contextmanager
def pilot(picas: Cli, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A pilot at work, told to stop at the end."""
    argv = picas.argv(("run", "--cores", "2", "--idle", "60s", *words))
    process = subprocess.Popen(
        argv, cwd=picas.folder, env=picas.environ, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_a_line_is_there_within_seconds(picas: Cli) -> None:
    picas.ok("add", "--id", "t1", "--", "bash", "-c", STAMPS)
    with pilot(picas):
        reader = Reader(picas, "t1")
        assert reader.ended() == 0, reader.notes

    stamps = [(at, float(line)) for at, line in reader.lines if line != "last"]
    assert len(stamps) == LINES + 6
    assert [written for _, written in stamps] == sorted(written for _, written in stamps)
    followed = [at - written for at, written in stamps[-LINES:]]
    print("seconds from writing to reading:", [round(lag, 2) for lag in followed])
    assert statistics.median(followed) < 3
    assert max(followed) < 6
    assert reader.lines[-1][1] == "last"
    assert reader.said("token t1 is done")


def test_it_waits_for_a_pilot_and_follows_the_next_try(picas_here: Cli) -> None:
    command = 'echo try $PICAS_FENCE; sleep 3; echo end $PICAS_FENCE; test "$PICAS_FENCE" = 2'
    picas_here.ok("add", "--id", "t1", "--max-scrub", "1", "--", "bash", "-c", command)
    reader = Reader(picas_here, "t1")
    until("it says that it waits", lambda: reader.said("waiting for a pilot"))
    with pilot(picas_here):
        assert reader.ended() == 0, reader.notes

    assert [line for _, line in reader.lines] == ["try 1", "end 1", "try 2", "end 2"]
    assert reader.said("try 1 of token t1 is over")
    assert reader.said("try 2")


def test_what_is_too_much_is_told_as_a_gap_and_the_end_is_there(picas_here: Cli) -> None:
    command = "sleep 2; for i in $(seq 4); do yes $i | head -c 300000; sleep 1.5; done; echo the end"
    picas_here.ok("add", "--id", "t1", "--", "bash", "-c", command)
    with pilot(picas_here):
        reader = Reader(picas_here, "--out", "t1")
        assert reader.ended() == 0, reader.notes

    assert reader.said(r"\.\.\. [0-9,]+ bytes of stdout skipped")
    assert reader.lines[-1][1] == "the end"
    skipped = sum(int(note.split()[1].replace(",", "")) for note in reader.notes if "skipped" in note)
    assert sum(len(line) + 1 for _, line in reader.lines) + skipped == 1_200_008


def test_two_who_follow_see_the_same(picas_here: Cli) -> None:
    for name in ("t1", "t2"):
        picas_here.ok(
            "add", "--id", name, "--", "bash", "-c", "for i in $(seq 12); do echo $0 $i; sleep 0.5; done", name
        )
    with pilot(picas_here):
        readers = [Reader(picas_here, name) for name in ("t1", "t1", "t2")]
        assert [reader.ended() for reader in readers] == [0, 0, 0]

    for reader, name in zip(readers, ("t1", "t1", "t2"), strict=True):
        assert [line for _, line in reader.lines] == [f"{name} {n}" for n in range(1, 13)]


def test_nothing_is_left_when_nobody_follows(picas: Cli) -> None:
    from picas.pool import connect

    picas.ok("add", "--id", "t1", "--", "sh", "-c", "while sleep 0.5; do echo x; done")
    with pilot(picas), connect(picas.environ.get("PICAS_POOL", str(picas.folder / "picas.db"))) as pool:
        until("it is claimed", lambda: (pool.get("t1") or {}).get("claim"))
        name = pool.get("t1")["claim"]["pilot"]
        rev = pool.get("t1")["_rev"]
        pool.store.follow(name, "t1", 6.0)
        until("a tail is there", lambda: any(b"x\n" in tail.out for tail in pool.store.tails(name)), 40)
        until("it is gone", lambda: not pool.store.tails(name), 30)
        assert pool.get("t1")["_rev"] == rev
        picas.ok("cancel", "t1", "--yes")


def test_top_shows_pilots_and_what_runs(picas: Cli) -> None:
    picas.ok("add", "--id", "t1", "--", "bash", "-c", "while :; do :; done")
    with pilot(picas, "--lease", "3s"):
        until("cpu is there", lambda: re.search(r"[01]\.\d", picas.ok("top", "--once").out), 30)
        shown = picas.ok("top", "--once").out
        picas.ok("cancel", "t1", "--yes")

    assert "t1" in shown
    assert re.search(r"locked\s+1", shown)


class Terminal:
    """A command on a terminal of so many rows and columns."""

    def __init__(self, picas: Cli, *words: str, rows: int = 24, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = {name: value for name, value in picas.environ.items() if name not in ("COLUMNS", "LINES")}
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.process = subprocess.Popen(
            picas.argv(words),
            cwd=picas.folder,
            env={**environ, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self.shown = b""

    def until(self, text: bytes, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.theirs)


def test_top_on_a_terminal_ends_with_q_and_leaves_it_as_it_was(picas_here: Cli) -> None:
    picas_here.ok("add", "--id", "t1", "--", "sleep", "60")
    with pilot(picas_here):
        terminal = Terminal(picas_here, "top", "--every", "0.5")
        terminal.until(b"t1 ")
        terminal.type(b"xq")
        assert terminal.process.wait(20) == 0
        terminal.until(b"\x1b[?1049l")
        assert termios.tcgetattr(terminal.theirs) == terminal.before
        terminal.close()
        picas_here.ok("cancel", "t1", "--yes")


def test_what_is_followed_on_a_terminal_moves_nothing(picas_here: Cli) -> None:
    picas_here.ok(
        "add", "--id", "t1", "--", "bash", "-c", r"sleep 2; printf '\033[2Jclear\n'; echo bad >&2; sleep 3; echo end"
    )
    with pilot(picas_here):
        terminal = Terminal(picas_here, "logs", "-f", "t1")
        terminal.until(b"token t1 is done")
        assert terminal.process.wait(20) == 0
        terminal.close()

    assert b"\x1b[2J" not in terminal.shown
    assert b"\\x1b[2Jclear\r\n" in terminal.shown
    assert b"--- stderr\r\nbad\r\n" in terminal.shown
    assert terminal.shown.count(b"end\r\n") == 1


def test_a_pilot_that_is_killed_does_not_leave_who_follows_waiting(picas_here: Cli) -> None:
    picas_here.ok(
        "add", "--id", "t1", "--", "bash", "-c", "echo try $PICAS_FENCE; sleep $((PICAS_FENCE == 1 ? 60 : 1))"
    )
    with pilot(picas_here, "--lease", "2s") as first:
        reader = Reader(picas_here, "t1")
        until("the first try is seen", lambda: any(line == "try 1" for _, line in reader.lines), 30)
        first.kill()
        first.wait(10)
        until("its end is told", lambda: reader.said("try 1 of token t1 is over"), 40)
    with pilot(picas_here):
        assert reader.ended() == 0, reader.notes

    assert [line for _, line in reader.lines] == ["try 1", "try 2"]
