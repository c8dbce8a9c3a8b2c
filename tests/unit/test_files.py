from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas.files import make_folder, read_text, replace, write_new


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_what_is_written_and_made_is_its_owners_alone_under_any_umask(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    replace(tmp_path / "a" / "b" / "file", b"x")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    assert mode(tmp_path / "a" / "b" / "file") == 0o600


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_dangling_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_replacing_makes_an_open_file_private_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    replace(path, b"new")
    assert (path.read_bytes(), mode(path), [one.name for one in tmp_path.iterdir()]) == (b"new", 0o600, ["file"])


def test_a_readers_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        replace(path, b"new")
        assert reader.read() == "old"


@pytest.mark.parametrize("exists", [True, False])
def test_a_planted_link_is_refused_and_not_followed(tmp_path: Path, exists: bool) -> None:
    victim, link = tmp_path / "victim", tmp_path / "file"
    if exists:
        victim.write_text("kept")
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        replace(link, b"new")
    assert not write_new(link, b"new")
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "kept"


def test_a_link_planted_at_the_last_moment_is_replaced_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("kept")
    renaming = Path.replace

    def planted(fresh: Path, target: Path) -> Path:
        target.symlink_to(victim)
        return renaming(fresh, target)

    monkeypatch.setattr(Path, "replace", planted)
    replace(path, b"new")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("kept", "new", False)


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(failing, full)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new")
    assert (path.read_text(), [one.name for one in tmp_path.iterdir()]) == ("old", ["file"])


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    assert write_new(tmp_path / "file", b"first")
    assert not write_new(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"


def test_a_file_that_is_not_there_has_no_text(tmp_path: Path) -> None:
    assert read_text(tmp_path / "none") is None
    assert read_text(tmp_path) is None
