from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from picas import crypto
from picas.crypto import decrypt_password, encrypt_password, generate_and_save_key, read_key
from picas.errors import ConfigError


@pytest.fixture
def key_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key goes by default; neither it nor its folder is there yet."""
    path = tmp_path / "config" / "picas" / "key.dat"
    monkeypatch.setattr(crypto, "CRYPTO_KEY_PATH", str(path))
    return path


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_path_is_picass() -> None:
    assert Path(crypto.CRYPTO_KEY_PATH).parts[-3:] == (".config", "picas", "key.dat")
    assert "~" not in crypto.CRYPTO_KEY_PATH


@pytest.mark.usefixtures("umask")
def test_a_key_and_its_folder_are_their_owners_alone_under_any_umask(key_path: Path) -> None:
    generate_and_save_key()
    assert mode(key_path) == 0o600
    assert mode(key_path.parent) == 0o700


def test_folders_above_that_are_missing_are_made_private_too(key_path: Path) -> None:
    before = os.umask(0)
    try:
        generate_and_save_key()
    finally:
        os.umask(before)
    assert mode(key_path.parent.parent) == 0o700


def test_a_key_is_private_from_its_first_byte(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, fdopen = [], open

    def looking(descriptor: int, how: str) -> object:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return fdopen(descriptor, how)

    monkeypatch.setattr("builtins.open", looking)
    before = os.umask(0)
    try:
        generate_and_save_key()
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_folder_that_is_there_keeps_its_mode(key_path: Path) -> None:
    key_path.parent.mkdir(parents=True)
    key_path.parent.chmod(0o755)
    generate_and_save_key()
    assert mode(key_path.parent) == 0o755


def test_an_existing_key_is_left_alone(key_path: Path) -> None:
    generate_and_save_key()
    before = read_key()
    generate_and_save_key()
    assert read_key() == before


def test_an_existing_key_is_not_replaced_on_request_either(key_path: Path) -> None:
    generate_and_save_key()
    before = read_key()
    with pytest.raises(ConfigError, match=r"key\.dat: there is a key already") as raised:
        generate_and_save_key(skip_if_exists=False)
    assert "remove it" in raised.value.hint
    assert read_key() == before


def test_nothing_is_written_through_a_planted_link(key_path: Path, tmp_path: Path) -> None:
    key_path.parent.mkdir(parents=True)
    key_path.symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError):
        generate_and_save_key(skip_if_exists=False)
    assert not (tmp_path / "victim").exists()


def test_a_full_disk_leaves_no_half_key(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, how: str) -> object:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(ConfigError, match="No space left"):
        generate_and_save_key()
    assert not key_path.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be saved"):
        generate_and_save_key(tmp_path / "file" / "key.dat")


def test_a_path_can_be_given(tmp_path: Path) -> None:
    generate_and_save_key(key_path=str(tmp_path / "k"), skip_if_exists=False)
    assert len(read_key(tmp_path / "k")) == 44


@pytest.mark.parametrize("shared", [0o640, 0o604, 0o660, 0o620, 0o601])
def test_a_key_that_others_may_use_is_refused(key_path: Path, shared: int) -> None:
    generate_and_save_key()
    key_path.chmod(shared)
    with pytest.raises(ConfigError) as raised:
        read_key()
    assert str(key_path) in raised.value.message
    assert raised.value.hint == f"chmod 600 {key_path}"


def test_a_missing_key(key_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing") as raised:
        read_key()
    assert str(key_path) in raised.value.message
    assert raised.value.hint
    assert isinstance(raised.value, FileNotFoundError)


def test_a_key_that_another_process_is_writing_is_waited_for(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_and_save_key()
    key = read_key()
    key_path.write_bytes(b"")
    writer = threading.Thread(target=key_path.write_bytes, args=[key])
    monkeypatch.setattr("time.sleep", lambda seconds: writer.ident or writer.start())
    assert read_key() == key
    writer.join()


def test_a_key_that_stays_empty_is_damaged(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_and_save_key()
    key_path.write_bytes(b"")
    monkeypatch.setattr(crypto, "_WRITING_SECONDS", 0.0)
    with pytest.raises(ConfigError, match="damaged") as raised:
        encrypt_password("x")
    assert "remove key.dat" in raised.value.hint


def test_a_key_that_is_a_folder(key_path: Path) -> None:
    key_path.mkdir(parents=True, mode=0o700)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key()


@pytest.mark.parametrize("password", ["p\u00e4ss", "p\u00e4ss".encode()])
def test_a_password_comes_back_as_bytes(key_path: Path, password: str | bytes) -> None:
    generate_and_save_key()
    encrypted = encrypt_password(password)
    assert isinstance(encrypted, bytes)
    assert "p\u00e4ss".encode() not in encrypted
    assert decrypt_password(encrypted) == decrypt_password(encrypted.decode()) == "p\u00e4ss".encode()


def test_a_password_typed_in_a_locale_that_is_not_utf8_keeps_its_bytes(key_path: Path) -> None:
    generate_and_save_key()
    assert decrypt_password(encrypt_password(os.fsdecode(b"p\xe4ss"))) == b"p\xe4ss"


def test_a_key_can_be_given(tmp_path: Path) -> None:
    generate_and_save_key(tmp_path / "k")
    key = read_key(tmp_path / "k")
    assert decrypt_password(encrypt_password("x", key), key=key.decode()) == b"x"


@pytest.mark.parametrize("encrypted", ["nonsense", "", "n\u00f6nsense", b"\xff"])
def test_a_password_that_is_not_of_this_key(key_path: Path, encrypted: str | bytes) -> None:
    generate_and_save_key()
    with pytest.raises(ConfigError, match="does not belong to this key"):
        decrypt_password(encrypted)


@pytest.mark.parametrize("key", [b"", b"short", b"\xff" * 44, "k\u00e9y"])
def test_a_damaged_key(key: str | bytes) -> None:
    with pytest.raises(ConfigError, match="damaged"):
        encrypt_password("x", key)
    with pytest.raises(ConfigError, match="damaged"):
        decrypt_password("x", key)


def test_importing_costs_no_cryptography() -> None:
    code = "import sys, picas.crypto; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
