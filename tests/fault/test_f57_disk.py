"""F57: the disk where the pilot writes fills up. It claims nothing until there is room, and ends what fills it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.lifecycle import State, state_of
from picas.tokens import log_names
from support.checker import SIDE, check
from support.pilots import Site, until

MB = 1_000_000
TODO = frozenset({State.TODO})


@pytest.fixture
def disk(site: Site) -> Iterator[Path]:
    """A file system of 64 MB for what the pilot keeps; its TMPDIR."""
    place = site.folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "picas", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    site.environ["TMPDIR"] = str(place)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def _fill(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


def test_nothing_is_claimed_without_room_and_all_is_done_with_it(site: Site, disk: Path) -> None:
    site.add(*[["sh", "-c", SIDE]] * 20)
    _fill(disk / "filler", 50 * MB)
    pilot = site.pilot(cores=2, lease=3.0, disk_floor=30 * MB)
    until("it says so", lambda: b"claiming nothing" in pilot.err_path.read_bytes())

    assert site.pool.count()[State.TODO] == 20
    until("it has lived for a while", lambda: [one for one in site.pool.pilots() if one.alive])
    (disk / "filler").unlink()
    assert pilot.report(30.0)["done"] == 20

    assert pilot.err_path.read_text().count("claiming nothing") == 1
    assert "there is room" in pilot.err_path.read_text()
    # All done once there was room; none was touched before.
    assert all(site.doc(token_id)["fence"] == 1 for token_id in site.ids)
    assert check(site, side=True) == {State.DONE: 20}


def test_a_command_whose_output_fills_the_disk_is_ended_and_the_quiet_one_runs_on(site: Site, disk: Path) -> None:
    fills = "while :; do head -c 1000000 /dev/zero; sleep 0.2; done"
    filling, calm = site.add(["bash", "-c", fills], ["sh", "-c", f"echo begun; sleep 16; {SIDE}"])
    pilot = site.pilot(cores=2, lease=10.0, grace=0.5, disk_floor=50 * MB)
    report = pilot.report(60.0)

    doc = site.doc(filling)
    assert (state_of(doc), doc["reason"]) == (State.ERROR, "disk")
    # Ended long before the disk was full, with what it had said; the one beside it is done.
    assert doc["attempts"][-1]["stdout_bytes"] < 60 * MB
    assert len(site.attachment(filling, log_names(filling)[0])) == doc["attempts"][-1]["stdout_bytes"]
    assert state_of(site.doc(calm)) is State.DONE
    assert report["failed"] == 1
    assert check(site) == {State.ERROR: 1, State.DONE: 1}


def test_a_command_whose_files_fill_the_disk_is_ended(site: Site, disk: Path) -> None:
    fills = "n=0; while :; do head -c 1000000 /dev/zero > file$n; n=$((n+1)); sleep 0.2; done"
    filling, calm = site.add(["bash", "-c", fills], ["sh", "-c", f"head -c 1000000 /dev/zero > mine; sleep 16; {SIDE}"])
    pilot = site.pilot(cores=2, lease=10.0, grace=0.5, disk_floor=50 * MB, attach=["nothing"])
    pilot.report(60.0)

    doc = site.doc(filling)
    assert (state_of(doc), doc["reason"]) == (State.ERROR, "disk")
    # Ended before the disk was full; the one that had written and stopped is done, and the disk is free again.
    assert state_of(site.doc(calm)) is State.DONE
    assert check(site) == {State.ERROR: 1, State.DONE: 1}
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 60 * MB
