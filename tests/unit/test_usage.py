"""What a pilot's commands use, measured on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from picas.pilot.usage import Gauge

RUNNER = "import subprocess; subprocess.run(['bash', '-c', 'bash -c \"while :; do :; done\" & wait'])"


def test_the_whole_tree_below_a_runner_counts() -> None:
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], start_new_session=True)
    try:
        gauge = Gauge()
        assert gauge.read([runner.pid], 1).cpu is None
        deadline, used = time.monotonic() + 20, 0.0
        while used < 0.05 and time.monotonic() < deadline:
            time.sleep(0.3)
            usage = gauge.read([runner.pid], 1)
            used = usage.cpu or 0.0
        assert 0.05 <= used <= 2
        assert usage.memory_used is not None
        assert usage.memory_used > 1 << 20
        assert usage.busy == 1
    finally:
        os.killpg(runner.pid, 9)
        runner.wait()


def test_processes_that_are_gone_use_nothing() -> None:
    gauge = Gauge()
    gauge.read([], 0)
    usage = gauge.read([2**22 + 5], 0)
    assert (usage.cpu, usage.memory_used) == (0.0, 0)
