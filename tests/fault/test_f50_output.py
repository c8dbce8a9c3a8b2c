"""F50: output without end, in every form. Little of it is in memory, at most the cap on disk, all of it counted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from picas.lifecycle import State
from picas.tokens import log_names
from support.checker import check
from support.pilots import Pilot, Site, until

GB = 1_000_000_000
MEMORY = 100_000_000
CAP = 1 << 30

_WRITE = """
import os, sys
size, pattern, handles = int(sys.argv[1]), sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3]
block = pattern * (1048576 // len(pattern))
for start in range(0, size, len(block)):
    for handle in handles:
        part = memoryview(block)[:size - start]
        while part:
            part = part[os.write(int(handle), part):]
"""

FORMS = {
    "to-stdout": ("0123456789abcde\\n", "1"),
    "to-stderr": ("0123456789abcde\\n", "2"),
    "to-both": ("0123456789abcde\\n", "12"),
    "no-newline": ("x", "1"),
    "one-byte-lines": ("y\\n", "1"),
}


def _outlast(site: Site, size: int, form: str, cap: int) -> tuple[float, int]:
    """Have a command write so much; the bytes a second, and the most memory that the pilot and its runner took."""
    pattern, handles = FORMS[form]
    (token_id,) = site.add([sys.executable, "-c", _WRITE, str(size), pattern, handles])
    pilot = site.pilot(cores=1, lease=60.0, output_cap=cap, disk_floor=0)
    memory = _watched(pilot, 600.0)
    doc = site.doc(token_id)
    attempt = doc["attempts"][-1]
    for number, name, field in ((1, 0, "stdout_bytes"), (2, 1, "stderr_bytes")):
        wrote = size if str(number) in handles else 0
        assert attempt.get(field, 0) == wrote
        kept = _kept(site, token_id, log_names(token_id)[name])
        assert kept <= min(cap, size) + 100
        assert kept >= min(cap // 2, wrote)
    # Done: to write much is no fault. What was kept begins and ends as it was written.
    assert check(site) == {State.DONE: 1}
    return size * len(handles) / attempt["runtime"], memory


def _kept(site: Site, token_id: str, name: str) -> int:
    if name not in site.doc(token_id).get("_attachments", {}):
        return 0
    return sum(len(chunk) for chunk in site.pool.store.get_attachment(token_id, name))


def _watched(pilot: Pilot, seconds: float) -> int:
    """Wait for a pilot's end; the most memory that one of its processes took."""
    peaks: dict[int, int] = {}

    def ended() -> bool:
        for pid in [pilot.pid, *_runners(pilot.pid)]:
            peaks[pid] = max(peaks.get(pid, 0), _peak(pid))
        time.sleep(0.02)
        return pilot.process.poll() is not None

    until("the pilot ends", ended, seconds)
    return max(peaks.values())


def _runners(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("form", FORMS)
def test_a_gigabyte_in_any_form_is_cut_and_counted(site: Site, form: str) -> None:
    size = GB if form == "to-stdout" else GB // 5
    _, memory = _outlast(site, size, form, 1 << 24)
    assert memory <= MEMORY


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", FORMS)
def test_ten_gigabytes_in_any_form_are_cut_and_counted(site: Site, form: str) -> None:
    rate, memory = _outlast(site, 10 * GB, form, CAP)
    sys.stdout.write(f"\n{form}: {rate / 1e6:.0f} MB/s, {memory / 1e6:.0f} MB of memory\n")
    assert memory <= MEMORY
