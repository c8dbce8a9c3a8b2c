"""The PiCaS contract of the client where it goes beyond other stores: views in JavaScript, users, and the server."""

from __future__ import annotations

import logging
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from picas import crypto
from picas.actors import RunActor
from picas.clients import Client, CouchDB
from picas.couchdblogger import CouchDBLogger
from picas.crypto import decrypt_password
from picas.documents import Document, Task, User
from picas.errors import ConfigError, NoPool
from picas.iterators import TaskViewIterator
from picas.picas_config import PicasConfig
from picas.selectors import parse
from picas.stores.base import TokenStore
from picas.stores.couchdb import exchange
from picas.stores.couchdb.database import Database
from picas.testing.samples import Background
from picas.views import Design
from support.couchdb_server import CouchServer

BY_COLOUR = 'function (doc) { if (doc.type === "token") { emit([doc.colour, doc.size], doc.size); } }'
BY_PARENT = 'function (doc) { if (doc.type === "token") { emit(doc.parent || null, 1); } }'


def token(name: str, **fields: Any) -> Task:
    return Task({"_id": name, "type": "token", **fields})


@pytest.fixture
def client(couch_store: TokenStore) -> Client:
    return Client(couch_store)


@pytest.fixture
def coloured(client: Client) -> Client:
    """Four tokens, and a view of them by colour and size with their sum of sizes: c d are blue, a b red."""
    sizes = {"a": ("red", 1), "b": ("red", 2), "c": ("blue", 3), "d": ("blue", 4)}
    assert all(client.save_documents([token(name, colour=red, size=size) for name, (red, size) in sizes.items()]))
    client.add_view("by_colour", BY_COLOUR, reduce_fun="_sum", design_doc="Mine")
    return client


def ids(rows: Any) -> str:
    return "".join(row.id for row in rows)


class TestViewParameters:
    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({}, "cdab"),
            ({"limit": 2}, "cd"),
            ({"limit": 2, "skip": 1}, "da"),
            ({"descending": True}, "badc"),
            ({"key": ["red", 2]}, "b"),
            ({"keys": [["red", 1], ["blue", 3]]}, "ac"),
            ({"startkey": ["red"]}, "ab"),
            ({"endkey": ["blue", {}]}, "cd"),
            ({"startkey": ["blue", 4], "endkey": ["red", 1]}, "da"),
            ({"startkey": ["red", {}], "endkey": ["red"], "descending": True}, "ba"),
            ({"endkey": ["red", 2], "inclusive_end": False}, "cda"),
            ({"limit": None, "skip": None}, "cdab"),
        ],
    )
    def test_rows_are_picked_by_couchdbs_parameters(
        self, coloured: Client, params: dict[str, Any], expected: str
    ) -> None:
        assert ids(coloured.view("by_colour", design_doc="Mine", reduce=False, **params)) == expected

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({}, [(None, 10)]),
            ({"startkey": ["red"]}, [(None, 3)]),
            ({"group_level": 1}, [(["blue"], 7), (["red"], 3)]),
            ({"group": True, "limit": 1}, [(["blue", 3], 3)]),
            ({"reduce": True, "key": ["red", 2]}, [(None, 2)]),
        ],
    )
    def test_reduced_rows(self, coloured: Client, params: dict[str, Any], expected: list[Any]) -> None:
        rows = coloured.view("by_colour", design_doc="Mine", **params).rows
        assert [(row.key, row.value) for row in rows] == expected

    def test_rows_have_id_key_value_and_the_document_when_asked(self, coloured: Client) -> None:
        result = coloured.view("by_colour", design_doc="Mine", reduce=False, include_docs=True, limit=1)
        (row,) = result.rows
        assert (row.id, row.key, row.value) == (row["id"], row["key"], row["value"]) == ("c", ["blue", 3], 3)
        assert row.doc["colour"] == "blue"
        assert list(result) == result.rows
        assert (result.total_rows, result.offset, len(result)) == (4, 0, 1)

    def test_a_key_of_none_is_a_key(self, client: Client) -> None:
        client.add_view("by_parent", BY_PARENT)
        client.save_documents([token("a"), token("b", parent="a")])
        assert ids(client.view("by_parent", key=None)) == "a"

    def test_overview_total_counts_by_state(self, client: Client) -> None:
        client.save_documents([token("a"), token("b"), token("c", lock=5), token("d", lock=5, done=6, exit_code=0)])
        rows = client.view("overview_total", group=True).rows
        assert {row.key: row.value for row in rows} == {"todo": 2, "locked": 1, "done": 1}

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({"group": "true"}, [("todo", 2)]),
            ({"reduce": "false", "limit": 1}, [("todo", 1)]),
            ({"group": True, "update": "lazy"}, [("todo", 2)]),
        ],
    )
    def test_a_text_is_sent_as_it_is_but_for_keys(
        self, client: Client, couchdb_server: CouchServer, params: dict[str, Any], expected: list[Any]
    ) -> None:
        if couchdb_server.flavour == "pouchdb":
            pytest.skip("pouchdb-server differs: it takes any text for true")
        client.save_documents([token("a"), token("b")])
        client.view("overview_total")
        assert [(row.key, row.value) for row in client.view("overview_total", **params)] == expected


class TestDocumentsOfAView:
    def test_get_from_view_takes_parameters(self, coloured: Client) -> None:
        found = coloured.get_from_view("by_colour", design_doc="Mine", reduce=False, startkey=["red"])
        assert [(type(doc), doc.id, doc["size"]) for doc in found] == [(Document, "a", 1), (Document, "b", 2)]

    def test_get_single_from_view_picks_one_of_the_window(self, coloured: Client) -> None:
        def picked(window_size: int) -> str:
            params = {"design_doc": "Mine", "reduce": False, "startkey": ["blue", 4]}
            return coloured.get_single_from_view("by_colour", window_size=window_size, **params).id

        assert {picked(1) for _ in range(5)} == {"d"}
        assert {picked(2) for _ in range(40)} == {"d", "a"}
        with pytest.raises(IndexError):
            coloured.get_single_from_view("by_colour", design_doc="Mine", reduce=False, startkey=["z"])

    def test_is_view_nonempty_of_a_view_with_parameters(self, coloured: Client) -> None:
        mine = {"design_doc": "Mine", "reduce": False}
        assert coloured.is_view_nonempty("by_colour", key=["red", 1], **mine)
        assert not coloured.is_view_nonempty("by_colour", key=["red", 9], **mine)

    def test_rows_whose_document_is_gone_are_skipped(self, client: Client) -> None:
        """A view may be read as it was when it was last brought up to date."""
        client.save_documents([token(name) for name in "abc"])
        client.view("todo")
        client.delete(client.get("b"))
        assert ids(client.view("todo", stale="ok")) == "abc"
        assert [doc.id for doc in client.get_from_view("todo", stale="ok")] == ["a", "c"]

    def test_documents_are_those_of_the_rows_whatever_their_values_say(self, client: Client) -> None:
        """CouchDB includes another document for a value with an ``_id``: a join, where programs want the row's own."""
        client.add_view("linked", "function (doc) { if (doc.parent) { emit(doc._id, {_id: doc.parent}); } }")
        client.save_documents([token("p"), token("k", parent="p"), token("l", parent="gone")])
        assert [doc.id for doc in client.get_from_view("linked")] == ["k", "l"]
        assert client.get_single_from_view("linked").id == "k"


class TestDesignDocuments:
    def test_one_is_read_and_changed_as_a_document(self, client: Client) -> None:
        doc = client.get("_design/Monitor")
        before = doc.rev
        doc["views"]["mine"] = {"map": "function (doc) { emit(doc._id, 1); }"}
        assert client.save(doc).rev != before
        client.save(token("a"))
        assert ids(client.view("mine")) == ids(client.view("todo")) == "a"

    def test_one_is_made_as_a_document(self, client: Client) -> None:
        views = {"mine": {"map": "function (doc) { emit(doc._id, 1); }"}}
        (saved,) = client.save_documents([Document({"_id": "_design/Mine", "language": "javascript", "views": views})])
        client.save(token("a"))
        assert saved
        assert ids(client.view("mine", design_doc="Mine")) == "a"


class TestAddView:
    def test_with_and_without_reduce(self, client: Client) -> None:
        client.save_documents([token("a", size=2), token("b", size=3)])
        client.add_view("plain", "\n  function (doc) { if (doc.size) { emit(doc.size, null); } }\n")
        client.add_view("total", "function (doc) { if (doc.size) { emit(1, doc.size); } }", reduce_fun="_sum")
        assert ids(client.view("plain")) == "ab"
        assert client.view("total").rows[0].value == 5
        assert client.view("todo").total_rows == 2  # the others of Monitor are as they were

    def test_a_reduce_function_in_javascript(self, client: Client) -> None:
        client.save_documents([token("a", size=2), token("b", size=3)])
        reduce_fun = "function (keys, values, rereduce) { return sum(values); }"
        client.add_view("total", "function (doc) { if (doc.size) { emit(1, doc.size); } }", reduce_fun=reduce_fun)
        assert client.view("total").rows[0].value == 5

    def test_again_replaces_it(self, client: Client) -> None:
        client.save(token("a", size=2))
        client.add_view("mine", "function (doc) { emit(1, null); }", reduce_fun="_count", design_doc="Mine")
        client.add_view("mine", "function (doc) { if (doc.size) { emit(doc.size, 7); } }", design_doc="Mine")
        (row,) = client.view("mine", design_doc="Mine")
        assert (row.id, row.key, row.value) == ("a", 2, 7)

    def test_further_arguments_of_the_old_client_are_taken(self, client: Client) -> None:
        client.save(token("a"))
        client.add_view("mine", "function (doc) { emit(doc._id, 1); }", "javascript", wrapper=None, design_doc="Mine")
        assert ids(client.view("mine", design_doc="Mine")) == "a"

    def test_pilots_claim_from_it(self, client: Client) -> None:
        where = "doc.type == 'token' && doc.lock == 0 && doc.done == 0 && doc.cores == 4"
        client.add_view("todo", f"function (doc) {{ if ({where}) {{ emit(doc._id, doc._id); }} }}", design_doc="Multi")
        client.save_documents([token("a", cores=1), token("b", cores=4)])
        assert [task.id for task in TaskViewIterator(client, "todo", design_doc="Multi")] == ["b"]


class Worker(RunActor):
    def process_task(self, task: Task) -> None:
        task["exit_code"] = 0
        task.done()


class TestClaims:
    TODO = "function (doc) {{ if (doc.type == '{}' && doc.lock == 0 && doc.done == 0{}) {{ emit(doc._id, 1); }} }}"

    def test_a_todo_view_of_monitor_that_somebody_wrote_says_what_is_claimed(self, client: Client) -> None:
        client.add_view("todo", self.TODO.format("token", " && doc.project == 'x'"))
        client.save_documents([token(name, project=name) for name in "xy"])
        assert ids(client.view("todo")) == "x"
        assert [task.id for task in TaskViewIterator(client, "todo")] == ["x"]

    def test_a_view_that_replaces_one_of_a_condition_says_what_is_claimed(self, client: Client) -> None:
        client.db.install(Design("Mine", parse({"cores": 1})))
        client.add_view("todo", self.TODO.format("token", " && doc.cores == 4"), design_doc="Mine")
        client.save_documents([token(f"t{cores}", cores=cores) for cores in (1, 4)])
        assert [task.id for task in TaskViewIterator(client, "todo", design_doc="Mine")] == ["t4"]

    def test_documents_of_any_type_can_be_claimed_from_what_somebody_wrote(self, client: Client) -> None:
        """`Task` makes documents of type ``task`` where a program does not say otherwise."""
        client.add_view("todo", self.TODO.format("task", ""), design_doc="Tasks")
        client.save_documents([Task({"_id": "a"}), Task({"_id": "b"})])
        actor = Worker(client, design_doc="Tasks")
        actor.run()
        assert actor.tasks_processed == 2
        assert all(client.get(name)["done"] >= client.get(name)["lock"] > 0 for name in "ab")

    @pytest.mark.parametrize("view", ["Mine/todo", "todo"])
    def test_a_view_that_is_named_with_its_design_document_may_be_empty(self, client: Client, view: str) -> None:
        client.add_view("todo", self.TODO.format("token", ""), design_doc="Mine")
        client.save(token("a"))
        assert [task.id for task in TaskViewIterator(client, view, design_doc="Mine")] == ["a"]

    def test_bug_5_many_conflicts_in_a_row_do_not_end_the_pilot(
        self,
        client: Client,
        couchdb_server: CouchServer,
        couchdb_pool: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        client.save(token("a"))
        left, bulk, path = iter(range(25)), Database.bulk, f"/{couchdb_pool['db']}/a"

        def contended(self: Database, docs: Any) -> Any:
            if next(left, None) is not None:
                doc = couchdb_server.request("GET", path).json()
                couchdb_server.request("PUT", path, {**doc, "n": doc.get("n", 0) + 1})
            return bulk(self, docs)

        monkeypatch.setattr(Database, "bulk", contended)
        monkeypatch.setattr(exchange, "_ROUNDS", 4)  # fewer than there are conflicts: it is asked several times
        assert [task.id for task in TaskViewIterator(client, "todo")] == ["a"]


class TestClaimsByViewParameters:
    WHERE = "doc.type === 'token' && doc.lock === 0 && doc.done === 0"

    @pytest.fixture
    def painted(self, client: Client) -> Client:
        """Four tokens, of which b and c are red, and a view of what is todo by colour."""
        client.add_view("todo", f"function (doc) {{ if ({self.WHERE}) {{ emit(doc.colour, 1); }} }}", design_doc="Mine")
        colours = {"a": "blue", "b": "red", "c": "red", "d": "white"}
        client.save_documents([token(name, colour=colour) for name, colour in colours.items()])
        return client

    @pytest.mark.parametrize("params", [{"key": "red"}, {"startkey": "c", "endkey": "s"}])
    def test_only_those_tokens_are_taken(self, painted: Client, params: dict[str, Any]) -> None:
        tasks = list(TaskViewIterator(painted, "todo", design_doc="Mine", **params))
        assert sorted(task.id for task in tasks) == ["b", "c"]
        for task in tasks:
            assert painted.get(task.id).value == task.value
            assert task["claim"] == {"fence": 1, "pilot": painted.pilot, "at": task["lock"]}

    def test_their_results_are_settled_by_their_claims(self, painted: Client) -> None:
        class Painter(Worker):
            def process_task(self, task: Task) -> None:
                (holder,) = painted.db.pilots()
                assert painted.db.beat(holder).held == {task.id: 1}
                super().process_task(task)

        actor = Painter(painted, design_doc="Mine", key="red")
        actor.run()
        assert actor.tasks_processed == 2
        assert ids(painted.view("done")) == "bc"
        assert not any("claim" in doc for doc in painted.get_from_view("done"))

    def test_pilots_side_by_side_never_have_the_same_token(self, painted: Client) -> None:
        painted.save_documents([token(f"t{number:02}", colour="red") for number in range(20)])

        def pilot() -> list[str]:
            mine = painted.copy()
            try:
                return [task.id for task in TaskViewIterator(mine, "todo", design_doc="Mine", key="red")]
            finally:
                mine.db.close()

        claimed = [name for one in [Background(pilot) for _ in range(3)] for name in one.result()]
        assert sorted(claimed) == ["b", "c", *(f"t{number:02}" for number in range(20))]


SECURITY: dict[str, dict[str, list[str]]] = {
    "admins": {"names": ["boss"], "roles": ["bosses"]},
    "members": {"names": ["ann"], "roles": ["staff"]},
}


class TestSetUsers:
    @pytest.mark.parametrize(
        ("given", "kind", "part"),
        [
            ({"admins": ["eve"]}, "admins", {"names": ["eve"]}),
            ({"admin_roles": ["heads"]}, "admins", {"roles": ["heads"]}),
            ({"members": ["bob", "cat"]}, "members", {"names": ["bob", "cat"]}),
            ({"member_roles": []}, "members", {"roles": []}),
        ],
    )
    def test_what_is_not_given_stays(
        self, client: Client, given: dict[str, Any], kind: str, part: dict[str, Any]
    ) -> None:
        assert client.db.server
        client.db.server.security(SECURITY)
        client.set_users(**given)
        expected = {**SECURITY, kind: {**SECURITY[kind], **part}}
        assert client.db.server.security() == expected
        client.set_users()
        assert client.db.server.security() == expected

    def test_by_position_in_a_database_where_nobody_was_named(self, client: Client) -> None:
        assert client.db.server
        client.db.server.security({})
        client.set_users(["eve"], ["ann"], ["heads"], ["staff"])
        security = client.db.server.security()
        assert security["admins"] == {"names": ["eve"], "roles": ["heads"]}
        assert security["members"] == {"names": ["ann"], "roles": ["staff"]}


class TestOpening:
    def test_create_makes_the_database_and_the_views_and_does_no_harm_again(self, couchdb_pool: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match=couchdb_pool["db"]):
            CouchDB(**couchdb_pool)
        CouchDB(**couchdb_pool, create=True).save(token("a"))
        again = CouchDB(**couchdb_pool, create=True)
        assert ids(again.view("todo")) == "a"
        assert isinstance(again.doc_count(), int)

    def test_a_database_that_is_not_there_is_the_error_that_programs_catch(
        self, couchdb_pool: dict[str, str], couchdb_package: Any
    ) -> None:
        with pytest.raises(couchdb_package.ResourceNotFound) as caught:
            CouchDB(**couchdb_pool)
        assert isinstance(caught.value, NoPool)

    def test_by_position(self, couchdb_pool: dict[str, str]) -> None:
        url, name, user, password = (couchdb_pool[part] for part in ("url", "db", "username", "password"))
        assert CouchDB(url, name, user, password, True, True).db.url == f"{url}/{name}"

    def test_name_and_password_in_the_url(self, couchdb_pool: dict[str, str]) -> None:
        CouchDB(**couchdb_pool, create=True).save(token("a"))
        scheme, _, rest = couchdb_pool["url"].partition("://")
        url = f"{scheme}://{couchdb_pool['username']}:{couchdb_pool['password']}@{rest}"
        client = CouchDB(url=url, db=couchdb_pool["db"])
        assert client.get("a")["type"] == "token"
        assert couchdb_pool["password"] not in client.db.url

    def test_a_name_with_every_character_that_databases_may_have(
        self, couchdb_server: CouchServer, couchdb_pool: dict[str, str]
    ) -> None:
        name = couchdb_server.database("classic/o_d$(n)+a-me")
        client = CouchDB(**{**couchdb_pool, "db": name}, create=True)
        client.save(token("a"))
        assert client.copy().get("a").id == "a"
        client.db.drop()

    def test_a_wrong_password_is_said_and_not_repeated(self, couchdb_pool: dict[str, str]) -> None:
        access = {"username": f"nobody-{uuid4().hex}", "password": "wrong-secret"}
        with pytest.raises(ConfigError, match="refused user nobody") as caught:
            CouchDB(**{**couchdb_pool, **access}, create=True)
        assert "wrong-secret" not in f"{caught.value} {caught.value.hint}"

    def test_a_copy_gets_in_by_the_same_name_and_password(self, couchdb_pool: dict[str, str]) -> None:
        client = CouchDB(**couchdb_pool, create=True)
        client.save(token("a"))
        other = client.copy()
        client.db.close()
        assert other.get("a").id == "a"
        assert other.db is not client.db
        other.db.close()


class TestUsersOfTheServer:
    @pytest.fixture
    def user(self, couchdb_server: CouchServer) -> Iterator[str]:
        """A name that no user of the server has, and whose user is deleted after the test."""
        name = f"ann-{uuid4().hex}"
        yield name
        path = f"/_users/org.couchdb.user:{name}"
        rev = couchdb_server.request("GET", path).json().get("_rev")
        couchdb_server.request("DELETE", f"{path}?rev={rev}")

    @staticmethod
    def session(server: CouchServer, name: str, password: str) -> dict[str, Any]:
        answer = server.request("GET", "/_session", user=(name, password))
        return answer.json()["userCtx"] if answer.status == 200 else {}

    def test_a_user_document_is_saved_among_them(
        self, couchdb_server: CouchServer, couchdb_pool: dict[str, str], user: str
    ) -> None:
        users = CouchDB(**{**couchdb_pool, "db": "_users"})
        users.save(User(user, "first-secret", ["staff"]))
        assert self.session(couchdb_server, user, "first-secret")["roles"] == ["staff"]
        stored = users.get(f"org.couchdb.user:{user}")
        assert stored["type"] == "user"
        assert not {"password", "lock", "done", "exit_code", "hostname", "scrub_count"} & set(stored)

    def test_bug_9_a_changed_password_leaves_the_roles(
        self, couchdb_server: CouchServer, user: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in [name for name in os.environ if name.startswith("PICAS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(crypto, "CRYPTO_KEY_PATH", str(tmp_path / "key.dat"))
        doc = User(user, "first-secret", ["staff", "night"]).value
        assert couchdb_server.request("PUT", f"/_users/org.couchdb.user:{user}", doc).status == 201
        if couchdb_server.request("GET", f"/_users/org.couchdb.user:{user}", user=(user, "first-secret")).status == 403:
            pytest.skip("this server lets nobody but administrators into _users (its security as CouchDB 3 makes it)")
        config = PicasConfig(tmp_path / "conf.yml", load=False)
        config.save_config(
            Namespace(host_url=couchdb_server.url, database="db", username=user, password="first-secret")
        )
        config.change_password(Namespace(new_password="second-secret"))
        assert self.session(couchdb_server, user, "second-secret")["roles"] == ["staff", "night"]
        assert not self.session(couchdb_server, user, "first-secret")
        assert decrypt_password(PicasConfig(tmp_path / "conf.yml").config["encrypted_password"]) == b"second-secret"


def test_the_log_handler_writes_beside_the_tokens(couchdb_pool: dict[str, str]) -> None:
    client = CouchDB(**couchdb_pool, create=True)
    before = client.doc_count()
    scheme, _, rest = couchdb_pool["url"].partition("://")
    url = f"{scheme}://{couchdb_pool['username']}:{couchdb_pool['password']}@{rest}"
    handler = CouchDBLogger(url, couchdb_pool["db"])
    try:
        handler.handle(logging.LogRecord("x", logging.WARNING, "file.py", 1, "token %s lost", ("t1",), None, "work"))
    finally:
        handler.close()
    assert client.doc_count() == before + 1
    (doc,) = (doc for doc in client.db.page(None).docs if doc["type"] == "log")
    assert (doc["msg"], doc["func"], doc["lvl"]) == ("token t1 lost", "work", logging.WARNING)
    assert abs(doc["created"] - time.time()) < 60
    assert not client.view("todo").rows
