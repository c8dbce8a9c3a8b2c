"""Pretended programs: scripts of a line in a folder on PATH, which a thread of the test's own process answers.

A program writes its number into a pipe and waits. What it was given (words, variables, folder, standard input) is read
from /proc; what it is to print is written to its output, and then it is told its exit code. That takes some two
milliseconds, where a Python would need forty to start; and what the programs know of is the test's own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Call", "FakePrograms", "Reply"]

# Its own streams under other numbers: the shell uses 0 and 1 itself while it reads and writes.
_PROGRAM = """\
#!/bin/sh
exec 7<&0 8>&1 9>&2
{mkfifo} "{folder}/answer-$$" || exit 99
exec 6<>"{folder}/answer-$$"
echo "$$ ${{0##*/}}" > "{folder}/calls"
read -r code <&6
exit "$code"
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a program was started with. ``stdin`` is what it may read, as far as that is a file."""

    name: str
    words: list[str]
    environ: dict[str, str]
    folder: Path
    stdin: str


@dataclass(frozen=True)
class Reply:
    """What a program prints, and its exit code."""

    out: str = ""
    err: str = ""
    code: int = 0


class FakePrograms:
    """The programs ``names``; `answer` says what each call comes to. ``lock`` is held while it does."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.lock = threading.RLock()
        self._log: list[Call] = []
        self.programs.mkdir(parents=True)
        for name in names:
            program = self.programs / name
            program.write_text(_PROGRAM.format(mkfifo=shutil.which("mkfifo"), folder=folder))
            program.chmod(0o755)
        os.mkfifo(folder / "calls")
        self._door = os.open(folder / "calls", os.O_RDWR | os.O_CLOEXEC)
        self._server = threading.Thread(target=self._serve, name=f"programs in {folder}", daemon=True)
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more. A program that still waits then waits until somebody ends it."""
        os.write(self._door, b"0 end\n")
        self._server.join()
        os.close(self._door)

    def answer(self, call: Call) -> Reply | None:
        """What a call comes to; None: it hangs, until somebody ends it."""
        raise NotImplementedError

    def path(self) -> str:
        """PATH with these programs first."""
        return f"{self.programs}{os.pathsep}{os.environ['PATH']}"

    def calls(self, name: str) -> list[list[str]]:
        """The words of each call of a program."""
        return [call.words for call in self._log if call.name == name]

    def environments(self, name: str) -> list[dict[str, str]]:
        """What each call of a program found in its environment."""
        return [call.environ for call in self._log if call.name == name]

    def told(self) -> str:
        """All that programs were ever given."""
        return "\n".join(map(str, self._log))

    def _serve(self) -> None:
        waiting = b""
        while True:
            *lines, waiting = (waiting + os.read(self._door, 4096)).split(b"\n")
            for line in lines:
                pid, name = line.decode().split(" ", 1)
                if pid == "0":
                    return
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # somebody has ended it
                    self._serve_one(Path("/proc", pid), name)

    def _serve_one(self, process: Path, name: str) -> None:
        call = _call(process, name)
        with self.lock:
            self._log.append(call)
            reply = self.answer(call)
        if reply is None:
            return
        for number, text in ((8, reply.out), (9, reply.err)):
            if text:
                with contextlib.suppress(BrokenPipeError), (process / "fd" / str(number)).open("w") as stream:
                    stream.write(text)
        self._end(self.folder / f"answer-{process.name}", reply.code)

    def _end(self, answer: Path, code: int) -> None:
        try:
            pipe = os.open(answer, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody is there any more
                raise
        else:
            os.write(pipe, f"{code}\n".encode())
            os.close(pipe)
        answer.unlink()


def _call(process: Path, name: str) -> Call:
    # The shell and the program come before its words.
    words = (process / "cmdline").read_bytes().split(b"\0")[2:-1]
    variables = (process / "environ").read_bytes().split(b"\0")
    given = process / "fd" / "7"
    return Call(
        name=name,
        words=[os.fsdecode(word) for word in words],
        environ=dict(os.fsdecode(one).partition("=")[::2] for one in variables if one),
        folder=(process / "cwd").readlink(),
        stdin=given.read_text() if given.is_file() else "",
    )
