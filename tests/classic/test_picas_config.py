"""The PiCaS contract for the configuration file, and that its password shows nowhere."""

from __future__ import annotations

import getpass
import os
import pickle
import stat
import sys
import types
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from picas import crypto
from picas.config import find_pool
from picas.crypto import decrypt_password, generate_and_save_key
from picas.errors import ConfigError, StoreUnavailable
from picas.picas_config import PICAS_CONFIG_SCHEMA, PicasConfig, PicasConfigSchemaError

KEYS = {"host_url", "database", "username", "encrypted_password"}
GIVEN = Namespace(host_url="https://h:6984", database="db", username="ann", password="hunter2")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(crypto, "CRYPTO_KEY_PATH", str(tmp_path / ".config" / "picas" / "key.dat"))
    for name in ("PICAS_HOST_URL", "PICAS_DATABASE", "PICAS_USERNAME", "PICAS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def conf(home: Path) -> Path:
    """The configuration in its place, made by PiCaS's own call."""
    PicasConfig(load=False).save_config(GIVEN)
    return home / ".config" / "picas" / "conf.yml"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers to give at the terminal, in order."""
    answers: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda prompt: answers.pop(0))
    return answers


class Server:
    """Stands in for the server's ``_users`` database: the password it has, and who is refused."""

    def __init__(self) -> None:
        self.password = "hunter2"
        self.calls: list[tuple[str, str]] = []
        self.problem: Exception | None = None

    def change_user_password(self, host_url: str, username: str, password: str, new_password: str) -> None:
        if self.problem:
            raise self.problem
        assert password == self.password
        self.calls.append((host_url, username))
        self.password = new_password


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server, module = Server(), types.ModuleType("picas.stores.couchdb.users")
    module.change_user_password = server.change_user_password  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picas.stores.couchdb.users", module)
    return server


def password_in(config: PicasConfig) -> str:
    """The password as PiCaS programs get at it."""
    return decrypt_password(config.config["encrypted_password"]).decode()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestSaved:
    def test_exactly_four_keys_the_password_encrypted(self, conf: Path) -> None:
        stored = yaml.safe_load(conf.read_text())
        assert set(stored) == KEYS
        assert (stored["host_url"], stored["database"], stored["username"]) == ("https://h:6984", "db", "ann")
        assert "hunter2" not in conf.read_text()
        assert decrypt_password(stored["encrypted_password"]) == b"hunter2"

    def test_a_program_reads_it_back(self, conf: Path) -> None:
        config = PicasConfig(load=True)
        assert set(config.config) == KEYS
        assert password_in(config) == "hunter2"
        address = find_pool(None, os.environ, conf.parent)
        assert (address.url, address.username) == ("https://h:6984/db", "ann")
        assert address.password
        assert address.password.reveal() == "hunter2"

    @pytest.mark.parametrize("umask", [0o000, 0o022])
    def test_files_and_folders_are_their_owners_alone(self, home: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            PicasConfig(load=False).save_config(GIVEN)
        finally:
            os.umask(before)
        folder = home / ".config" / "picas"
        assert {path.name: mode(path) for path in folder.iterdir()} == {"conf.yml": 0o600, "key.dat": 0o600}
        assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)

    def test_a_file_with_the_old_clients_mode_becomes_private(self, conf: Path) -> None:
        conf.chmod(0o644)
        PicasConfig(load=False).save_config(GIVEN)
        assert mode(conf) == 0o600

    def test_a_planted_link_is_refused(self, conf: Path, home: Path) -> None:
        (home / "victim").write_text("kept")
        conf.unlink()
        conf.symlink_to(home / "victim")
        with pytest.raises(ConfigError, match=r"conf\.yml: cannot be written: it is a symbolic link"):
            PicasConfig(load=False).save_config(GIVEN)
        assert (home / "victim").read_text() == "kept"

    def test_a_path_of_ones_own(self, home: Path) -> None:
        PicasConfig("~/mine/conf.yml", load=False).save_config(GIVEN)
        assert password_in(PicasConfig(home / "mine" / "conf.yml")) == "hunter2"

    def test_bytes_as_password(self) -> None:
        config = PicasConfig(load=False)
        config.save_config(Namespace(**{**vars(GIVEN), "password": b"p\xc3\xa4"}))
        assert password_in(config) == "pä"

    def test_a_password_of_none_is_asked_for(self, asked: list[str]) -> None:
        asked.append("typed")
        config = PicasConfig(load=False)
        config.save_config(Namespace(**{**vars(GIVEN), "password": None}))
        assert password_in(config) == "typed"

    def test_a_password_of_none_comes_from_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PICAS_PASSWORD", "from variable")
        config = PicasConfig(load=False)
        config.save_config(Namespace(**{**vars(GIVEN), "password": None}))
        assert password_in(config) == "from variable"

    def test_nothing_is_asked_or_written_for_a_user_without_name(self, home: Path) -> None:
        with pytest.raises(PicasConfigSchemaError, match="username is missing"):
            PicasConfig(load=False).save_config(Namespace(**{**vars(GIVEN), "username": None, "password": None}))
        assert list(home.iterdir()) == []

    @pytest.mark.parametrize("name", ["null", "~", "no", "12", "a: b", "#x", "ä\u2028", "'", " x", "\x07\udcff"])
    def test_any_text_comes_back(self, name: str) -> None:
        PicasConfig(load=False).save_config(Namespace(**{**vars(GIVEN), "username": name}))
        assert PicasConfig().config["username"] == name


class TestLoaded:
    def test_without_a_file(self) -> None:
        with pytest.raises(FileNotFoundError, match=r"not found: ~/\.config/picas/conf\.yml") as raised:
            PicasConfig()
        assert isinstance(raised.value, ConfigError)
        assert "picas-cli init" in raised.value.hint
        assert raised.value.exit_code == 3

    def test_not_loading(self) -> None:
        config = PicasConfig(load=False)
        assert (config.config, config.config_path) == ({}, "~/.config/picas/conf.yml")

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("", "empty"),
            ("host_url: x\n", "database is missing"),
            ("password: hunter2\n", "unknown key 'password'"),
            ("host_url: &a [hunter2]\n", "not a plain value"),
            ("host_url: !!python/object/apply:os.system [hunter2]\n", "not a plain value"),
            ("a: &a [x,x]\nb: &b [*a,*a]\n", "not a plain value"),
            ("'hunter2\n", "not valid YAML"),
            ("x" * 1_000_001, "too large"),
        ],
    )
    def test_a_wrong_file_is_one_line(self, conf: Path, content: str, complaint: str) -> None:
        conf.write_text(content)
        with pytest.raises(ConfigError, match=complaint) as raised:
            PicasConfig()
        assert "\n" not in raised.value.message
        assert "hunter2" not in raised.value.message + raised.value.hint

    def test_variables_win_over_the_file(self, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = conf.read_bytes()
        monkeypatch.setenv("PICAS_DATABASE", "other")
        monkeypatch.setenv("PICAS_PASSWORD", "from variable")
        config = PicasConfig()
        assert (config.config["host_url"], config.config["database"]) == ("https://h:6984", "other")
        assert password_in(config) == "from variable"
        assert conf.read_bytes() == before

    def test_all_variables_need_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HOST_URL", "DATABASE", "USERNAME", "PASSWORD"):
            monkeypatch.setenv(f"PICAS_{name}", name.lower())
        config = PicasConfig()
        assert set(config.config) == KEYS
        assert password_in(config) == "password"

    def test_an_empty_variable_counts_as_not_there(self, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PICAS_DATABASE", "")
        assert PicasConfig().config["database"] == "db"


class TestValidated:
    def test_the_schema_says_the_same(self) -> None:
        assert set(PICAS_CONFIG_SCHEMA["required"]) == set(PICAS_CONFIG_SCHEMA["properties"]) == KEYS
        assert PICAS_CONFIG_SCHEMA["additionalProperties"] is False
        assert all(value["type"] == "string" for value in PICAS_CONFIG_SCHEMA["properties"].values())

    @pytest.mark.parametrize(
        "changed", [{"username": None}, {"username": 7}, {"more": "x"}, {"encrypted_password": []}]
    )
    def test_any_other_form_is_refused(self, conf: Path, changed: dict[str, Any]) -> None:
        config = PicasConfig()
        config.validate_config()
        before = conf.read_bytes()
        with pytest.raises(PicasConfigSchemaError, match=next(iter(changed))):
            config.validate_config({**config.config, **changed})
        with pytest.raises(PicasConfigSchemaError):
            config.write_config({**config.config, **changed})
        assert conf.read_bytes() == before

    def test_what_is_no_dict_is_refused(self) -> None:
        with pytest.raises(PicasConfigSchemaError, match="dict"):
            PicasConfig(load=False).validate_config("x")  # type: ignore[arg-type]

    def test_the_error_has_its_message(self) -> None:
        error = PicasConfigSchemaError("what is wrong")
        assert (error.message, str(error)) == ("what is wrong", "what is wrong")
        assert isinstance(error, ConfigError)


class TestPasswordChanged:
    def test_on_the_server_and_in_the_file(self, conf: Path, server: Server) -> None:
        PicasConfig().change_password(Namespace(new_password="s3cret"))
        assert (server.password, server.calls) == ("s3cret", [("https://h:6984", "ann")])
        assert password_in(PicasConfig()) == "s3cret"
        assert mode(conf) == 0o600

    def test_asked_for_twice(self, conf: Path, server: Server, asked: list[str]) -> None:
        asked += ["s3cret", "s3cret"]
        PicasConfig().change_password(Namespace(new_password=None))
        assert server.password == password_in(PicasConfig()) == "s3cret"

    @pytest.mark.parametrize("answers", [["s3cret", "secret"], ["", ""]])
    def test_not_when_the_answers_are_no_password(
        self, conf: Path, server: Server, asked: list[str], answers: list[str]
    ) -> None:
        asked += answers
        with pytest.raises(ConfigError, match="nothing was changed"):
            PicasConfig().change_password(Namespace(new_password=None))
        assert server.password == password_in(PicasConfig()) == "hunter2"

    def test_not_when_the_server_refuses(self, conf: Path, server: Server) -> None:
        server.problem = StoreUnavailable("no answer from h:6984", hint="is it up?")
        with pytest.raises(ValueError, match="not changed: no answer") as raised:
            PicasConfig().change_password(Namespace(new_password="s3cret"))
        assert getattr(raised.value, "exit_code", None) == 4
        assert password_in(PicasConfig()) == "hunter2"

    def test_not_without_a_configuration(self) -> None:
        with pytest.raises(ValueError, match="no encrypted password"):
            PicasConfig(load=False).change_password(Namespace(new_password="s3cret"))

    def test_a_file_that_cannot_be_written_is_said(
        self, conf: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = PicasConfig()
        target = conf.rename(conf.with_name("elsewhere"))
        conf.symlink_to(target)
        with pytest.raises(ConfigError, match="changed on the server, but not here") as raised:
            config.change_password(Namespace(new_password="s3cret"))
        assert "picas-cli init" in raised.value.hint
        assert server.password == "s3cret"

    def test_variables_are_not_written_to_the_file(
        self, conf: Path, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PICAS_DATABASE", "other")
        config = PicasConfig()
        config.change_password(Namespace(new_password="s3cret"))
        assert (config.config["database"], password_in(config)) == ("other", "s3cret")
        assert yaml.safe_load(conf.read_text())["database"] == "db"

    def test_change_couchdb_password_takes_bytes(self, server: Server) -> None:
        PicasConfig(load=False).change_couchdb_password(
            uri="http://x:y@h", username="ann", old_password=b"hunter2", new_password=b"n\xc3\xa4w"
        )
        assert (server.password, server.calls) == ("näw", [("http://h", "ann")])


class TestShown:
    def test_no_password_in_any_form(self, conf: Path) -> None:
        config = PicasConfig()
        config.config["host_url"] = "https://ann:hunter2@h"
        shown = f"{config} {config!r}"
        assert "host_url: https://h\n" in shown
        assert "hunter2" not in shown
        assert config.config["encrypted_password"] not in shown
        assert str(PicasConfig(load=False)) == "PicasConfig: no configuration loaded"

    def test_a_missing_file_can_cross_a_process(self) -> None:
        with pytest.raises(FileNotFoundError) as raised:
            PicasConfig()
        assert type(pickle.loads(pickle.dumps(raised.value))) is type(raised.value)

    def test_no_key_is_made_by_loading_a_file(self, conf: Path) -> None:
        key = conf.with_name("key.dat")
        key.unlink()
        PicasConfig()
        assert not key.exists()
        generate_and_save_key()
        with pytest.raises(ConfigError, match="does not belong to this key"):
            password_in(PicasConfig())
