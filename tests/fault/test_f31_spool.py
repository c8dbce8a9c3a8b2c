"""F31: the disk is full under the spool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from picas.lifecycle import State
from support import pilots
from support.checker import SIDE, check
from support.kill_points import spools
from support.pilots import Site, until
from support.postgres_server import PostgresServer


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB without room, but for some names."""
    place = tmp_path / "spool"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    with (place / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)) and shutil.disk_usage(place).free:
            continue
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def site(tmp_path: Path, full_disk: Path, postgres_server: PostgresServer) -> Iterator[Site]:
    parts = urlsplit(postgres_server.url)
    place = parts.netloc.rpartition("@")[2]
    url = f"postgresql://{place}/{postgres_server.database('full')}?sslmode=disable"
    access = {"url": url, "username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    with pilots.site(tmp_path, access=access) as made:
        yield made


def test_a_pilot_whose_spool_has_no_room_goes_on_without(site: Site, full_disk: Path) -> None:
    site.add(*[f"echo some output; {SIDE}"] * 40)
    pilot = site.pilot(cores=2, lease=10.0, grace=1.0)
    report = pilot.report(40.0)

    # It said so once, and every result is in the pool.
    assert report["done"] == 40
    errors = pilot.err_path.read_text()
    assert errors.count("results cannot be kept in") == 1
    assert "No space left on device" in errors
    assert check(site, side=True) == {State.DONE: 40}
    assert spools(site) == []


def test_the_spool_is_used_when_there_is_room_again(site: Site, full_disk: Path) -> None:
    site.add(*[f"sleep 0.1; {SIDE}"] * 60)
    pilot = site.pilot(cores=1, lease=10.0, grace=1.0)
    until("it has said so", lambda: "results cannot be kept" in pilot.err_path.read_text(), 30.0)
    (full_disk / "full").unlink()
    until("there is a spool", lambda: spools(site), 30.0)
    pilot.report(40.0)
    assert check(site, side=True) == {State.DONE: 60}
    assert spools(site) == []
