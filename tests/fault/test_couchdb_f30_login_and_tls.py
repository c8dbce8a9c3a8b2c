"""F30: the password is wrong, the cookie is old, the rights are missing, or the server is not the one it should be."""

from __future__ import annotations

import datetime
import io
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from picas.errors import ConfigError, NoPool, NoSuchView, PicasError, StoreFailure, StoreUnavailable
from picas.lifecycle import State, state_of
from picas.pilot.heart import Heart
from picas.stores.base import PilotRecord
from picas.stores.couchdb import CouchStore, read_address
from picas.testing.samples import TODO, claim, put
from picas.views import Design, View
from support import couch_faults, faults
from support.cli import Cli
from support.couch_faults import Scene, end, one_line, within
from support.couchdb_server import CouchServer
from support.fault_proxy import Exchange, Fault, FaultProxy, Reply, Rule
from support.pilots import until

WRONG = "wrong-canary"
NOBODY = "nobody-of-f30"
"""A name that no server has: it may lock it out without harm to others."""
LOCKED_OUT_AFTER = 2
LOGINS = ["basic", "cookie"]
FILE = b"x" * 100_000


def _xfail(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason)


@pytest.fixture(scope="module")
def place(couchdb_server: CouchServer) -> Iterator[Scene]:
    with couch_faults.scene(couchdb_server) as made:
        yield made


@pytest.fixture
def scene(place: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A pool that only its members may use, with one token."""
    couch_faults.hasten(monkeypatch)
    place.fresh()
    assert place.direct.server is not None
    place.direct.server.security(_SECURITY)
    put(place.direct, "a")
    place.direct.put_attachment("a", "in", io.BytesIO(FILE))
    return place


MEMBER, STRANGER = ("pilot-of-f30", "member-canary"), ("stranger-of-f30", "stranger-canary")
_SECURITY = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [MEMBER[0]], "roles": []}}


@pytest.fixture(scope="module")
def users(couchdb_server: CouchServer, place: Scene) -> Iterator[None]:
    """A member of the pool and somebody who is none are users of the server."""
    assert place.direct.server is not None
    for name, password in (MEMBER, STRANGER):
        place.direct.server.add_user(name, password, [])
    yield
    for name, _ in (MEMBER, STRANGER):
        path = f"/_users/{quote(f'org.couchdb.user:{name}', '')}"
        revision = couchdb_server.request("GET", path).json()["_rev"]
        couchdb_server.request("DELETE", f"{path}?rev={revision}")


def _open(scene: Scene, user: tuple[str, str] | None, query: str = "", **more: Any) -> CouchStore:
    username, password = user or (None, None)
    return CouchStore.open(read_address(scene.url(query=query), username=username, password=password), **more)


def _log_ins(scene: Scene, since: int, *, by_cookie: bool) -> int:
    """How many requests brought name and password to the server."""
    new = scene.proxy.seen[since:]
    return sum("/_session" in one.path if by_cookie else "authorization" in one.headers for one in new)


def _refused(error: PicasError, scene: Scene) -> None:
    one_line(error, scene)
    assert isinstance(error, ConfigError), repr(error)
    assert error.exit_code == 3
    assert error.hint


# The password


@pytest.mark.parametrize("login", LOGINS)
def test_a_wrong_password_is_tried_once(scene: Scene, login: str) -> None:
    seen = len(scene.proxy.seen)

    with pytest.raises(ConfigError, match="password is wrong") as caught:
        _open(scene, (NOBODY, WRONG), f"?auth={login}")

    _refused(caught.value, scene)
    assert WRONG not in f"{caught.value} {caught.value.hint} {caught.value!r}"
    assert 1 <= _log_ins(scene, seen, by_cookie=login == "cookie") <= LOCKED_OUT_AFTER
    # The pool was not touched.
    assert state_of(scene.doc("a")) is State.TODO


class _Refusing(Fault):
    """Nobody is let in any more, by password or cookie; the answers take their time."""

    def answer(self, exchange: Exchange) -> Reply:
        exchange.wait(0.05)
        return faults.status(401, b'{"error":"unauthorized","reason":"Name or password is incorrect."}').answer(
            exchange
        )


def _calls(store: CouchStore) -> list[Callable[[], Any]]:
    return [
        lambda: store.get(["a"]),
        lambda: store.put([{"_id": "b"}]),
        lambda: store.page(TODO),
        lambda: list(store.get_attachment("a", "in")),
        lambda: store.put_attachment("a", "out", io.BytesIO(FILE)),
        lambda: claim(store),
        lambda: store.pilots(),
        lambda: store.designs(),
    ]


@pytest.mark.parametrize("login", ["basic", "cookie"])
def test_a_password_that_was_changed_is_not_tried_over_and_over(
    scene: Scene, caplog: pytest.LogCaptureFixture, login: str
) -> None:
    handles = [store := scene.open(query=f"?auth={login}"), store.twin(), store.twin().twin()]
    record = PilotRecord(id="p1", hostname="n", pid=os.getpid(), started_at=0.0, lease=0.3)
    with Heart(store.twin, record) as heart:
        until("it beats", lambda: heart.last is not None)
        store.wait(0.0)
        seen = len(scene.proxy.seen)
        scene.proxy.plan(lambda *asked: _Refusing())
        for handle in handles * 3:
            for act in _calls(handle):
                with pytest.raises(ConfigError) as caught:
                    act()
                _refused(caught.value, scene)
        until("beats have failed", lambda: "could not renew its lease" in caplog.text)
    refused = _log_ins(scene, seen, by_cookie=login == "cookie")
    scene.heal()
    for handle in handles:
        end(handle)
    scene.direct.forget("p1")

    # The handles, their twins, the heart and the watcher all know of it; the server was not asked to lock us out.
    assert refused <= LOCKED_OUT_AFTER
    assert state_of(scene.doc("a")) is State.TODO


@pytest.mark.parametrize(
    "login", [pytest.param("basic", marks=_xfail("who asks before the first refusal sends the password too")), "cookie"]
)
def test_a_password_that_was_changed_is_not_tried_by_many_at_once(scene: Scene, login: str) -> None:
    store = scene.open(query=f"?auth={login}")
    handles = [store.twin() for _ in range(8)]
    for handle in handles:
        handle.get(["a"])
    seen = len(scene.proxy.seen)
    scene.proxy.plan(lambda *asked: _Refusing())
    problems: list[Exception] = []

    def ask(handle: CouchStore) -> None:
        try:
            handle.get(["a"])
        except Exception as problem:  # noqa: BLE001 - the test looks at it
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=(handle,)) for handle in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = _log_ins(scene, seen, by_cookie=login == "cookie")
    scene.heal()

    # Each was told, and the server locks nobody out.
    assert [type(problem) for problem in problems] == [ConfigError] * len(handles)
    assert refused <= LOCKED_OUT_AFTER


def test_the_command_line_says_it_in_a_line(scene: Scene, tmp_path: Path) -> None:
    picas = Cli(tmp_path)
    parts = urlsplit(scene.url())
    seen = len(scene.proxy.seen)

    pool = f"http://{NOBODY}:{WRONG}@{parts.netloc}{parts.path}"
    by_pool = picas("status", PICAS_POOL=pool)
    given = {"PICAS_HOST_URL": scene.proxy.url, "PICAS_DATABASE": scene.database}
    by_variables = picas("status", PICAS_USERNAME=NOBODY, PICAS_PASSWORD=WRONG, **given)

    for answer in (by_pool, by_variables):
        assert (answer.code, answer.out) == (3, ""), answer
        lines = answer.err.strip().splitlines()
        assert len(lines) == 2, lines
        assert "password is wrong" in lines[0]
        assert lines[1].startswith("hint:")
        assert WRONG not in answer.err
    # One try each.
    assert _log_ins(scene, seen, by_cookie=False) == 2


def test_a_pilot_with_a_wrong_password_ends_at_once(scene: Scene, tmp_path: Path) -> None:
    parts = urlsplit(scene.url())
    pool = f"http://{NOBODY}:{WRONG}@{parts.netloc}{parts.path}"

    answer = within(20.0, lambda: Cli(tmp_path)("run", "--", "true", PICAS_POOL=pool))

    assert answer.code == 3
    assert "password is wrong" in answer.err
    # Nothing was claimed.
    assert state_of(scene.doc("a")) is State.TODO


# The cookie


def _expired() -> Rule:
    """Cookies are refused until somebody has logged in again."""
    renewed = False

    def rule(method: str, path: str, number: int) -> Fault | None:
        nonlocal renewed
        renewed = renewed or path == "/_session"
        return None if renewed else faults.status(401, b'{"error":"unauthorized","reason":"expired"}')

    return rule


COOKIES = {
    "reads": lambda store: store.get(["a"]),
    "writes": lambda store: store.put([{"_id": "b"}]),
    "lists": lambda store: store.page(TODO),
    "uploads": lambda store: store.put_attachment("a", "out", io.BytesIO(FILE)),
    "downloads": lambda store: b"".join(store.get_attachment("a", "in")),
    "claims": claim,
    "beats": lambda store: store.pilots(),
}


@pytest.mark.parametrize(
    "what",
    list(COOKIES),
)
def test_an_expired_cookie_is_renewed_once(scene: Scene, what: str) -> None:
    store = scene.open(query="?auth=cookie")
    store.get(["a"])
    seen = len(scene.proxy.seen)
    scene.proxy.plan(_expired())

    COOKIES[what](store)
    store.twin().get(["a"])

    assert _log_ins(scene, seen, by_cookie=True) == 1
    # What was asked was done, and the file is whole.
    assert b"".join(scene.direct.get_attachment("a", "in")) == FILE
    if what == "uploads":
        assert b"".join(scene.direct.get_attachment("a", "out")) == FILE


def test_a_cookie_of_another_server_is_renewed(scene: Scene) -> None:
    store = scene.open(query="?auth=cookie")
    store._opened[1].cookie = "AuthSession=YWRtaW46NjAwMDAwMDA6yyyyyyyyyyyyyyyyyyyyyyyyyyy"

    assert [doc["_id"] for doc in store.get(["a"]) if doc] == ["a"]
    # Since then the new one is sent.
    assert "yyyy" not in store._opened[1].cookie


def test_a_log_in_shows_no_secret(scene: Scene) -> None:
    store = scene.open(query="?auth=cookie")
    store.get(["a"])
    password, cookie = scene.server.password or "-", store._opened[1].cookie.partition("=")[2]

    shown = f"{store._opened[1].address!r} {store._opened[1].address} {store.url} {store.capabilities}"
    assert password not in shown
    assert cookie
    # Neither the name's password nor its cookie is in what a log could hold.
    assert cookie not in shown


# The rights


def test_a_pool_that_is_not_there(scene: Scene) -> None:
    missing = f"{scene.proxy.url}/missing-{scene.database}"
    address = read_address(missing, username=scene.server.admin, password=scene.server.password)

    with pytest.raises(NoPool) as caught:
        CouchStore.open(address)

    _refused(caught.value, scene)
    assert missing in caught.value.message
    # Opening did not make it.
    assert scene.server.request("GET", f"/missing-{scene.database}").status == 404


def test_a_pool_that_goes_away_while_it_is_used(couchdb_server: CouchServer) -> None:
    with couch_faults.scene(couchdb_server) as scene:
        put(scene.direct, "a")
        scene.direct.put_attachment("a", "in", io.BytesIO(FILE))
        store = scene.open()
        (mine,) = claim(store)
        assert couchdb_server.request("DELETE", f"/{scene.database}").status == 200
        get, put_, page, _, upload, claim_, _, designs = _calls(store)
        for act in (get, put_, page, upload, claim_, designs, lambda: store.delete([mine]), store.count):
            with pytest.raises(NoPool) as caught:
                act()
            # Nobody takes it for an empty pool.
            _refused(caught.value, scene)
        end(store)


def test_a_pool_that_goes_away_has_no_pilots_to_count(couchdb_server: CouchServer) -> None:
    with couch_faults.scene(couchdb_server) as scene:
        store = scene.open()
        assert couchdb_server.request("DELETE", f"/{scene.database}").status == 200
        # Nobody takes it for a pool without pilots.
        with pytest.raises(NoPool):
            store.pilots()


def test_a_view_that_is_not_there(scene: Scene) -> None:
    store = scene.open()
    for view in (View(State.TODO, "Nowhere"), View(State.TODO, "Monitor", "mine"), View(State.TODO, "Nowhere", "mine")):
        with pytest.raises(NoSuchView) as caught:
            claim(store, view=view)
        one_line(caught.value, scene)
        assert caught.value.exit_code == 2
        assert caught.value.hint

    # The token was not claimed by another view instead.
    assert state_of(scene.doc("a")) is State.TODO


def test_a_stranger_is_told_what_to_do(scene: Scene, users: None) -> None:
    with pytest.raises(StoreFailure) as caught:
        _open(scene, STRANGER)

    one_line(caught.value, scene)
    assert f"user {STRANGER[0]} may not" in caught.value.message
    assert "administrator" in caught.value.hint
    with pytest.raises(ConfigError, match="wants a user name and a password") as nobody:
        _open(scene, None)
    # Neither saw the pool.
    _refused(nobody.value, scene)


def test_a_member_may_work_and_not_make_views(scene: Scene, users: None) -> None:
    member = _open(scene, MEMBER)
    before = scene.direct.designs()
    with pytest.raises(StoreFailure) as caught:
        member.install(Design.from_source("Mine", {"cores": 4}))

    one_line(caught.value, scene)
    assert f"user {MEMBER[0]} may not" in caught.value.message
    assert "administrator" in caught.value.hint
    assert scene.direct.designs() == before
    # The handle works on, and the token is the member's.
    assert [doc["_id"] for doc in claim(member)] == ["a"]
    assert state_of(scene.doc("a")) is State.LOCKED
    end(member)


def _not_on_pouchdb(scene: Scene) -> None:
    if scene.server.flavour == "pouchdb":
        pytest.skip("pouchdb-server differs: it shows its configuration to everybody")


def test_what_only_an_administrator_may_does_not_make_a_password_wrong(scene: Scene, users: None) -> None:
    with pytest.raises(PicasError) as caught:
        _open(scene, MEMBER).drop()
    message = one_line(caught.value, scene).message
    missing = read_address(f"{scene.proxy.url}/x{scene.database}", username=MEMBER[0], password=MEMBER[1])
    with pytest.raises(PicasError) as made:
        CouchStore.open(missing, create=True)

    # The pool is there, and nobody was told that a right password is wrong.
    assert state_of(scene.doc("a")) is State.TODO
    assert "password is wrong" not in message
    assert "password is wrong" not in one_line(made.value, scene).message


def test_a_member_can_have_the_server_looked_at(scene: Scene, users: None) -> None:
    _not_on_pouchdb(scene)
    member = _open(scene, MEMBER)
    assert member.server is not None

    findings = list(member.server.findings())

    assert not [text for _, text in findings if "password is wrong" in text]
    assert any("member of this database" in text for _, text in findings)
    # The handle works on.
    assert [doc["_id"] for doc in claim(member)] == ["a"]
    end(member)


READ_ONLY = """function (newDoc, oldDoc, userCtx) {
  if (userCtx.roles.indexOf("_admin") < 0) { throw({forbidden: "this pool is read-only\\nfor now"}); }
}"""


@contextmanager
def _guarded(scene: Scene) -> Iterator[None]:
    path = f"/{scene.database}/_design/guard"
    revision = scene.server.request("PUT", path, {"validate_doc_update": READ_ONLY}).json()["rev"]
    try:
        yield
    finally:
        scene.server.request("DELETE", f"{path}?rev={revision}")


@pytest.mark.parametrize("what", ["claims", "writes"])
def test_a_write_that_the_database_forbids(scene: Scene, users: None, what: str) -> None:
    member = _open(scene, MEMBER)
    with _guarded(scene), pytest.raises(StoreFailure) as caught:
        COOKIES[what](member)

    assert "this pool is read-only" in caught.value.message
    assert "does not allow this write" in caught.value.message
    assert caught.value.hint
    # Nothing was changed; and where it is allowed again, the same handle can.
    assert [state_of(doc) for doc in scene.docs()] == [State.TODO]
    assert claim(member) != []
    end(member)


def test_a_write_that_the_database_forbids_is_told_in_a_line(scene: Scene, users: None) -> None:
    member = _open(scene, MEMBER)
    with _guarded(scene), pytest.raises(StoreFailure) as caught:
        member.put([{"_id": "b"}])

    end(member)
    one_line(caught.value, scene)
    # It was not added.
    assert scene.direct.get(["b"]) == [None]


# The certificate


@dataclass
class Authority:
    """Makes certificates, in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of the tests")])
        made = self._signed(self.name, self.key, 0, 1, "authority", is_authority=True)
        self.path = self.folder / "authority.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def certificate(self, host: str = "127.0.0.1", *, days: int = 1, own: bool = False) -> ssl.SSLContext:
        """What a server needs that is called so; its certificate is valid until in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        signer = Authority.__new__(Authority) if own else self
        if own:
            signer.folder, signer.key, signer.name = self.folder, key, name
        made = signer._signed(name, key, -10, days, host)
        path = self.folder / f"{host}-{days}-{own}.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(
        self, name: x509.Name, key: Any, since: int, until: int, host: str, *, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=since - 20))
            .not_valid_after(now + datetime.timedelta(days=until))
            .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Front:
    """Speaks TLS with whatever certificate it is told to; ``received`` is what it decrypts, and passes on."""

    def __init__(self, behind: FaultProxy, context: ssl.SSLContext) -> None:
        self.context = context
        self.received = b""
        self.handshakes = 0
        self._behind = behind
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def cut(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        self.handshakes += 1
        try:
            with self.context.wrap_socket(raw, server_side=True) as client:
                self._sockets.append(client)
                with socket.create_connection(("127.0.0.1", self._behind.port)) as server:
                    self._sockets.append(server)
                    back = threading.Thread(target=_pump, args=(server, client))
                    back.start()
                    while data := client.recv(65536):
                        self.received += data
                        server.sendall(data)
                    server.shutdown(socket.SHUT_RDWR)
                    back.join()
        except OSError:
            raw.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


BAD: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "self-signed": lambda authority: authority.certificate(own=True),
    "expired": lambda authority: authority.certificate(days=-1),
    "of another host": lambda authority: authority.certificate("other.example"),
    "of another address": lambda authority: authority.certificate("127.0.0.9"),
}


@contextmanager
def _front(scene: Scene, context: ssl.SSLContext) -> Iterator[Front]:
    made = Front(scene.proxy, context)
    try:
        yield made
    finally:
        made.close()


def _https(scene: Scene, front: Front, query: str) -> CouchStore:
    access = {"username": scene.server.admin, "password": scene.server.password}
    return CouchStore.open(read_address(scene.url(front.url, query), **access))


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_certificate_gets_nothing(scene: Scene, authority: Authority, kind: str, login: str) -> None:
    with _front(scene, BAD[kind](authority)) as front:
        for query in (f"?auth={login}&ca={authority.path}", f"?auth={login}"):
            with pytest.raises(StoreFailure, match="certificate is not trusted") as caught:
                within(5.0, lambda: _https(scene, front, query))  # noqa: B023 - called at once
            assert "\n" not in caught.value.message
            assert front.url.partition("//")[2] in caught.value.message
        # Not one byte was said to it, let alone a password.
        assert front.received == b""
        assert front.handshakes >= 2


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_certificate_after_a_reconnect_gets_nothing(
    scene: Scene, authority: Authority, kind: str, login: str
) -> None:
    with _front(scene, authority.certificate()) as front:
        store = _https(scene, front, f"?auth={login}&ca={authority.path}")
        twin = store.twin()
        assert store.get(["a"]) == twin.get(["a"]) == [scene.doc("a")]
        front.context = BAD[kind](authority)
        front.cut()
        front.received = b""
        handshakes = front.handshakes

        for handle in (store, twin, store.twin()):
            for act in _calls(handle):
                with pytest.raises(StoreFailure, match="certificate is not trusted"):
                    act()

        # Whoever stands there now heard nothing; the token is as it was.
        assert front.handshakes > handshakes
        assert front.received == b""
        assert state_of(scene.doc("a")) is State.TODO
        for handle in (store, twin):
            handle.close()


@pytest.mark.parametrize("login", LOGINS)
def test_the_right_authority_is_enough(scene: Scene, authority: Authority, login: str) -> None:
    with _front(scene, authority.certificate()) as front:
        store = _https(scene, front, f"?auth={login}&ca={authority.path}")
        for act in _calls(store):
            act()
        front.cut()
        # The token, claimed meanwhile, is read over a connection made anew.
        assert [state_of(doc) for doc in store.get(["a"]) if doc] == [State.LOCKED]
        assert front.received.count(b"uthorization: Basic" if login == "basic" else b"Cookie: AuthSession") >= 8
        store.close()


def test_a_server_that_does_not_speak_tls(scene: Scene, authority: Authority) -> None:
    seen = len(scene.proxy.seen)
    address = read_address(
        scene.url(scene.proxy.url.replace("http:", "https:"), f"?ca={authority.path}"), username="u", password=WRONG
    )

    with pytest.raises(PicasError) as caught:
        within(10.0, lambda: CouchStore.open(address))

    assert "\n" not in caught.value.message
    assert scene.proxy.url.partition("//")[2] in caught.value.message
    # It got no request, and with it no password.
    assert scene.proxy.seen[seen:] == []


def test_a_connection_that_is_cut_in_the_middle_is_made_anew(scene: Scene, authority: Authority) -> None:
    with _front(scene, authority.certificate()) as front:
        store = _https(scene, front, f"?ca={authority.path}")
        scene.proxy.plan(couch_faults.on("_all_docs", couch_faults.half()))
        assert [doc["_id"] for doc in store.get(["a"]) if doc] == ["a"]
        scene.proxy.plan(lambda *asked: couch_faults.half())
        with pytest.raises(StoreUnavailable) as caught:
            store.get(["a"])
        assert "\n" not in caught.value.message
        scene.heal()

        # The token is read when answers come whole again.
        assert store.get(["a"]) == [scene.doc("a")]
        store.close()
