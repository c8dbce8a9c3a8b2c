"""The contract on a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.stores.sqlite import SqliteStore
from picas.testing.contract import *  # noqa: F403
from picas.testing.contract import Reopen


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "pool.db", create=True)
    yield opened
    opened.close()


@pytest.fixture
def reopen(store: SqliteStore) -> Reopen:
    return store.twin
