"""The contract on attachments: files of tokens, streamed, guarded by the fence, listed in the document."""

from __future__ import annotations

import base64
import hashlib
import io
import random
from pathlib import Path
from typing import Any

import pytest

from picas import lifecycle
from picas.errors import ClaimLost, Conflict, InvalidToken
from picas.lifecycle import Doc, Edit, Outcome, State
from picas.stores.base import Attachment, TokenStore
from picas.testing.samples import FAILED, Reopen, change, claim_one, found, put, same, settle, shown, state
from picas.tokens import MAX_NAME_BYTES

__all__ = ["ATTACHMENT_NAMES", "BAD_ATTACHMENT_NAMES", "TestAttachments", "TestInlineAttachments", "TestResultFiles"]

ATTACHMENT_NAMES = [
    "logs_a.out",
    "dir/sub/file.txt",
    "a b",
    "50%",
    "a%2Fb",
    "é",
    "e\u0301",
    "👩‍🔬.png",
    'it\'s "q"',
    "a\\b",
    "a?b#c",
    "A",
    "a",
    "...",
    "-rf",
    "/etc/passwd",
    "x" * MAX_NAME_BYTES,
]

BAD_ATTACHMENT_NAMES = [
    "",
    "_x",
    "..",
    ".",
    "../x",
    "a/../b",
    "a\nb",
    "a\x00",
    "\ud800",
    "x" * (MAX_NAME_BYTES + 1),
]

LARGE = random.Random(7).randbytes(3_000_000)


class _Stream(io.BytesIO):
    """A stream that must be read in chunks, and may break."""

    def __init__(self, data: bytes, breaks_at: int | None = None) -> None:
        super().__init__(data)
        self._breaks_at = breaks_at

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= 4 * 2**20, "a file may be larger than memory"
        if self._breaks_at is not None and self.tell() + size > self._breaks_at:
            raise OSError("the disk is gone")
        return super().read(size)


def attach(store: TokenStore, token_id: str, name: str, data: bytes = b"data", **kwargs: Any) -> str:
    return store.put_attachment(token_id, name, _Stream(data), **kwargs)


def read(store: TokenStore, token_id: str, name: str) -> bytes:
    return b"".join(store.get_attachment(token_id, name))


def stubs(store: TokenStore, token_id: str) -> dict[str, Any]:
    listed: dict[str, Any] = found(store, token_id).get("_attachments", {})
    return listed


def digest(data: bytes) -> str:
    return "md5-" + base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def inline(data: bytes, content_type: str = "text/plain") -> dict[str, str]:
    return {"content_type": content_type, "data": base64.b64encode(data).decode()}


class TestAttachments:
    def test_the_document_lists_it_as_couchdb_does(self, store: TokenStore) -> None:
        put(store, "a", n=1)
        before = found(store, "a")
        rev = attach(store, "a", "log", b"hello", content_type="text/plain")
        doc = found(store, "a")
        assert rev == doc["_rev"] != before["_rev"]
        revpos = int(rev.partition("-")[0])
        stub = {"content_type": "text/plain", "length": 5, "digest": digest(b"hello"), "stub": True, "revpos": revpos}
        assert same(store, doc, {**before, "_rev": rev, "_attachments": {"log": stub}})
        assert read(store, "a", "log") == b"hello"

    @pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", LARGE], ids=["empty", "binary", "3 MB"])
    def test_the_bytes_come_back_exactly(self, store: TokenStore, reopen: Reopen, data: bytes) -> None:
        put(store, "a")
        attach(store, "a", "file", data)
        assert stubs(store, "a")["file"]["length"] == len(data)
        assert stubs(store, "a")["file"]["digest"] == digest(data)
        other = reopen()
        assert read(other, "a", "file") == data
        other.close()

    def test_a_large_one_comes_in_chunks(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "file", LARGE)
        assert max(len(chunk) for chunk in store.get_attachment("a", "file")) <= 2 * 2**20

    def test_names(self, store: TokenStore) -> None:
        put(store, "a/b c")
        for name in ATTACHMENT_NAMES:
            attach(store, "a/b c", name, name.encode())
        assert sorted(stubs(store, "a/b c")) == sorted(ATTACHMENT_NAMES)
        assert all(read(store, "a/b c", name) == name.encode() for name in ATTACHMENT_NAMES)

    @pytest.mark.parametrize("name", BAD_ATTACHMENT_NAMES, ids=shown)
    def test_bad_names_are_refused(self, store: TokenStore, name: str) -> None:
        put(store, "a")
        with pytest.raises(InvalidToken):
            attach(store, "a", name)
        assert stubs(store, "a") == {}

    @pytest.mark.parametrize("data", [b"short", LARGE], ids=["short", "3 MB"])
    def test_a_second_of_the_same_name_replaces_it(self, store: TokenStore, data: bytes) -> None:
        put(store, "a")
        attach(store, "a", "file", LARGE[:2_000_000])
        attach(store, "a", "file", data)
        assert read(store, "a", "file") == data
        assert len(stubs(store, "a")) == 1
        assert store.check() == []

    def test_what_is_missing_is_a_key_error(self, store: TokenStore) -> None:
        put(store, "a")
        for token_id in ("a", "missing"):
            with pytest.raises(KeyError):
                next(iter(store.get_attachment(token_id, "file")))
            assert store.delete_attachment(token_id, "file") is False

    def test_a_token_must_exist(self, store: TokenStore) -> None:
        with pytest.raises(Conflict):
            attach(store, "missing", "file")
        assert store.get(["missing"]) == [None]

    def test_deleting_leaves_the_others(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "one", LARGE)
        attach(store, "a", "two", b"2")
        rev = found(store, "a")["_rev"]
        assert store.delete_attachment("a", "one") is True
        assert store.delete_attachment("a", "one") is False
        assert list(stubs(store, "a")) == ["two"]
        assert found(store, "a")["_rev"] != rev
        assert read(store, "a", "two") == b"2"
        with pytest.raises(KeyError):
            read(store, "a", "one")

    def test_deleting_the_last_leaves_the_document_as_it_was(self, store: TokenStore) -> None:
        put(store, "a", n=1)
        before = found(store, "a")
        attach(store, "a", "file")
        store.delete_attachment("a", "file")
        after = found(store, "a")
        assert {**after, "_rev": None} == {**before, "_rev": None}

    def test_they_go_with_the_token(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "file", LARGE)
        store.delete([found(store, "a")])
        with pytest.raises(KeyError):
            read(store, "a", "file")
        put(store, "a")
        with pytest.raises(KeyError):
            read(store, "a", "file")
        assert store.check() == []

    def test_while_the_claim_holds(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        attach(store, "a", "log", b"1", fence=mine["fence"])
        assert isinstance(settle(store, mine), dict)
        assert read(store, "a", "log") == b"1"

    @pytest.mark.parametrize("meanwhile", ["settled", "reset", "claimed again", "deleted"])
    def test_not_when_the_claim_is_over(self, store: TokenStore, meanwhile: str) -> None:
        put(store, "a")
        mine = claim_one(store)
        attach(store, "a", "log", b"before", fence=mine["fence"])
        if meanwhile == "settled":
            settle(store, mine)
        elif meanwhile == "deleted":
            store.delete([found(store, "a")])
        else:
            change(store, "a", lifecycle.reset)
        if meanwhile == "claimed again":
            claim_one(store, pilot="p2")
        kept = store.get(["a"])
        with pytest.raises(ClaimLost):
            attach(store, "a", "log", b"after", fence=mine["fence"])
        assert store.get(["a"]) == kept
        if kept != [None]:
            assert read(store, "a", "log") == b"before"

    def test_the_claim_must_hold_when_all_is_read(self, store: TokenStore, reopen: Reopen) -> None:
        class Slow(_Stream):
            def read(self, size: int | None = -1, /) -> bytes:
                chunk = super().read(size)
                if not chunk:
                    change(other, "a", lifecycle.reset)
                return chunk

        put(store, "a")
        other, mine = reopen(), claim_one(store)
        with pytest.raises(ClaimLost):
            store.put_attachment("a", "log", Slow(LARGE), fence=mine["fence"])
        assert stubs(store, "a") == {}
        other.close()

    def test_a_stream_that_breaks_leaves_what_was_there(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "file", b"old")
        kept = found(store, "a")
        with pytest.raises(OSError, match="the disk is gone"):
            store.put_attachment("a", "file", _Stream(LARGE, breaks_at=2_500_000))
        assert found(store, "a") == kept
        assert read(store, "a", "file") == b"old"

    def test_claims_and_settlements_keep_them(self, store: TokenStore) -> None:
        put(store, "a", max_scrub=1)
        attach(store, "a", "input", LARGE)
        for outcome in (FAILED, Outcome(changes={"n": 1})):
            settle(store, claim_one(store), outcome)
        assert state(store, "a") is State.DONE
        assert read(store, "a", "input") == LARGE


class TestInlineAttachments:
    """As in the document API of CouchDB and PiCaS: base64 in ``_attachments`` of a document that is written."""

    def test_put_stores_them(self, store: TokenStore) -> None:
        store.put([{"_id": "a", "_attachments": {"x.txt": inline(b"hello"), "y": inline(b"", "image/png")}}])
        stub = {
            "content_type": "text/plain",
            "length": 5,
            "digest": digest(b"hello"),
            "stub": True,
            "revpos": int(found(store, "a")["_rev"].partition("-")[0]),
        }
        assert same(store, stubs(store, "a")["x.txt"], stub)
        assert (read(store, "a", "x.txt"), read(store, "a", "y")) == (b"hello", b"")

    def test_update_stores_new_ones_keeps_the_listed_and_drops_the_others(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "kept", b"k")
        attach(store, "a", "dropped", LARGE)
        attach(store, "a", "replaced", b"old")

        def edit(doc: Doc) -> Doc:
            listed = {"kept": doc["_attachments"]["kept"], "replaced": inline(b"new"), "added": inline(LARGE)}
            return {**doc, "_attachments": listed}

        doc = change(store, "a", edit)
        assert sorted(doc["_attachments"]) == ["added", "kept", "replaced"]
        assert all(stub["stub"] and "data" not in stub for stub in doc["_attachments"].values())
        assert [read(store, "a", name) for name in ("kept", "replaced", "added")] == [b"k", b"new", LARGE]
        with pytest.raises(KeyError):
            read(store, "a", "dropped")
        assert store.check() == []

    def test_an_update_without_attachments_drops_all(self, store: TokenStore) -> None:
        put(store, "a")
        attach(store, "a", "file")
        change(store, "a", lambda doc: {name: value for name, value in doc.items() if name != "_attachments"})
        assert stubs(store, "a") == {}
        with pytest.raises(KeyError):
            read(store, "a", "file")

    def test_a_settlement_may_bring_them_in_its_edit(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        settle(store, mine, Edit(changes={"_attachments": {"log": inline(b"hello")}, "done": 5, "exit_code": 0}))
        assert read(store, "a", "log") == b"hello"
        assert "data" not in stubs(store, "a")["log"]

    @pytest.mark.parametrize(
        "bad",
        [
            {"x": {"data": "?!"}},
            {"x": {"data": "é"}},
            {"x": {"data": 7}},
            {"x": {"stub": True}},
            {"x": {}},
            {"x": 1},
            {"../x": inline(b"")},
            {"_x": inline(b"")},
            [1],
        ],
        ids=repr,
    )
    def test_what_is_no_attachment_is_refused(self, store: TokenStore, bad: Any) -> None:
        with pytest.raises(InvalidToken):
            store.put([{"_id": "b"}, {"_id": "a", "_attachments": bad}])
        assert store.get(["a", "b"]) == [None, None]
        put(store, "a")
        kept = found(store, "a")
        with pytest.raises(InvalidToken):
            store.update([{**kept, "_attachments": bad}])
        assert found(store, "a") == kept


class TestResultFiles:
    """Files that come with a settlement are there if, and only if, the result was accepted."""

    def test_from_memory_and_from_disk(self, store: TokenStore, tmp_path: Path) -> None:
        large = tmp_path / "large"
        large.write_bytes(LARGE)
        put(store, "a")
        attach(store, "a", "input", b"in")
        files = {
            "logs/a.out": Attachment(content_type="text/plain", data=b"out"),
            "large": Attachment(path=str(large)),
            "empty": Attachment(data=b""),
        }
        settled = settle(store, claim_one(store), attachments=files)
        assert same(store, settled, found(store, "a"))
        assert sorted(settled["_attachments"]) == ["empty", "input", "large", "logs/a.out"]
        assert settled["_attachments"]["logs/a.out"]["content_type"] == "text/plain"
        assert settled["_attachments"]["large"]["digest"] == digest(LARGE)
        assert [read(store, "a", name) for name in sorted(settled["_attachments"])] == [b"", b"in", LARGE, b"out"]

    def test_those_of_a_later_attempt_replace_the_earlier(self, store: TokenStore) -> None:
        put(store, "a", max_scrub=1)
        settle(store, claim_one(store), FAILED, attachments={"log": Attachment(data=LARGE)})
        assert read(store, "a", "log") == LARGE
        settle(store, claim_one(store), attachments={"log": Attachment(data=b"2")})
        assert read(store, "a", "log") == b"2"
        assert store.check() == []

    def test_those_of_a_superseded_result_are_not_stored(self, store: TokenStore) -> None:
        put(store, "a")
        mine = claim_one(store)
        change(store, "a", lifecycle.reset)
        assert isinstance(settle(store, mine, attachments={"log": Attachment(data=b"late")}), ClaimLost)
        assert stubs(store, "a") == {}

    @pytest.mark.parametrize("outcome", [Outcome(changes={"n": float("nan")}), Outcome()], ids=["value", "name"])
    def test_a_settlement_that_is_refused_stores_none(self, store: TokenStore, outcome: Outcome) -> None:
        put(store, "a")
        mine = claim_one(store)
        files = {"log": Attachment(data=b"1")}
        if not outcome.changes:
            files["../x"] = Attachment(data=b"2")
        assert isinstance(settle(store, mine, outcome, attachments=files), InvalidToken)
        assert found(store, "a") == mine
        with pytest.raises(KeyError):
            read(store, "a", "log")
        assert store.check() == []
