"""Bug 4 of the old client: a copy of a client, and so a pilot that reconnects, had its verification turned round."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.documents import Task
from picas.errors import StoreFailure
from support.tls_front import TlsFront, behind_tls, self_signed


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path / "known.pem")


@pytest.fixture
def front(couchdb_pool: dict[str, str], certificate: Path) -> Iterator[TlsFront]:
    """The server of the tests behind TLS; its database has one token."""
    plain = CouchDB(**couchdb_pool, create=True)
    plain.save(Task({"_id": "a", "type": "token"}))
    plain.db.close()
    with behind_tls(couchdb_pool["url"], certificate) as server:
        yield server


@pytest.fixture
def pool(front: TlsFront, couchdb_pool: dict[str, str], certificate: Path) -> dict[str, str]:
    """What a program gives to `CouchDB` that trusts this very certificate."""
    return {**couchdb_pool, "url": f"{front.url}?ca={certificate}"}


def copied(client: CouchDB) -> CouchDB:
    return client.copy()


def reconnected(client: CouchDB) -> CouchDB:
    actor = RunActor(client)
    actor.reconnect()
    assert actor.iterator.database is actor.db
    return actor.db


again = pytest.mark.parametrize("again", [copied, reconnected])


def test_a_certificate_that_nobody_vouches_for_is_refused(front: TlsFront, couchdb_pool: dict[str, str]) -> None:
    with pytest.raises(StoreFailure, match="not trusted"):
        CouchDB(**{**couchdb_pool, "url": front.url})


@again
def test_bug_4_one_that_verifies_goes_on_verifying(again, front: TlsFront, pool: dict[str, str]) -> None:
    client = CouchDB(**pool)
    other = again(client)
    assert other.get("a").id == "a"
    front.certificate = self_signed(front.certificate.with_name("other.pem"))
    stranger = again(client)
    with pytest.raises(StoreFailure, match="not trusted"):
        stranger.get("a")
    for opened in (client, other, stranger):
        opened.db.close()


def test_no_warning_of_the_drivers_gets_out(front: TlsFront, couchdb_pool: dict[str, str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CouchDB(**{**couchdb_pool, "url": front.url}, ssl_verification=False).db.close()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@again
def test_bug_4_one_that_does_not_verify_goes_on_without_and_says_so(
    again, front: TlsFront, couchdb_pool: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        client = CouchDB(**{**couchdb_pool, "url": front.url}, ssl_verification=False)
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("PiCaS", logging.WARNING)
    assert f"the certificate of {front.url} is not verified" in warning.getMessage()
    front.certificate = self_signed(front.certificate.with_name("other.pem"))
    other = again(client)
    assert other.get("a").id == "a"
    client.db.close()
    other.db.close()


def test_a_pilot_works_over_tls(pool: dict[str, str]) -> None:
    class Actor(RunActor):
        def process_task(self, task: Task) -> None:
            task["exit_code"] = 0
            task.done()

    client = CouchDB(**pool)
    Actor(client).run()
    assert client.view("done").rows[0].id == "a"
    client.db.close()
