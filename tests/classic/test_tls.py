"""Bug 4 of the old client: a copy of a client, and so a pilot that reconnects, had its verification turned round."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import socket
import socketserver
import ssl
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.documents import Task
from picas.errors import StoreFailure


class TlsFront(socketserver.ThreadingTCPServer):
    """A TLS server before another one: what comes in is passed on. ``certificate`` may be changed at any time."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int], certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.target = target
        self.certificate = certificate
        self.url = f"https://127.0.0.1:{self.server_address[1]}"

    def context(self) -> ssl.SSLContext:
        """What a connection is made secure by."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context


class _Passage(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        try:
            inner = self.server.context().wrap_socket(self.request, server_side=True)
        except OSError:
            return  # the client does not trust us
        with inner, socket.create_connection(self.server.target) as outer:
            back = threading.Thread(target=_pass_on, args=(outer, inner))
            back.start()
            _pass_on(inner, outer)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def self_signed(path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself vouches for, with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(here, critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path / "known.pem")


@pytest.fixture
def front(couchdb_pool: dict[str, str], certificate: Path) -> Iterator[TlsFront]:
    """The server of the tests behind TLS; its database has one token."""
    plain = CouchDB(**couchdb_pool, create=True)
    plain.save(Task({"_id": "a", "type": "token"}))
    plain.db.close()
    parts = urlsplit(couchdb_pool["url"])
    with TlsFront((parts.hostname or "", parts.port or 80), certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


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
