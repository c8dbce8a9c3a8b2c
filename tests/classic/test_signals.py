"""What batch systems and people do to pilots: signals to programs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from classic.desk import Desk, ended, is_alive
from picas.testing.samples import eventually

BLOCKING = {"input": "echo $$ > pid.new; mv pid.new pid; exec sleep 300"}


def to_the_pilot(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)


def to_all(process: subprocess.Popen[str], number: int) -> None:
    """As a terminal does, and a batch system that ends a job step."""
    os.killpg(process.pid, number)


@pytest.mark.parametrize("send", [to_the_pilot, to_all])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_child_and_gives_the_token_back(
    desk: Desk, number: int, send: Callable[[subprocess.Popen[str], int], None]
) -> None:
    desk.add(a=BLOCKING)
    pilot, pid = desk.start("run_commands.py"), desk.folder / "pid"
    eventually(lambda: pid.exists() or pilot.poll() is not None, 30)
    assert desk.overview() == {"locked": 1}
    send(pilot, number)
    ended(pilot)
    assert not is_alive(int(pid.read_text()))
    token = desk.docs("todo")["a"]
    assert (token["lock"], token["done"], token["scrub_count"]) == (0, 0, 1)
    assert "claim" not in token
    assert desk.lines("") == ["begin", "end"]


def test_a_signal_ends_a_pilot_that_waits_for_work(desk: Desk) -> None:
    pilot = desk.start("wait_for_work.py", "--until-file", "never")
    eventually(lambda: bool(desk.lines("waiting")) or pilot.poll() is not None, 30)
    desk.add(a={"input": "one"})
    eventually(lambda: desk.overview() == {"done": 1})
    pilot.send_signal(signal.SIGTERM)
    ended(pilot)
    assert desk.overview() == {"done": 1}
