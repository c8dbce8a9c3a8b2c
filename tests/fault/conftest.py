"""A pool on disk for each test, and whatever its pilots leave ended after it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import pilots


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one: for what is had on the disk again and again, and is of no use there."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="picas-test-", dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[pilots.Site]:
    """A folder with an empty pool."""
    with pilots.site(tmp_path) as made:
        yield made
