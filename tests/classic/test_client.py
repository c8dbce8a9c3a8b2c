"""The PiCaS contract of the client: documents, views and errors, the same on every store."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from picas.clients import Client, CouchDB
from picas.documents import Document, Job, Task
from picas.errors import Conflict, PicasError, StoreUnavailable, Unsupported, UsageError
from picas.lifecycle import Claimant, State
from picas.selectors import parse
from picas.stores.base import Claim, Exchange, TokenStore
from picas.views import Design, View

without_javascript = pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
"""For what only CouchDB can do, and all others refuse; what it does there is in test_couchdb.py."""


def token(name: str, **fields: Any) -> Task:
    return Task({"_id": name, "type": "token", **fields})


@pytest.fixture
def filled(client: Client) -> Client:
    """Four tokens todo, added out of order, one done, one in error."""
    client.save_documents([token(name) for name in ("d", "b", "a", "c")])
    client.save(token("x", lock=5, done=6, exit_code=0))
    client.save(token("y", lock=5, done=6, exit_code=1))
    return client


def ids(rows: Any) -> list[str]:
    return [row.id for row in rows]


def claim_all(client: Client, count: int = 10) -> list[str]:
    wish = Claim(view=View(State.TODO), count=count, claimant=Claimant(pilot=client.pilot))
    return [doc["_id"] for doc in client.exchange([], wish).claimed]


class TestDocuments:
    def test_db_is_the_store(self, client: Client, store: TokenStore) -> None:
        assert client.db is store

    def test_save_sets_id_and_revision_and_get_gives_a_document(self, client: Client) -> None:
        saved = client.save(Document({"type": "token", "colour": "red"}))
        again = client.get(saved.id)
        assert isinstance(again, Document)
        assert (again["colour"], again.rev) == ("red", saved.rev)
        assert client[saved.id].value == again.value

    def test_get_of_a_missing_document_is_a_value_error(self, client: Client) -> None:
        with pytest.raises(ValueError, match="nosuch"):
            client.get("nosuch")

    def test_save_of_a_document_with_a_revision_replaces_it(self, client: Client) -> None:
        doc = client.save(token("a", colour="red"))
        first = doc.rev
        doc["colour"] = "blue"
        assert client.save(doc) is doc
        assert doc.rev != first
        assert client.get("a")["colour"] == "blue"

    def test_the_type_of_a_task_is_stored_as_it_is(self, client: Client) -> None:
        client.save(Task({"_id": "a"}))
        assert client.get("a")["type"] == "task"
        assert not client.view("todo").rows

    def test_save_of_an_old_revision_is_a_conflict_and_changes_nothing(self, client: Client) -> None:
        client.save(token("a", colour="red"))
        old = client.get("a")
        client.save(client.get("a"))
        with pytest.raises(Conflict):
            client.save(old)
        with pytest.raises(Conflict):
            client.save(token("a", colour="blue"))
        assert client.get("a")["colour"] == "red"

    def test_save_documents_says_of_each_in_order_whether_it_was_saved(self, client: Client) -> None:
        known = client.save(token("a"))
        fresh, twice, changed = token("b"), token("a"), client.get("a")
        before = known.rev
        assert client.save_documents([fresh, twice, changed]) == [True, False, True]
        assert "_rev" not in twice
        assert fresh.rev
        assert changed.rev != before
        assert client.save_documents([known]) == [False]
        assert client.save_documents([]) == []

    def test_delete(self, client: Client) -> None:
        doc = client.save(token("a"))
        client.delete(doc)
        assert client.db.get(["a"]) == [None]
        with pytest.raises(Conflict):
            client.delete(doc)

    def test_bug_6_delete_documents_says_which_it_could_not_delete(self, client: Client) -> None:
        client.save_documents([token("a"), token("b")])
        old, current = client.get("a"), client.get("b")
        client.save(client.get("a"))
        assert client.delete_documents([old, current]) == [False, True]
        assert client.delete_documents([]) == []

    def test_delete_from_view(self, filled: Client) -> None:
        before = filled.doc_count()
        assert filled.delete_from_view("todo") == [True] * 4
        assert filled.doc_count() == before - 4

    def test_doc_count_counts_every_document(self, client: Client) -> None:
        """Design documents are documents on CouchDB, and of its own kind on other stores."""
        empty = client.doc_count()
        assert (empty > 0) == (client.db.server is not None)
        client.save_documents([token("a"), Document({"_id": "note", "type": "note"})])
        assert client.doc_count() == empty + 2

    def test_attachments_put_into_a_document_are_saved_with_it(self, client: Client) -> None:
        doc = token("a")
        doc.put_attachment("log.txt", "hello")
        client.save(doc)
        assert b"".join(client.db.get_attachment("a", "log.txt")) == b"hello"

    def test_an_attachment_is_fetched_from_the_database_and_stays_when_saved_again(self, client: Client) -> None:
        doc = token("a")
        doc.put_attachment("log.bin", b"\0\xff" * 1000, "application/x-log")
        client.save(doc)
        again = Task(client.get("a"))
        assert "data" not in again.get_attachment("log.bin")
        found = again.get_attachment("log.bin", retrieve_from_database=client)
        assert (found["content_type"], found["data"]) == ("application/x-log", b"\0\xff" * 1000)
        again["colour"] = "red"
        client.save(again)
        third = client.get("a")
        assert third.get_attachment("log.bin", retrieve_from_database=client)["data"] == b"\0\xff" * 1000
        assert third["_attachments"]["log.bin"]["content_type"] == "application/x-log"

    def test_an_attachment_that_is_gone_is_a_key_error(self, client: Client) -> None:
        doc = token("a")
        doc.put_attachment("log.txt", "hello")
        client.save(doc)
        read, other = client.get("a"), client.get("a")
        client.save(other.remove_attachment("log.txt"))
        with pytest.raises(KeyError):
            read.get_attachment("log.txt", retrieve_from_database=client)
        with pytest.raises(KeyError):
            client.get("a").get_attachment("log.txt", retrieve_from_database=client)

    def test_a_job_is_archived_under_another_id(self, client: Client) -> None:
        job = Job(client.save(Job({"_id": "j"}).queue("slurm").start()))
        old = Job(dict(job.value))
        client.save(job.finish().archive())
        client.delete(old)
        (kept,) = (doc for doc in client.db.page(None).docs if doc["_id"].startswith("archived-j-"))
        assert (kept["type"], kept["method"], kept["archive"] >= kept["done"] > 0) == ("job", "slurm", True)
        with pytest.raises(ValueError, match="j"):
            client.get("j")


class TestDocumentsAsTheyAre:
    def test_a_document_of_another_type_is_stored_as_it_is(self, client: Client) -> None:
        saved = client.save(Document({"_id": "a", "type": "note", "n": 1}))
        assert client.get("a").value == saved.value == {"_id": "a", "_rev": saved.rev, "type": "note", "n": 1}

    def test_a_document_without_type_is_no_token(self, client: Client) -> None:
        client.save(Document({"_id": "settings", "colour": "red", "lock": 0, "done": 0}))
        assert "type" not in client.get("settings")
        assert not client.view("todo").rows

    def test_a_token_has_whatever_the_application_puts_in_it(self, client: Client) -> None:
        """Also under names that picas itself has a use for."""
        fields = {"tags": ["survey", "L2"], "priority": "high", "after": "2024-05-01", "requires": "python3"}
        fields |= {"command": "", "max_scrub": "many", "attempts": 3, "lost": "no", "released": "yes", "cancel": 1}
        client.save(token("a", **fields))
        assert claim_all(client) == ["a"]
        stored = client.get("a").value
        assert {**stored, **fields} == stored

    def test_an_attachment_may_be_named_by_its_path(self, client: Client) -> None:
        doc = token("a")
        doc.put_attachment("/scratch/run/out.log", "text")
        client.save(doc)
        again = client.get("a").get_attachment("/scratch/run/out.log", retrieve_from_database=client)
        assert again["data"] == b"text"

    def test_documents_are_deleted_by_saving_them_so(self, client: Client) -> None:
        doc, old = client.save(token("a")), client.get("a")
        doc["_deleted"] = old["_deleted"] = True
        client.save(client.get("a"))
        assert client.save_documents([old, token("b")]) == [False, True]
        doc = client.get("a")
        doc["_deleted"] = True
        assert client.save_documents([doc]) == [True]
        with pytest.raises(ValueError, match="a"):
            client.get("a")


class TestViews:
    def test_rows_have_id_key_and_value_by_attribute_and_by_name(self, filled: Client) -> None:
        result = filled.view("done")
        (row,) = result.rows
        assert (row.id, row.key, row.value) == (row["id"], row["key"], row["value"]) == ("x", "x", "x")
        assert (list(result), len(result)) == (result.rows, 1)
        assert row.doc is None
        with pytest.raises(AttributeError):
            _ = row.colour

    def test_rows_come_in_order_of_key(self, filled: Client) -> None:
        assert ids(filled.view("todo")) == ["a", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ({"limit": 2}, "ab"),
            ({"limit": 2, "skip": 1}, "bc"),
            ({"skip": 3}, "d"),
            ({"descending": True}, "dcba"),
            ({"descending": True, "limit": 1}, "d"),
            ({"key": "b"}, "b"),
            ({"key": "nosuch"}, ""),
            ({"startkey": "b"}, "bcd"),
            ({"startkey": "b", "limit": 2}, "bc"),
            ({"startkey": "b", "endkey": "c"}, "bc"),
            ({"startkey": "c", "endkey": "b", "descending": True}, "cb"),
            ({"reduce": False}, "abcd"),
        ],
    )
    def test_parameters_are_those_of_couchdb(self, filled: Client, params: dict[str, Any], expected: str) -> None:
        assert "".join(ids(filled.view("todo", **params))) == expected

    def test_include_docs(self, filled: Client) -> None:
        (row,) = filled.view("error", include_docs=True)
        assert row.doc["exit_code"] == 1

    @without_javascript
    @pytest.mark.parametrize("params", [{"group_level": 1}, {"stale": "ok"}, {"reduce": True}, {"endkey": {}}])
    def test_a_parameter_that_is_not_supported_is_refused(self, filled: Client, params: dict[str, Any]) -> None:
        with pytest.raises(Unsupported):
            filled.view("todo", **params)

    def test_overview_total(self, filled: Client) -> None:
        rows = filled.view("overview_total", group=True).rows
        assert [(row.key, row.value) for row in rows] == [("done", 1), ("error", 1), ("todo", 4)]
        (total,) = filled.view("overview_total")
        assert (total.key, total.value) == (None, 6)

    def test_a_reduced_row_has_neither_id_nor_document(self, filled: Client) -> None:
        rows = filled.view("overview_total", group=True).rows
        assert [(row.id, row.doc) for row in rows] == [(None, None)] * 3

    @without_javascript
    def test_overview_total_takes_no_keys(self, filled: Client) -> None:
        with pytest.raises(Unsupported):
            filled.view("overview_total", startkey="a")

    def test_overview_total_of_an_empty_pool_has_no_rows(self, client: Client) -> None:
        assert not client.view("overview_total").rows

    def test_a_design_document_adds_its_condition(self, client: Client) -> None:
        client.save_documents([token("a", cores=1), token("b", cores=4)])
        client.db.install(Design("MultiCore", parse({"cores": {"$gte": 2}})))
        assert ids(client.view("todo", design_doc="MultiCore")) == ["b"]

    def test_get_from_view_gives_documents(self, filled: Client) -> None:
        found = filled.get_from_view("todo", limit=2)
        assert [type(doc) for doc in found] == [Document, Document]
        assert [doc.id for doc in found] == ["a", "b"]

    def test_get_single_from_view_picks_one_of_the_first(self, filled: Client) -> None:
        assert filled.get_single_from_view("done").id == "x"
        assert {filled.get_single_from_view("todo", window_size=4).id for _ in range(200)} == set("abcd")
        assert filled.get_single_from_view("todo", window_size=2, startkey="c").id in "cd"

    def test_get_single_from_an_empty_view_is_an_index_error(self, client: Client) -> None:
        with pytest.raises(IndexError):
            client.get_single_from_view("todo")

    def test_is_view_nonempty(self, filled: Client) -> None:
        assert filled.is_view_nonempty("todo")
        assert not filled.is_view_nonempty("locked")
        assert not filled.is_view_nonempty("nosuch")
        assert not filled.is_view_nonempty("todo", design_doc="NoSuch")

    @pytest.mark.parametrize("where", [("todo", "NoSuch"), ("nosuch", "Monitor"), ("overview_total", "NoSuch")])
    def test_a_missing_view_is_a_usage_error(self, client: Client, where: tuple[str, str]) -> None:
        with pytest.raises(UsageError):
            client.view(where[0], design_doc=where[1])

    @without_javascript
    def test_views_in_javascript_are_unsupported_and_the_hint_says_what_is(self, client: Client) -> None:
        with pytest.raises(Unsupported) as caught:
            client.add_view("mine", "function(doc) { emit(doc._id) }", design_doc="Mine")
        assert "picas view add Mine --where" in caught.value.hint

    @without_javascript
    def test_users_are_unsupported(self, client: Client) -> None:
        with pytest.raises(Unsupported):
            client.set_users(admins=["me"])


class TestCouchDBErrors:
    def test_a_conflict_is_the_one_that_programs_catch(self, client: Client, couchdb_package: Any) -> None:
        client.save(token("a"))
        with pytest.raises(couchdb_package.ResourceConflict) as caught:
            client.save(token("a"))
        assert isinstance(caught.value, Conflict)
        assert str(caught.value) == caught.value.message
        old = client.get("a")
        client.save(client.get("a"))
        with pytest.raises(couchdb_package.ResourceConflict):
            client.delete(old)

    def test_a_missing_design_document_is_the_one_that_programs_catch(
        self, client: Client, couchdb_package: Any
    ) -> None:
        with pytest.raises(couchdb_package.ResourceNotFound) as caught:
            client.view("todo", design_doc="NoSuch")
        assert isinstance(caught.value, UsageError)

    def test_without_the_couchdb_package_they_are_ours_alone(self, client: Client, no_couchdb_package: None) -> None:
        client.save(token("a"))
        with pytest.raises(Conflict) as caught:
            client.save(token("a"))
        assert type(caught.value) is Conflict


class TestOpening:
    def test_arguments_and_their_defaults_are_those_of_picas(self) -> None:
        found = {name: one.default for name, one in inspect.signature(CouchDB).parameters.items()}
        assert list(found.items()) == [
            ("url", "http://localhost:5984"),
            ("db", "test"),
            ("username", None),
            ("password", ""),
            ("ssl_verification", True),
            ("create", False),
        ]

    def test_couchdb_opens_what_its_url_names(self, tmp_path: Path) -> None:
        path = tmp_path / "pool.db"
        first = CouchDB(url=f"sqlite:///{path}", create=True)
        first.save(token("a"))
        second = CouchDB(str(path), "ignored", username="me", password="secret")
        assert second.get("a")["type"] == "token"
        first.db.close()
        second.db.close()

    def test_a_pool_that_is_not_there_is_made_only_when_asked(self, tmp_path: Path) -> None:
        with pytest.raises(PicasError):
            CouchDB(url=str(tmp_path / "none.db"))

    def test_a_server_that_is_not_there_is_said_to_be_away(self) -> None:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
            CouchDB(url="http://127.0.0.1:1", db="mine")

    def test_bug_4_a_copy_keeps_the_settings(self, tmp_path: Path) -> None:
        class Mine(CouchDB):
            colour = "none"

        client = Mine(url=str(tmp_path / "pool.db"), create=True)
        client.colour = "red"
        client.save(token("a"))
        other = client.copy()
        assert isinstance(other, Mine)
        assert (other.colour, other.pilot, other.db.url) == ("red", client.pilot, client.db.url)
        client.db.close()
        assert other.get("a").id == "a"
        other.db.close()


class TestExchange:
    def test_a_store_that_is_away_is_tried_again(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        client.save(token("a"))
        answers = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])
        exchange, monkeypatch_target = client.db.exchange, "picas.clients._FIRST_PAUSE"

        def flaky(*args: Any) -> Exchange:
            problem = next(answers)
            if problem is not None:
                raise problem
            return exchange(*args)

        monkeypatch.setattr(monkeypatch_target, 0.001)
        monkeypatch.setattr(client.db, "exchange", flaky)
        assert claim_all(client) == ["a"]

    def test_patience_has_an_end(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(*args: Any) -> Exchange:
            raise StoreUnavailable("away")

        monkeypatch.setattr(client.db, "exchange", away)
        with pytest.raises(StoreUnavailable):
            client.exchange([], patience=0)

    def test_what_comes_in_the_middle_of_a_step_waits_for_its_end_and_claims_go_back(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a signal does that comes while the pilot claims."""
        client.save(token("a"))
        exchange, seen = client.db.exchange, []

        def signalled(*args: Any) -> Exchange:
            done = exchange(*args)
            client.when_idle(lambda: seen.append(client.get("a")["lock"]))
            assert not seen
            return done

        monkeypatch.setattr(client.db, "exchange", signalled)
        claim_all(client)
        assert seen == [0]
        assert client.get("a")["released"] == 1
        client.when_idle(lambda: seen.append("idle"))
        assert seen == [0, "idle"]
