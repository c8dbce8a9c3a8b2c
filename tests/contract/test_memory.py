"""The contract on the pool in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from picas.stores.memory import MemoryStore
from picas.testing.contract import *  # noqa: F403
from picas.testing.contract import Reopen


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    memory = MemoryStore()
    yield memory
    memory.close()


@pytest.fixture
def reopen(store: MemoryStore) -> Reopen:
    return store.twin
