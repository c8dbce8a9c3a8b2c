"""What every folder of tests can ask for."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from support import browser as chromium
from support import couchdb_server as couchdb
from support import gridengine as gridengine_server
from support import postgres_server as postgres
from support import slurm as slurm_server
from support.installing import or_skip

pytest.register_assert_rewrite("picas.testing")


@pytest.fixture(scope="session")
def couchdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[couchdb.CouchServer]:
    """A CouchDB for the whole session; skips where there can be none, but fails in CI."""
    server = or_skip(lambda: couchdb.get_server(tmp_path_factory.mktemp("couchdb")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL for the whole session; skips where there can be none, but fails in CI."""
    server = or_skip(postgres.get_server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def slurm() -> Iterator[slurm_server.Slurm]:
    """A Slurm of two nodes for the whole session; skips where there can be none, but fails in CI."""
    with or_skip(slurm_server.get_slurm) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gridengine() -> Iterator[gridengine_server.GridEngine]:
    """A GridEngine of one host for the whole session; skips where there can be none, but fails in CI as root."""
    with or_skip(gridengine_server.get_gridengine, wanted=os.getuid() == 0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    """A Chromium for the tests of a file; skips where there can be none, but fails in CI."""
    try:
        chromium.chromium()
    except chromium.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    with chromium.opened() as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured goes from one process to another, which half a character does not survive."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
