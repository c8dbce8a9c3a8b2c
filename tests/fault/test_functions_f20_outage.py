"""F20: the pool is away while a pilot calls functions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest

from picas.functions import work
from picas.lifecycle import State
from picas.pilot import calls
from picas.pool import connect
from picas.testing.samples import eventually
from support.postgres_proxy import PostgresProxy
from support.postgres_server import PostgresServer

CALLS = 60


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[PostgresProxy]:
    parts = urlsplit(postgres_server.url)
    with PostgresProxy(parts.hostname or "", parts.port or 5432) as made:
        yield made


def test_calls_go_on_while_it_is_away_and_none_is_made_twice(
    postgres_server: PostgresServer, proxy: PostgresProxy
) -> None:
    database = postgres_server.database("functions")
    direct = postgres_server.address(database)
    login = urlsplit(postgres_server.url)
    via = f"postgresql://127.0.0.1:{proxy.port}/{database}?sslmode=disable"
    made: list[int] = []

    def call(n: int) -> int:
        made.append(n)
        time.sleep(0.05)
        return n

    def outage() -> None:
        with connect(direct) as other:
            eventually(lambda: other.count()[State.DONE] > 10, 60)
        proxy.refuse()
        time.sleep(3)
        proxy.accept()

    with connect(direct, create=True) as pool:
        pool.add({"_id": f"c{n}", **calls.token("call", (n,), {})} for n in range(CALLS))
        thread = threading.Thread(target=outage)
        thread.start()
        with connect(via, username=unquote(login.username or ""), password=unquote(login.password or "")) as mine:
            report = work({"call": call}, mine)
        thread.join()
        # Every call was made once, and its result is in the pool, though some came about while it was away.
        assert (report.done, report.superseded) == (CALLS, 0)
        assert sorted(made) == list(range(CALLS))
        assert pool.count()[State.DONE] == CALLS
        assert [len(doc["attempts"]) for doc in pool.documents()] == [1] * CALLS
