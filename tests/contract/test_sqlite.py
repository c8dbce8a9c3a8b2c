"""The contract on SQLite files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.stores.sqlite import SqliteStore
from picas.testing.contract import *  # noqa: F403
from picas.testing.contract import Reopen


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    sqlite = SqliteStore.open(tmp_path / "pool.db", create=True)
    yield sqlite
    sqlite.close()


@pytest.fixture
def reopen(store: SqliteStore, tmp_path: Path) -> Reopen:
    return lambda: SqliteStore.open(tmp_path / "pool.db")
