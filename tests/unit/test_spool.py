from __future__ import annotations

import os
import random
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picas.lifecycle import Claimant, Doc, Outcome, Reason, State, fence_of, state_of
from picas.pilot import records
from picas.pilot.inherited import Inherited, folders, open_spool, sweep
from picas.pilot.keep import keep
from picas.pilot.rescue import Rescue, hand_in
from picas.pilot.spool import LARGE_BYTES, RESULTS, Spool
from picas.pool import Pool
from picas.stores.base import Attachment, Claim, Settlement
from picas.testing.samples import TODO, put

PILOT = "node1-17-abc"


def result(doc: Doc, **files: Attachment) -> Settlement:
    attempt = {"fence": fence_of(doc), "pilot": PILOT, "hostname": "node1", "runtime": 1.5}
    outcome = Outcome(exit_code=0, changes={"output": {"of": doc["_id"]}}, attempt=attempt)
    return Settlement(doc=doc, outcome=outcome, attachments=files)


def claimed(name: str = "t1", fence: int = 1) -> Doc:
    claim = {"fence": fence, "pilot": PILOT, "at": 5}
    return {"_id": name, "type": "token", "lock": 5, "done": 0, "exit_code": "", "fence": fence, "claim": claim}


def opened(folder: Path) -> Inherited:
    found = open_spool(folder)
    assert isinstance(found, Inherited), found
    return found


def packed(*settlements: Settlement) -> bytes:
    return records.pack([(one, {n: f.data or b"" for n, f in one.attachments.items()}, ()) for one in settlements])


HEAD = records.head_of(PILOT, "node1", "the pool")


class TestRecords:
    def test_what_is_packed_is_read(self) -> None:
        first = result(claimed(), log=Attachment(content_type="text/plain", data=b"\n\0PSR1 bytes"))
        second = result(claimed("t2"), a=Attachment(data=b""), b=Attachment(data=b"b"))
        third = Settlement(doc=claimed("t3"), outcome=Outcome(reason=Reason.SIGNAL, exit_code=-9, retry_delay=0.5))

        found = records.read(HEAD + packed(first, second) + packed(third))

        assert found.head == {"picas": records.VERSION, "pilot": PILOT, "hostname": "node1", "pool": "the pool"}
        assert [settlement for settlement, _ in found.results] == [first, second, third]
        assert (found.damage, found.torn) == ("", False)

    def test_a_record_that_is_cut_off_anywhere_is_ignored(self) -> None:
        whole, last = HEAD + packed(result(claimed())), packed(result(claimed("t2")))
        for cut in range(1, len(last)):
            found = records.read(whole + last[:cut])
            assert [one.doc["_id"] for one, _ in found.results] == ["t1"]
            assert (found.damage, found.torn) == ("", True), cut
        zeros = records.read(whole + bytes(100))
        assert (zeros.damage, zeros.torn) == ("", True)

    def test_a_head_that_is_cut_off_is_none(self) -> None:
        for cut in range(len(HEAD)):
            found = records.read(HEAD[:cut])
            assert (found.head, found.results, found.damage) == ({}, [], "")

    def test_a_damaged_record_is_told_and_the_others_are_read(self) -> None:
        parts = [packed(result(claimed(name))) for name in ("t1", "t2", "t3")]
        for place in range(3):
            hurt = bytearray(parts[place])
            hurt[len(hurt) // 2] ^= 1
            found = records.read(HEAD + b"".join([*parts[:place], bytes(hurt), *parts[place + 1 :]]))
            assert [one.doc["_id"] for one, _ in found.results] == [f"t{n + 1}" for n in range(3) if n != place]
            assert "is damaged" in found.damage

    def test_no_flipped_byte_makes_another_result(self) -> None:
        good = HEAD + packed(result(claimed())) + packed(result(claimed("t2")))
        right = [one for one, _ in records.read(good).results]
        for place in range(len(good)):
            hurt = bytearray(good)
            hurt[place] ^= 1 << (place % 8)
            found = records.read(bytes(hurt))
            assert all(one in right for one, _ in found.results)
            assert len(found.results) < 2

    def test_rubbish_is_no_spool(self) -> None:
        chance = random.Random(1)
        for _ in range(200):
            found = records.read(chance.randbytes(chance.randrange(200)) + b"PSR1" * chance.randrange(3))
            assert found.results == []
        odd = records.read(HEAD + records._record(b'[{"token": 5}]\n'))
        assert (odd.results, odd.damage) == ([], "a record makes no sense")


class TestSpool:
    @pytest.fixture
    def spool(self, tmp_path: Path) -> Iterator[Spool]:
        made = Spool(tmp_path / "kept", PILOT, "node1", "the pool")
        yield made
        made.close()

    def test_nothing_is_made_before_there_is_a_result(self, spool: Spool, tmp_path: Path) -> None:
        spool.write([])
        spool.write([Settlement(doc=claimed(), outcome=Outcome(reason=Reason.STOPPED, give_back=True))])
        spool.forget()
        spool.close()
        assert list(tmp_path.iterdir()) == []

    def test_only_its_owner_can_read_it(self, spool: Spool, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            spool.write([result(claimed())])
        finally:
            os.umask(before)
        modes = {
            path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")
        }
        base = "kept/pilots/node1"
        assert modes == {
            "kept": 0o700,
            "kept/pilots": 0o700,
            base: 0o700,
            f"{base}/{PILOT}": 0o700,
            f"{base}/{PILOT}/{RESULTS}": 0o600,
        }

    def test_a_planted_link_is_not_followed(self, spool: Spool, tmp_path: Path) -> None:
        spool.folder.mkdir(parents=True)
        (spool.folder / RESULTS).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match=r"exists|symbolic"):
            spool.write([result(claimed())])
        assert not (tmp_path / "elsewhere").exists()

    def test_a_living_pilot_s_spool_is_left_alone(self, spool: Spool) -> None:
        spool.write([result(claimed())])
        assert open_spool(spool.folder) == "its pilot lives, or somebody else is at it"
        spool.release()
        first = opened(spool.folder)
        assert open_spool(spool.folder) == "its pilot lives, or somebody else is at it"
        first.close()
        assert [one.doc["_id"] for one in opened(spool.folder).results] == ["t1"]

    def test_what_is_settled_is_forgotten(self, spool: Spool, tmp_path: Path) -> None:
        spool.write([result(claimed())])
        size = (spool.folder / RESULTS).stat().st_size
        for _ in range(50):
            spool.forget()
            spool.write([result(claimed())])
        assert (spool.folder / RESULTS).stat().st_size == size
        spool.close()
        assert [path.name for path in tmp_path.rglob("*")] == ["kept", "pilots"]

    def test_a_large_file_is_linked_and_a_small_one_copied(self, spool: Spool, tmp_path: Path) -> None:
        large, small = tmp_path / "large", tmp_path / "small"
        large.write_bytes(b"x" * (LARGE_BYTES + 1))
        small.write_bytes(b"y")
        spool.write([result(claimed(), l=Attachment(path=str(large)), s=Attachment(path=str(small)))])
        assert large.stat().st_nlink == 2
        large.unlink()
        small.unlink()
        spool.release()

        (found,) = opened(spool.folder).results

        assert found.attachments["s"] == Attachment(data=b"y")
        assert Path(found.attachments["l"].path or "").stat().st_size == LARGE_BYTES + 1

    @pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no second file system")
    def test_a_large_file_on_another_disk_is_brought_in_at_the_end(self, spool: Spool, tmp_path: Path) -> None:
        large = Path("/dev/shm") / f"picas-test-{os.getpid()}"
        large.write_bytes(b"x" * (LARGE_BYTES + 1))
        if large.stat().st_dev == tmp_path.stat().st_dev:
            large.unlink()
            pytest.skip("there is no second file system")
        try:
            spool.write([result(claimed(), l=Attachment(path=str(large)))])
            assert sorted(path.name for path in spool.folder.iterdir()) == [RESULTS]
            spool.release()
        finally:
            large.unlink()
        (found,) = opened(spool.folder).results
        assert Path(found.attachments["l"].path or "").parent == spool.folder

    def test_only_regular_files_of_its_owner_are_taken(self, tmp_path: Path) -> None:
        for odd in ("../../secret", "/etc/passwd", "file-1/../../secret"):
            folder = tmp_path / str(abs(hash(odd)))
            folder.mkdir()
            (tmp_path / "secret").write_text("s")
            file = records.File(name="log", content_type="t", file=odd, path=str(folder / "link"))
            (folder / "link").symlink_to(tmp_path / "secret")
            (folder / RESULTS).write_bytes(HEAD + records.pack([(result(claimed()), {}, [file])]))
            found = opened(folder)
            assert (found.missing, found.results[0].attachments) == ({0: "log"}, {})

    def test_a_full_disk_leaves_it_as_it_was(self, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
        spool.write([result(claimed())])
        whole = (spool.folder / RESULTS).read_bytes()
        write = os.write

        def half(handle: int, data: Any) -> int:
            if len(data) < 50:
                raise OSError(28, "No space left on device")
            return write(handle, data[: len(data) // 2])

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", half)
            with pytest.raises(OSError, match="No space"):
                spool.write([result(claimed("t2"))])
        assert (spool.folder / RESULTS).read_bytes() == whole
        spool.write([result(claimed("t3"))])
        spool.release()
        assert [one.doc["_id"] for one in opened(spool.folder).results] == ["t1", "t3"]


class TestHandingIn:
    """On every store: what becomes of a dead pilot's results."""

    @pytest.fixture
    def scene(self, each_pool: Pool, tmp_path: Path) -> Scene:
        return Scene(each_pool, tmp_path)

    def test_a_claim_in_force_is_accepted(self, scene: Scene) -> None:
        scene.spooled(scene.claim("t1"))

        assert scene.fates(dry=True) == {"t1": "accepted"}
        assert state_of(scene.doc("t1")) is State.LOCKED
        assert scene.fates() == {"t1": "accepted"}

        doc = scene.doc("t1")
        assert (state_of(doc), doc["output"], doc["attempts"][0]["fence"]) == (State.DONE, {"of": "t1"}, 1)
        assert scene.file("t1", "small") == b"a few bytes"
        assert scene.file("t1", "large") == b"x" * (LARGE_BYTES + 1)
        # Whoever was killed before the spool was removed begins again: the pool has it, and nothing is kept.
        assert scene.fates() == {"t1": "known"}
        assert scene.kept() == []

    def test_a_silent_pilot_s_token_that_nobody_took_is_accepted(self, scene: Scene) -> None:
        doc = scene.claim("t1")
        (rev,) = scene.pool.store.update([{**scene.doc("t1"), "priority": 7}])
        assert isinstance(rev, str)
        scene.spooled(doc)
        assert scene.fates() == {"t1": "accepted"}
        assert scene.doc("t1")["priority"] == 7

    @pytest.mark.parametrize("what", ["lost", "claimed", "done", "reset", "deleted"])
    def test_a_claim_that_is_over_is_superseded(self, scene: Scene, what: str) -> None:
        scene.spooled(scene.claim("t1"))
        scene.meanwhile(what)
        before = scene.pool.get("t1")

        assert scene.fates() == {"t1": "superseded"}

        assert scene.pool.get("t1") == before
        (place,) = scene.kept()
        assert (place / "large").stat().st_size == LARGE_BYTES + 1
        # Begun again, it is kept once.
        assert scene.fates() == {"t1": "superseded"}
        assert scene.kept() == [place]

    def test_a_result_that_no_store_takes_ends_its_token(self, scene: Scene) -> None:
        doc = scene.claim("t1")
        bad = Attachment(data=b"x")
        scene.spooled(doc, _underscore=bad)
        assert scene.fates() == {"t1": "superseded"}
        assert (state_of(scene.doc("t1")), scene.doc("t1")["reason"]) == (State.ERROR, "exception")
        assert len(scene.kept()) == 1

    def test_a_result_whose_file_is_gone_is_not_handed_in(self, scene: Scene) -> None:
        folder = scene.spooled(scene.claim("t1"))
        for path in folder.glob("file-*"):
            path.unlink()
        scene.large.unlink()
        assert scene.fates() == {"t1": "incomplete"}
        assert state_of(scene.doc("t1")) is State.LOCKED
        assert len(scene.kept()) == 1

    def test_a_pilot_with_much_to_hand_in_goes_on_with_the_next_look(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not scene.pool.store.capabilities.durable:
            pytest.skip("nothing outlives its process")
        put(scene.pool.store, *(f"t{number:03}" for number in range(100)))
        wish = Claim(view=TODO, count=100, claimant=Claimant(pilot=PILOT, hostname="node1"))
        docs = scene.pool.store.exchange([], wish).claimed
        spool = Spool(scene.root, PILOT, "node1", scene.pool.url)
        spool.write([result(doc) for doc in docs])
        spool.release()
        rescue = Rescue(scene.pool.store, scene.root, "node1")
        monkeypatch.setattr("picas.pilot.rescue._AT_A_TIME", -1.0)
        looks = 1
        while not rescue.look():
            assert open_spool(spool.folder) == "its pilot lives, or somebody else is at it"
            looks += 1
        rescue.close()
        assert looks > 10
        assert scene.pool.count()[State.DONE] == len(docs) > 50
        assert not spool.folder.exists()

    def test_of_two_results_of_a_claim_the_later_counts(self, scene: Scene) -> None:
        doc = scene.claim("t1")
        spool = Spool(scene.root, PILOT, "node1", scene.pool.url)
        spool.write([result(doc)])
        spool.write([Settlement(doc=doc, outcome=Outcome(exit_code=3, attempt={"fence": 1, "pilot": PILOT}))])
        spool.release()
        scene.folder = spool.folder
        assert scene.fates() == {"t1": "accepted"}
        assert scene.doc("t1")["exit_code"] == 3


class Scene:
    """A pool, and a pilot's spool beside it."""

    def __init__(self, pool: Pool, tmp_path: Path) -> None:
        self.pool = pool
        self.root = tmp_path / "kept"
        self.folder = self.root
        self.large = tmp_path / "large"
        self.large.write_bytes(b"x" * (LARGE_BYTES + 1))

    def claim(self, name: str, pilot: str = PILOT) -> Doc:
        if self.pool.get(name) is None:
            put(self.pool.store, name)
        wish = Claim(view=TODO, count=1, claimant=Claimant(pilot=pilot, hostname="node1"))
        (doc,) = self.pool.store.exchange([], wish).claimed
        return doc

    def spooled(self, doc: Doc, **files: Attachment) -> Path:
        more = {"small": Attachment(data=b"a few bytes"), "large": Attachment(path=str(self.large))}
        spool = Spool(self.root, PILOT, "node1", self.pool.url)
        spool.write([result(doc, **more, **files)])
        spool.release()
        self.folder = spool.folder
        return self.folder

    def fates(self, *, dry: bool = False) -> dict[str, str]:
        found = opened(self.folder)
        try:
            fates = list(hand_in(found, self.pool.store, self.root, dry=dry))
        finally:
            found.close()
        return {fate.settlement.doc["_id"]: fate.became for fate in fates}

    def meanwhile(self, what: str) -> None:
        store = self.pool.store
        if what == "lost":
            assert self.pool.give_back(PILOT).changed == ["t1"]
        elif what == "deleted":
            self.pool.delete([self.doc("t1")])
        else:
            self.pool.reset([self.doc("t1")])
        if what in ("claimed", "done"):
            doc = self.claim("t1", "another")
            if what == "done":
                store.exchange([Settlement(doc=doc, outcome=Outcome())])

    def doc(self, name: str) -> Doc:
        doc = self.pool.get(name)
        assert doc is not None
        return doc

    def file(self, name: str, attachment: str) -> bytes:
        return b"".join(self.pool.store.get_attachment(name, attachment))

    def kept(self) -> list[Path]:
        return [path.parent for path in self.root.glob("*/result.json")]


def test_spools_are_found_from_every_folder_above(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "kept", PILOT, "node1", "the pool")
    spool.write([result(claimed())])
    keep(result(claimed("t9")), "because", tmp_path / "kept")
    for place in (spool.folder, spool.folder.parent, spool.folder.parent.parent, tmp_path / "kept"):
        assert list(folders(place)) == [spool.folder], place
    spool.close()


def test_spools_that_others_remove_meanwhile_are_no_error(tmp_path: Path) -> None:
    theirs = [tmp_path / "pilots" / "node1" / f"node1-{number}-abc" for number in range(20)]
    over = threading.Event()

    def others() -> None:
        while not over.is_set():
            for folder in theirs:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / RESULTS).touch()
            for folder in theirs:
                (folder / RESULTS).unlink()
                folder.rmdir()
            theirs[0].parent.rmdir()

    thread = threading.Thread(target=others)
    thread.start()
    try:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert {folder.parent.name for folder in folders(tmp_path)} <= {"node1"}
            sweep(tmp_path / "pilots" / "node2")
    finally:
        over.set()
        thread.join()
