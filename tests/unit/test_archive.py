"""Tokens that ended, moved into a file: whenever it stops, each is in the pool, in the file, or in both."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from picas import archive as module
from picas.archive import Archived, archive, new_export
from picas.errors import InvalidToken, NothingMatched, UsageError
from picas.lifecycle import Claimant, Doc, Outcome, State, state_of
from picas.moving import Moved, export_lines, import_lines
from picas.packed import PartFile, reading
from picas.pool import Pool, Selection, connect
from picas.stores.base import Attachment, Claim, Settlement
from picas.views import View

BIG = os.urandom(300 << 10)
DONE = Selection(views=(View(State.DONE),))
ENDED = Selection(views=(View(State.DONE), View(State.ERROR)))
ENDINGS = [".jsonl", ".jsonl.gz", ".jsonl.zst"]


def settle(pool: Pool, ids: Iterable[str], exit_code: int = 0) -> None:
    """Have tokens run to their end, each with a log."""
    wanted = set(ids)
    claimed = pool.store.exchange([], Claim(view=View(State.TODO), count=100, claimant=Claimant(pilot="p"))).claimed
    log = {"log": Attachment(data=b"said\n", content_type="text/plain")}
    ended = [Settlement(doc=doc, outcome=Outcome(exit_code=exit_code), attachments=log) for doc in claimed
             if doc["_id"] in wanted]  # fmt: skip
    pool.store.exchange(ended)
    pool.reset(doc for doc in claimed if doc["_id"] not in wanted)


def fill(pool: Pool, count: int = 7) -> list[str]:
    ids = [f"t{number}" for number in range(count)]
    pool.add({"_id": token_id, "n": number} for number, token_id in enumerate(ids))
    settle(pool, ids)
    return ids


def content(pool: Pool) -> dict[str, tuple[Doc, dict[str, bytes]]]:
    """All tokens as they are wherever they are, with their files."""
    found = {}
    for doc in pool.documents():
        files = {name: b"".join(pool.store.get_attachment(doc["_id"], name)) for name in doc.get("_attachments", {})}
        found[doc["_id"]] = {k: v for k, v in doc.items() if k not in ("_rev", "_attachments")}, files
    return found


def imported(path: Path) -> Pool:
    """A new pool with what a file holds."""
    pool = connect("memory:")
    with reading(str(path)) as lines:
        import_lines(pool, lines)
    return pool


def stopping(after: int) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What stops the work after so many tokens, as if the process were gone."""

    def count(items: Iterable[Any]) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == after:
                raise KeyboardInterrupt
            yield item

    return count


def test_what_ended_goes_into_the_file_and_comes_back_as_it_was(each_pool: Pool, tmp_path: Path) -> None:
    each_pool.add([{"_id": "a", "x": {"y": ["\u2028", None]}}, {"_id": "b"}, {"_id": "c"}, {"_id": "d"}])
    settle(each_pool, "ab")
    settle(each_pool, "c", exit_code=3)
    each_pool.store.put_attachment("a", "big", io.BytesIO(BIG), content_type="text/x")
    before = content(each_pool)
    report = archive(each_pool, tmp_path / "old.jsonl.zst", DONE)
    assert (report.tokens, report.attachments, report.changed, report.unreadable) == (2, 3, set(), [])
    assert sorted(content(each_pool)) == ["c", "d"]
    assert list(tmp_path.glob("*.part")) == []
    assert sorted(content(imported(tmp_path / "old.jsonl.zst"))) == ["a", "b"]
    with reading(str(tmp_path / "old.jsonl.zst")) as lines:
        moved = import_lines(each_pool, lines)
    assert (moved.tokens, moved.existing, moved.attachments) == (2, 0, 3)
    assert content(each_pool) == before
    assert archive(each_pool, tmp_path / "more.jsonl", ENDED).tokens == 3


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("stop", range(8))
def test_stopped_anywhere_nothing_is_lost_and_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: int, ending: str
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    pool, path = connect("memory:"), tmp_path / f"old{ending}"
    fill(pool)
    before = content(pool)
    with pytest.raises(KeyboardInterrupt):
        archive(pool, path, DONE, count=stopping(stop)) and stopping(0)([0]).__next__()
    if stop < 7:
        # What is in the file for certain, however the rest of it was torn off.
        part = tmp_path / f"old{ending}.part"
        part.write_bytes(part.read_bytes() + b'{"rev":"1-x","token":{"_id":"torn'[: 33 if ending == ".jsonl" else 0])
        assert len(content(pool)) == 7 - stop // 3 * 3
        report = archive(pool, path, DONE)
        assert (report.tokens, report.continued) == (7, stop // 3 * 3)
    assert content(pool) == {}
    assert content(imported(path)) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_at_any_byte_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str) -> None:
    """Cut as a kill may cut it, between two commits: what was committed before is what the pool has no more."""
    monkeypatch.setattr(module, "BATCH", 2)
    full = tmp_path / f"full{ending}"
    source = connect("memory:")
    fill(source, 4)
    before = content(source)
    with pytest.raises(KeyboardInterrupt):
        archive(source, full, DONE, count=stopping(2))
    left = {doc["_id"]: doc for doc in source.documents()}
    start = full.with_name(f"{full.name}.part").read_bytes()
    archive(source, full, DONE)
    whole = full.read_bytes()
    for cut in range(len(start), len(whole), 7):
        path = tmp_path / f"{cut}{ending}"
        path.with_name(f"{path.name}.part").write_bytes(whole[:cut])
        pool = connect("memory:")
        with reading(str(full)) as lines:
            import_lines(pool, lines)
        pool.delete([doc for doc in pool.documents() if doc["_id"] not in left])
        archive(pool, path, DONE)
        assert {**content(pool), **content(imported(path))} == before


def test_what_changes_meanwhile_stays_in_the_pool(each_pool: Pool, tmp_path: Path) -> None:
    ids = fill(each_pool)

    def change(docs: Iterable[Doc]) -> Iterator[Doc]:
        for doc in docs:
            yield doc
            if doc["_id"] == "t3":
                each_pool.store.update([{**doc, "tags": {"new": "yes"}}])
            if doc["_id"] == "t4":
                each_pool.delete([doc])

    report = archive(each_pool, tmp_path / "old.jsonl", DONE, count=change)
    assert (report.tokens, report.changed) == (7, {"t3"})
    assert [(key, doc["tags"]) for key, (doc, _) in content(each_pool).items()] == [("t3", {"new": "yes"})]
    old = content(imported(tmp_path / "old.jsonl"))
    assert sorted(old) == ids
    assert "tags" not in old["t3"][0]


def test_what_changed_before_it_went_on_stays_and_is_in_the_file_once(
    monkeypatch: pytest.MonkeyPatch, each_pool: Pool, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    fill(each_pool)
    # Written and on the disk, but whoever did so was killed before it deleted.
    monkeypatch.setattr(module._Move, "_delete", lambda self, batch: None)
    with pytest.raises(KeyboardInterrupt):
        archive(each_pool, tmp_path / "old.jsonl", DONE, count=stopping(4))
    monkeypatch.undo()
    assert len(content(each_pool)) == 7
    (doc,) = each_pool.store.get(["t1"])
    assert doc is not None
    each_pool.store.update([{**doc, "n": "changed"}])
    report = archive(each_pool, tmp_path / "old.jsonl", DONE)
    assert (report.tokens, report.continued, report.changed) == (7, 3, {"t1"})
    assert list(content(each_pool)) == ["t1"]
    text = (tmp_path / "old.jsonl").read_text()
    assert [text.count(f'"_id":"t{number}"') for number in range(7)] == [1] * 7


def test_what_held_tokens_wait_for_stays(each_pool: Pool, tmp_path: Path) -> None:
    fill(each_pool)
    each_pool.add([{"_id": "w", "after": ["t2", "x"]}, {"_id": "x"}])
    report = archive(each_pool, tmp_path / "old.jsonl", DONE)
    assert (report.tokens, report.awaited) == (6, 1)
    settle(each_pool, ["x"])
    assert state_of(each_pool.get("w") or {}) is State.TODO


def test_keep_leaves_all_in_the_pool_and_begins_anew_after_a_stop(tmp_path: Path) -> None:
    pool, path = connect("memory:"), tmp_path / "old.jsonl.gz"
    fill(pool)
    before = content(pool)
    with pytest.raises(KeyboardInterrupt):
        archive(pool, path, DONE, keep=True, count=stopping(3))
    assert archive(pool, path, DONE, keep=True).tokens == 7
    assert content(pool) == before == content(imported(path))


def test_a_token_with_a_damaged_file_stays(tmp_path: Path) -> None:
    pool = connect("memory:")
    fill(pool)
    rows = pool.store.store._pool.rows  # type: ignore[attr-defined]
    object.__setattr__(rows["t5"].files["log"], "data", b"sad!\n")
    object.__setattr__(rows["t6"].files["log"], "data", b"")
    report = archive(pool, tmp_path / "old.jsonl", DONE)
    assert (report.tokens, report.unreadable) == (5, ["t5", "t6"])
    assert sorted(content(pool)) == ["t5", "t6"]


class TestFiles:
    """What is in the way is never overwritten."""

    @pytest.fixture
    def pool(self) -> Pool:
        pool = connect("memory:")
        fill(pool)
        return pool

    def stopped(self, pool: Pool, path: Path) -> None:
        move = module._Move(pool, PartFile(path).__enter__(), Archived(), keep=False)
        move.begin()
        move.add(next(pool.select(DONE)))
        move.flush()
        move._part.file.close()

    def test_a_file_that_exists_is_refused(self, pool: Pool, tmp_path: Path) -> None:
        (tmp_path / "old.jsonl").write_text("mine")
        with pytest.raises(UsageError, match="exists already"):
            archive(pool, tmp_path / "old.jsonl", DONE)

    def test_a_part_that_is_none_is_refused(self, pool: Pool, tmp_path: Path) -> None:
        (tmp_path / "old.jsonl.part").write_text("mine\n")
        for begin in (lambda part: archive(pool, part, DONE), export):
            with pytest.raises(UsageError, match="is in the way"):
                begin(tmp_path / "old.jsonl")
        assert (tmp_path / "old.jsonl.part").read_text() == "mine\n"

    def test_an_export_does_not_replace_an_archive_that_was_cut_short(self, pool: Pool, tmp_path: Path) -> None:
        self.stopped(pool, tmp_path / "old.jsonl.zst")
        with pytest.raises(UsageError, match="is in the way"):
            export(tmp_path / "old.jsonl.zst")
        with pytest.raises(UsageError, match="not in the pool any more"):
            archive(pool, tmp_path / "old.jsonl.zst", DONE, keep=True)
        assert archive(pool, tmp_path / "old.jsonl.zst", DONE).tokens == 7

    def test_an_archive_of_another_pool_is_not_gone_on_with(self, pool: Pool, tmp_path: Path) -> None:
        self.stopped(pool, tmp_path / "old.jsonl")
        with connect(str(tmp_path / "other.db"), create=True) as other, pytest.raises(UsageError, match="of memory:"):
            archive(other, tmp_path / "old.jsonl", DONE)

    def test_two_do_not_write_one_file(self, pool: Pool, tmp_path: Path) -> None:
        with PartFile(tmp_path / "old.jsonl"), pytest.raises(UsageError, match="another process"):
            archive(pool, tmp_path / "old.jsonl", DONE)

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_damaged_part_is_refused_as_it_is(self, pool: Pool, tmp_path: Path, ending: str) -> None:
        self.stopped(pool, tmp_path / f"old{ending}")
        part = tmp_path / f"old{ending}.part"
        damaged = bytearray(part.read_bytes())
        damaged[-10:-2] = b"\n{-----{"
        part.write_bytes(damaged)
        with pytest.raises(UsageError, match="damaged"):
            archive(pool, tmp_path / f"old{ending}", DONE)
        assert part.read_bytes() == damaged

    def test_nothing_to_archive_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(NothingMatched):
            archive(connect("memory:"), tmp_path / "old.jsonl", DONE)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_cut_file_says_so_at_import(self, pool: Pool, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"old{ending}"
        archive(pool, path, DONE, keep=True)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InvalidToken, match=r"before its end|line 17"):
            imported(path)

    def test_without_the_library_one_line_says_what_to_install(
        self, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
        with pytest.raises(UsageError, match="zstandard") as caught:
            archive(pool, tmp_path / "old.jsonl.zst", DONE)
        assert "pip install 'picas[archive]'" in caught.value.hint
        assert archive(pool, tmp_path / "old.jsonl.gz", DONE).tokens == 7


def export(path: Path) -> None:
    with PartFile(path) as part:
        new_export(part)


class TestArrivals:
    """No token is claimed before its files are there; what was cut short is completed."""

    def lines(self) -> list[str]:
        pool = connect("memory:")
        pool.add([{"_id": "big"}, {"_id": "small"}, {"_id": "p"}])
        for name, size in (("one", len(BIG)), ("two", 5)):
            pool.store.put_attachment("big", name, io.BytesIO(BIG[:size]))
        pool.store.put_attachment("small", "one", io.BytesIO(b"1"))
        settle(pool, ["p"])
        for token_id, needs in (("waits", ["p", "big"]), ("ready", ["p", "small"])):
            pool.add([{"_id": token_id, "after": needs}])
            pool.store.put_attachment(token_id, "one", io.BytesIO(BIG))
        return list(export_lines(pool, Selection(everything=True), Moved()))

    def files(self, lines: list[str]) -> dict[str, set[str]]:
        return {key: set(files) for key, (_, files) in content(self.whole(lines)).items()}

    def whole(self, lines: list[str]) -> Pool:
        pool = connect("memory:")
        import_lines(pool, lines)
        return pool

    def test_none_is_claimed_before_its_files_are_there(self, each_pool: Pool) -> None:
        lines = self.lines()
        expected = self.files(lines)
        claimed: list[str] = []

        def claim() -> None:
            wish = Claim(view=View(State.TODO), count=10, claimant=Claimant(pilot="p"))
            for doc in each_pool.store.exchange([], wish).claimed:
                assert set(doc.get("_attachments", {})) == expected[doc["_id"]], doc
                claimed.append(doc["_id"])
                each_pool.store.exchange([Settlement(doc=doc, outcome=Outcome())])

        def watched() -> Iterator[str]:
            for line in lines:
                yield line
                claim()

        import_lines(each_pool, watched())
        for _ in range(3):
            claim()
        assert sorted(claimed) == ["big", "ready", "small", "waits"]

    @pytest.mark.parametrize("stop", range(1, 16))
    def test_an_import_that_was_killed_is_completed_by_the_next(self, stop: int) -> None:
        self.check_killed(connect("memory:"), stop)

    @pytest.mark.parametrize("stop", [4, 11, 14])
    def test_an_import_that_was_killed_is_completed_on_every_store(self, each_pool: Pool, stop: int) -> None:
        self.check_killed(each_pool, stop)

    def check_killed(self, each_pool: Pool, stop: int) -> None:
        lines = self.lines()
        assert len(lines) == 16
        with pytest.raises(KeyboardInterrupt):
            import_lines(each_pool, stopping(stop)(lines))
        for doc in each_pool.select(Selection(views=(View(State.TODO),))):
            assert set(doc.get("_attachments", {})) == self.files(lines)[doc["_id"]]
        import_lines(each_pool, lines)
        assert content(each_pool) == content(self.whole(lines))
        again = import_lines(each_pool, lines)
        assert (again.tokens, again.existing, again.attachments) == (0, 5, 0)

    def test_a_token_that_was_let_go_in_between_stays_as_it_is(self) -> None:
        lines, pool = self.lines(), connect("memory:")
        with pytest.raises(KeyboardInterrupt):
            import_lines(pool, stopping(4)(lines))
        half = pool.get("big")
        assert half is not None
        assert state_of(half) is State.HELD
        pool.store.update([{**half, "mine": 1}])
        import_lines(pool, lines)
        kept = pool.get("big") or {}
        assert (state_of(kept), kept["mine"], list(kept["_attachments"])) == (State.HELD, 1, ["one"])

    def test_a_done_token_is_not_done_before_its_files_are_there(self, each_pool: Pool) -> None:
        pool = connect("memory:")
        pool.add([{"_id": "p"}])
        settle(pool, ["p"])
        pool.store.put_attachment("p", "big", io.BytesIO(BIG))
        pool.store.put_attachment("p", "last", io.BytesIO(b"1"))
        each_pool.add([{"_id": "w", "after": ["p"]}])

        def watched() -> Iterator[str]:
            for line in export_lines(pool, Selection(everything=True), Moved()):
                assert state_of(each_pool.get("w") or {}) is State.HELD
                yield line

        import_lines(each_pool, watched())
        assert [state_of(doc or {}) for doc in each_pool.store.get("pw")] == [State.DONE, State.TODO]

    def test_a_file_that_a_server_kept_half_of_is_sent_again(self, each_pool: Pool) -> None:
        lines = self.lines()
        with pytest.raises(KeyboardInterrupt):
            import_lines(each_pool, stopping(4)(lines))
        each_pool.store.put_attachment("big", "one", io.BytesIO(BIG[:7]))
        import_lines(each_pool, lines)
        assert content(each_pool) == content(self.whole(lines))

    def test_a_field_of_that_name_is_kept(self) -> None:
        pool, other = connect("memory:"), connect("memory:")
        pool.add([{"_id": "a", "importing": {"lock": 5}}])
        pool.store.put_attachment("a", "big", io.BytesIO(BIG))
        import_lines(other, export_lines(pool, Selection(everything=True), Moved()))
        assert content(other) == content(pool)

    def test_a_file_that_goes_away_during_an_export_is_said(self) -> None:
        pool, moved = connect("memory:"), Moved()
        fill(pool, 3)
        lines = export_lines(pool, Selection(everything=True), moved)
        read = [next(lines), next(lines)]
        pool.delete(pool.documents())
        read += lines
        assert moved.gone == ["t0/log", "t1/log", "t2/log"]
        assert len(content(self.whole(read))) == 3
