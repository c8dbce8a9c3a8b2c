"""What the command line does on CouchDB alone: passwords, users, rights, and pools that move."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from support.cli import Answer, Cli
from support.couchdb_server import CouchServer

SECRET = "p: /?#@%é ñ"


class Place:
    """A database of a server, and the command line with its administrator's name, but not the password."""

    def __init__(self, server: CouchServer, folder: Path) -> None:
        if server.admin is None or server.password is None:
            pytest.skip("the server has no administrator")
        self.server = server
        self.password = server.password
        parts = urlsplit(server.url)
        self.url = f"{server.url}/{server.database('users')}"
        self.picas = Cli(folder, PICAS_POOL=self.url.replace("://", f"://{server.admin}@", 1))
        self.host = parts.netloc

    def as_admin(self, *words: str, stdin: str = "") -> Answer:
        return self.picas(*words, stdin=stdin, PICAS_PASSWORD=self.password)

    def as_user(self, name: str, password: str, *words: str) -> Answer:
        return self.picas(*words, PICAS_POOL=self.url, PICAS_USERNAME=name, PICAS_PASSWORD=password)


@pytest.fixture
def place(couchdb_server: CouchServer, tmp_path: Path) -> Iterator[Place]:
    made = Place(couchdb_server, tmp_path)
    yield made
    made.as_admin("pool", "drop", "--yes")
    for name in ("ann", "bob"):
        found = couchdb_server.request("GET", f"/_users/org.couchdb.user:{name}").json()
        if "_rev" in found:
            couchdb_server.request("DELETE", f"/_users/org.couchdb.user:{name}?rev={found['_rev']}")


def test_init_asks_for_the_password_and_keeps_it_encrypted(place: Place, tmp_path: Path) -> None:
    answer = place.picas("init", stdin=f"{place.password}\n")
    assert (answer.code, answer.out) == (0, ""), answer
    conf = tmp_path / ".config" / "picas" / "conf.yml"
    assert f"the password is kept in {conf}" in answer.err
    assert place.password not in conf.read_text()
    assert [path.stat().st_mode & 0o777 for path in (conf, conf.with_name("key.dat"), conf.parent)] == [
        0o600, 0o600, 0o700,
    ]  # fmt: skip
    # From now on the address needs no password, nor need there be an address at all.
    assert place.picas("status").code == 0
    shown = place.picas("config", "show", PICAS_POOL="")
    assert (shown.code, str(conf) in shown.out, place.password in shown.out) == (0, True, False)
    assert place.picas("status", PICAS_POOL="").code == 0


def test_a_wrong_password_is_said_once_and_ends_with_3(place: Place) -> None:
    place.as_admin("init")
    answer = place.picas("status", PICAS_PASSWORD="wrong")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith(f"picas: {place.host} refused user {place.server.admin}:")
    assert len(answer.err.splitlines()) == 2
    assert place.picas("status").code == 3, "nobody says the password"


def test_a_database_that_is_not_there(place: Place) -> None:
    answer = place.as_admin("status")
    assert answer.code == 3
    assert f"there is no database {place.url}" in answer.err
    assert "`picas init` makes it" in answer.err


def test_users_are_added_let_in_and_given_new_passwords(place: Place) -> None:
    place.as_admin("init")
    added = place.as_admin("user", "add", "ann", "--role", "physics", stdin=f"{SECRET}\n")
    assert (added.code, added.err) == (0, "added user ann, a member of this pool\n"), added
    place.as_admin("add", "--id", "t", "--", "env; true")
    ran = place.as_user("ann", SECRET, "run", "--cores", "1")
    assert (ran.code, "1 done" in ran.err) == (0, True), ran
    # A command sees no password, whose pilot has one.
    printed = place.as_user("ann", SECRET, "logs", "t").out
    assert "PICAS_TOKEN_ID=t" in printed
    assert SECRET not in printed
    listed = [json.loads(line) for line in place.as_admin("user", "ls", "-o", "jsonl").out.splitlines()]
    assert {"id": "ann", "roles": "physics", "pool": "member"} in listed
    changed = place.as_admin("user", "passwd", "ann", stdin="another\n")
    assert changed.code == 0, changed
    assert place.as_user("ann", SECRET, "status").code == 3
    assert place.as_user("ann", "another", "status").code == 0
    roles = place.server.request("GET", "/_users/org.couchdb.user:ann").json()["roles"]
    assert roles == ["physics"]


def test_a_member_cannot_do_what_an_administrator_can(place: Place) -> None:
    place.as_admin("init")
    assert place.as_admin("user", "add", "ann", stdin="secret\n").code == 0
    for words in (["view", "add", "big", "--where", "cores>=4"], ["user", "allow", "ann", "--admin"]):
        answer = place.as_user("ann", "secret", *words)
        assert answer.code in (3, 4), answer
        assert "user ann" in answer.err
        assert len(answer.err.splitlines()) <= 2
    assert place.as_user("ann", "secret", "pool", "drop", "--yes").code in (3, 4)
    assert place.as_admin("status").code == 0, "it is still there"


def test_who_is_not_let_in_stays_out(place: Place) -> None:
    place.as_admin("init")
    assert place.as_admin("user", "add", "ann", stdin="secret\n").code == 0
    assert place.as_admin("user", "add", "bob", "--outside", stdin="secret\n").code == 0
    answer = place.as_user("bob", "secret", "status")
    assert answer.code in (3, 4), answer
    assert place.as_admin("user", "allow", "bob").code == 0
    assert place.as_user("bob", "secret", "status").code == 0


def test_doctor_tells_of_the_server(place: Place) -> None:
    place.as_admin("init")
    found = place.as_admin("doctor")
    assert found.code == 0
    assert place.server.version in found.out
    assert f"logged in as {place.server.admin}" in found.out
    assert place.password not in found.out


def test_no_password_is_ever_in_a_command_line(place: Place) -> None:
    """Seen by others on the machine: the command lines of all processes, while a pilot runs commands."""
    place.as_admin("init")
    place.as_admin("add", "--range", "1-20", "--", "sleep 0.1")
    environ = {**place.picas.environ, "PICAS_PASSWORD": place.password}
    pilot = subprocess.Popen(
        place.picas.argv(["run", "--cores", "2"]), env=environ, cwd=place.picas.folder, stderr=subprocess.DEVNULL
    )
    seen = 0
    deadline = time.monotonic() + 60
    while pilot.poll() is None and time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            assert not any(place.password in word for word in words), words
            seen += 1
        time.sleep(0.01)
    assert pilot.wait(10) == 0
    assert seen > 100


def test_a_pool_is_copied_to_a_file_and_back(place: Place) -> None:
    """Tokens, attachments and views go along; what is copied again stays as it is."""
    place.as_admin("init")
    place.as_admin("view", "add", "big", "--where", "cores>=4")
    place.as_admin("add", "--range", "1-10", "--", "echo out {i}")
    place.as_admin("run", "--cores", "2")
    first = place.as_admin("pool", "copy", place.picas.environ["PICAS_POOL"], "here.db")
    assert "copied 10 tokens and 10 attachments" in first.err, first
    again = place.as_admin("pool", "copy", place.picas.environ["PICAS_POOL"], "here.db")
    assert "copied 0 tokens and 0 attachments; 10 tokens were there already" in again.err
    assert [row.split("\t")[0] for row in place.picas("--pool", "here.db", "view", "ls").out.splitlines()] == [
        "Monitor", "big",
    ]  # fmt: skip
    docs = json.loads(place.picas("--pool", "here.db", "ls", "done", "-o", "jsonl").out.splitlines()[0])
    assert place.picas("--pool", "here.db", "logs", docs["_id"]).out.startswith("out ")
    place.as_admin("pool", "drop", "--yes")
    back = place.as_admin("pool", "copy", "here.db", place.picas.environ["PICAS_POOL"])
    assert "copied 10 tokens and 10 attachments" in back.err, back
    assert place.as_admin("logs", docs["_id"]).out.startswith("out ")
