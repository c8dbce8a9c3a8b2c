from __future__ import annotations

from pathlib import Path

import pytest

from support.cli import Cli


@pytest.fixture
def picas(tmp_path: Path) -> Cli:
    """The command line, in a folder with an empty pool."""
    cli = Cli(tmp_path)
    cli.ok("init")
    return cli
