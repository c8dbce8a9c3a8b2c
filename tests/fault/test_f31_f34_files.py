"""F31, F32 and F34: the disk is full, the file may not be written, or it is not what it should be."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.errors import PicasError, StoreUnavailable
from picas.lifecycle import Claimant, Outcome, State, state_of
from picas.pool import Selection, connect
from picas.stores.base import Attachment, Claim, Settlement
from picas.views import View
from support import pilots
from support.checker import SIDE, check
from support.pilots import until

TOKENS = 60
FLIPS = 40

_USE = """
import os, sys
import picas.stores.observed, picas.stores.sqlite
from picas.errors import PicasError
from picas.pool import connect
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    with connect(sys.argv[1], create=len(sys.argv) > 2) as pool:
        pool.add([{"_id": "new"}])
except PicasError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike those of pytest."""
    made = Path(tempfile.mkdtemp(prefix="picas-test-"))
    made.chmod(0o777)
    try:
        yield made
    finally:
        made.chmod(0o777)
        shutil.rmtree(made)


def _make_pool(path: Path, tokens: int = TOKENS) -> None:
    """A pool with tokens in three states and files, closed in good order."""
    with connect(str(path), create=True) as pool:
        pool.add({"_id": f"t{number:03d}", "input": f"value {number}" * 20} for number in range(tokens))
        store = pool.store
        claimant = Claimant(pilot="p")
        claimed = store.exchange([], Claim(view=View(State.TODO), count=tokens // 3, claimant=claimant)).claimed
        files = {"log": Attachment(data=b"output " * 100)}
        ended = claimed[: tokens // 6]
        store.exchange([Settlement(doc=doc, outcome=Outcome(), attachments=files) for doc in ended])


def _read_all(path: Path) -> tuple[int, int, bool]:
    """Use a pool in every way that reads, then claim: tokens counted, tokens listed, and whether it calls itself sound.

    Raises PicasError, and nothing else, when the pool cannot be used.
    """
    with connect(str(path)) as pool:
        sound = pool.store.check() == []
        listed = list(pool.select(Selection(everything=True)))
        counted = sum(pool.count().values())
        pool.pilots()
        pool.store.designs()
        for doc in listed:
            for name in doc.get("_attachments", {}):
                b"".join(pool.store.get_attachment(doc["_id"], name))
        pool.store.exchange([], Claim(view=View(State.TODO), count=5, claimant=Claimant(pilot="q")))
    return counted, len(listed), sound


def _refusal(path: Path, *, create: bool = False) -> PicasError:
    """The one line with which a pool is refused."""
    with pytest.raises(PicasError) as caught:
        _use(path, create=create)
    return _check_line(caught.value)


def _use(path: Path, *, create: bool) -> None:
    with connect(str(path), create=create) as pool:
        pool.count()
        pool.add([{"_id": "new"}])


def _check_line(error: PicasError) -> PicasError:
    assert str(error)
    assert "\n" not in str(error)
    assert "Traceback" not in str(error)
    return error


# F31


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here: needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512):
            while True:
                try:
                    if file.write(b"x" * size) < size:
                        break
                except OSError:
                    break
    return filler


def test_a_pilot_sits_out_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """F31: the disk of the pool is full. The pilot waits, and all is done when there is room."""
    with pilots.site(tmp_path, small_disk / "picas.db") as site:
        go = tmp_path / "go"
        waits = (
            f'echo started >> "$SIDE.started"; while [ ! -e {go} ]; do sleep 0.02; done; head -c 3000 /dev/zero; {SIDE}'
        )
        site.add(*[["sh", "-c", waits]] * 40)
        pilot = site.pilot(cores=4, lease=30.0, grace=1.0)
        started = tmp_path / "side.txt.started"
        until("four run", lambda: started.exists() and len(started.read_text().splitlines()) >= 4)
        filler = _fill(small_disk)
        with pytest.raises(StoreUnavailable, match="disk is full") as caught:
            site.pool.add([{"_id": f"more{number}", "input": "x" * 10_000} for number in range(300)])
        _check_line(caught.value)
        go.touch()
        until("the pilot notices", lambda: "trying again" in pilot.err_path.read_text(), 20.0)
        assert pilot.process.poll() is None

        filler.unlink()
        pilot.report(40.0)

        assert site.pool.get("more0") is None
        # All are done, with the output of their only run; nothing was run again, nothing lost.
        assert check(site, side=True) == {State.DONE: 40}
        assert all(site.doc(token_id)["fence"] == 1 for token_id in site.ids)


def test_output_that_fills_the_disk_costs_its_own_token_only(tmp_path: Path, small_disk: Path) -> None:
    """F31: output fills the disk. It costs its own token, and no other."""
    with pilots.site(tmp_path) as site:
        site.environ["TMPDIR"] = str(small_disk)
        big, small = site.add(["sh", "-c", "head -c 5000000 /dev/zero"], ["sh", "-c", SIDE])
        pilot = site.pilot(cores=1, lease=30.0, grace=1.0, disk_floor=0)
        pilot.report()

        # What wrote too much is in error for that; the token after it, on the same core, is done.
        assert (state_of(site.doc(big)), site.doc(big).get("reason")) == (State.ERROR, "disk")
        assert state_of(site.doc(small)) is State.DONE
        assert check(site) == {State.ERROR: 1, State.DONE: 1}


def test_a_pool_on_a_full_disk_is_not_made(small_disk: Path) -> None:
    _fill(small_disk)
    _refusal(small_disk / "picas.db", create=True)

    (small_disk / "filler").unlink()
    with connect(str(small_disk / "picas.db"), create=True) as pool:
        pool.add([{"_id": "t"}])
        # With room, the same call makes a sound pool.
        assert pool.store.check() == []


# F32


def _use_without_powers(path: Path, *words: str) -> tuple[int, str, str]:
    """Use a pool in a process that has given up the powers of root; its exit code and both outputs."""
    command = [sys.executable, "-c", _USE, str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("what", ["file", "folder", "both", "lock"])
def test_what_may_not_be_written_is_refused_in_one_line(folder: Path, what: str) -> None:
    """F32: the pool's file or folder may not be written. That is said in one line."""
    path = folder / "picas.db"
    _make_pool(path)
    for each in folder.iterdir():
        each.chmod(0o666)
    if what in ("file", "both"):
        path.chmod(0o444)
    if what == "lock":
        Path(f"{path}-lock").chmod(0o444)
    if what in ("folder", "both"):
        folder.chmod(0o555)

    code, out, err = _use_without_powers(path)

    assert (code, err) == (4, ""), err
    assert len(out.splitlines()) == 1
    # Every token is as it was.
    folder.chmod(0o777)
    path.chmod(0o666)
    assert _read_all(path) == (TOKENS, TOKENS, True)


def test_a_pool_cannot_be_made_where_nothing_may_be(folder: Path) -> None:
    folder.chmod(0o555)

    code, out, err = _use_without_powers(folder / "picas.db", "create")

    assert (code, err) == (4, ""), err
    assert len(out.splitlines()) == 1
    # Nothing was made.
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("create", [False, True], ids=["open", "create"])
def test_a_missing_folder_and_a_folder_in_place_of_a_file_are_refused(tmp_path: Path, create: bool) -> None:
    assert "does not exist" in str(_refusal(tmp_path / "nowhere" / "picas.db", create=create))
    assert "is a folder" in str(_refusal(tmp_path, create=create))
    # Nothing was made in their place.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-lock"])
def test_a_folder_where_a_companion_file_should_be_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    Path(f"{path}{ending}").unlink(missing_ok=True)
    Path(f"{path}{ending}").mkdir()

    _refusal(path)

    # With the folder out of the way every token is as it was.
    Path(f"{path}{ending}").rmdir()
    assert _read_all(path) == (TOKENS, TOKENS, True)


@pytest.mark.parametrize("kind", ["link", "dangling-link", "fifo", "device"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picas.db"
    if kind == "link":
        _make_pool(tmp_path / "real.db")
        path.symlink_to(tmp_path / "real.db")
    elif kind == "dangling-link":
        path.symlink_to(tmp_path / "nothing.db")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = Path("/dev/null")

    _refusal(path, create=kind == "dangling-link")

    # What a link led to is neither made nor changed.
    assert not (tmp_path / "nothing.db").exists()
    if kind == "link":
        assert _read_all(tmp_path / "real.db") == (TOKENS, TOKENS, True)


# F34


@pytest.mark.parametrize("create", [False, True], ids=["open", "create"])
def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, create: bool) -> None:
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE theirs (x)")
    database.commit()
    database.close()
    text.write_text("This is no database at all.\n" * 300)
    before = foreign.read_bytes(), text.read_bytes()

    assert "another program" in str(_refusal(foreign, create=create))
    assert "not a picas pool" in str(_refusal(text, create=create))

    # Not a byte of theirs was changed.
    assert (foreign.read_bytes(), text.read_bytes()) == before


def test_an_empty_file_is_not_an_empty_pool(tmp_path: Path) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    os.truncate(path, 0)

    # The pool is not said to hold nothing: it is said to be no pool.
    assert "empty" in str(_refusal(path))


@pytest.mark.parametrize("left", [0.5, 0.9, 0.05], ids=str)
def test_a_pool_cut_short_is_found_out(tmp_path: Path, left: float) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    os.truncate(path, int(path.stat().st_size * left))

    # It is refused, with one line, before anybody could believe what it says.
    with pytest.raises(PicasError) as caught:
        _read_all(path)
    _check_line(caught.value)


def test_a_flipped_byte_is_found_out_or_harmless(tmp_path: Path) -> None:
    """F34: a byte of the pool's file is flipped. It is found out, or does no harm."""
    path = tmp_path / "picas.db"
    _make_pool(path)
    whole = path.read_bytes()
    dice = random.Random(34)
    wrong = []
    for place in [*range(0, 100, 9), *(dice.randrange(100, len(whole)) for _ in range(FLIPS - 12))]:
        problem = _use_flipped(path, whole, place, dice.randrange(1, 256))
        if problem:
            wrong.append(f"byte {place}: {problem}")

    # At every place the damage was told in one line, or every token was still there.
    assert not wrong, "\n".join(wrong)


def test_a_flipped_byte_in_a_document_is_found_out_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    whole = path.read_bytes()
    document = next(found for found in _documents(path) if b'"t055"' in found)
    start = whole.index(document)
    wrong = []
    for place in [*range(start, start + 12), start + len(document) - 1]:
        for bits in (0x5A, 0x80):
            problem = _use_flipped(path, whole, place, bits)
            if problem:
                wrong.append(f"byte {place} ({whole[place : place + 1]!r}): {problem}")

    # A document that is no JSON any more is damage like any other, told in one line.
    assert not wrong, "\n".join(wrong)


def _documents(path: Path) -> list[bytes]:
    database = sqlite3.connect(path)
    found = [text.encode() for (text,) in database.execute("SELECT doc FROM tokens")]
    database.close()
    return found


def _use_flipped(path: Path, whole: bytes, place: int, bits: int) -> str:
    """What is wrong with how a damaged pool is taken; empty when it is detected or harmless."""
    for ending in ("-wal", "-shm", "-lock"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    data = bytearray(whole)
    data[place] ^= bits
    path.write_bytes(data)
    try:
        counted, listed, sound = _read_all(path)
    except PicasError as error:
        return "" if "\n" not in str(error) else f"more than one line: {error}"
    except Exception as error:  # noqa: BLE001 - what no store may let out is what is looked for
        where = [frame.name for frame in traceback.extract_tb(error.__traceback__) if "picas" in frame.filename]
        return f"{type(error).__name__}: {error} (in {' > '.join(where[-3:])})"
    if counted == listed == TOKENS or (not sound and counted > 0):
        return ""
    return f"counted {counted}, listed {listed}, sound: {sound}"


def test_a_log_deleted_after_a_clean_end_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    for ending in ("-wal", "-shm", "-lock"):
        Path(f"{path}{ending}").unlink(missing_ok=True)

    # Every token is there.
    assert _read_all(path) == (TOKENS, TOKENS, True)


def test_a_pool_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "picas.db"
    _make_pool(path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()

    assert "newer picas" in str(_refusal(path))
    database = sqlite3.connect(path)
    # Not a token was changed.
    assert len(database.execute("SELECT doc FROM tokens").fetchall()) == TOKENS
    assert all(json.loads(text) for (text,) in database.execute("SELECT doc FROM tokens"))
    database.close()
