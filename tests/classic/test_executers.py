"""The PiCaS contract for running a command, and for the logger's name."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from picas.executers import execute, execute_old
from picas.picaslogger import picaslogger


def test_execute_gives_process_code_and_both_streams_as_bytes() -> None:
    process, code, out, err = execute(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert isinstance(process, subprocess.Popen)
    assert (process.returncode, code, out, err) == (3, 3, b"out\n", b"err\n")


def test_execute_parses_nothing_without_a_shell() -> None:
    assert execute(["echo", "'a b' $HOME"])[1:] == (0, b"'a b' $HOME\n", b"")


def test_execute_by_the_shell() -> None:
    assert execute("echo a | tr a b", shell=True)[1:] == (0, b"b\n", b"")


def test_execute_takes_streams_larger_than_a_pipe() -> None:
    code = "import sys; sys.stdout.write('x' * 300_000); sys.stderr.write('y' * 300_000)"
    _, returncode, out, err = execute([sys.executable, "-c", code])
    assert (returncode, len(out), len(err)) == (0, 300_000, 300_000)


def test_execute_of_a_command_killed_by_a_signal() -> None:
    assert execute(["sh", "-c", "kill -9 $$"])[1] == -9


def test_execute_of_a_command_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError):
        execute(["/no/such/command"])


def test_execute_old_is_os_system() -> None:
    assert execute_old("true") == 0
    assert os.waitstatus_to_exitcode(execute_old("exit 3")) == 3


def test_the_logger_is_named_picas_and_leaves_its_set_up_to_the_program() -> None:
    assert picaslogger is logging.getLogger("PiCaS")
    assert (picaslogger.handlers, picaslogger.level, picaslogger.propagate) == ([], logging.NOTSET, True)
