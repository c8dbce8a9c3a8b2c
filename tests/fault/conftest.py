"""A pool on disk for each test, and whatever its pilots leave ended after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import pilots
from support.in_memory import folder_in_memory


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[pilots.Site]:
    """A folder with an empty pool."""
    with pilots.site(tmp_path) as made:
        yield made
