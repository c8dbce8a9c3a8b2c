"""TLS before a server of the tests, with a certificate made for it."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["TlsFront", "behind_tls", "self_signed"]


@contextmanager
def behind_tls(url: str, certificate: Path) -> Iterator[TlsFront]:
    """A server behind TLS, for as long as this is open."""
    parts = urlsplit(url)
    with TlsFront((parts.hostname or "", parts.port or 80), certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


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
