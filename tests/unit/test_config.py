from __future__ import annotations

import copy
import dataclasses
import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from picas.config import PoolAddress, Secret, find_pool, without_credentials
from picas.crypto import encrypt_password, generate_and_save_key, read_key
from picas.errors import ConfigError

PICAS = {
    "PICAS_HOST_URL": "https://picas.example:6984",
    "PICAS_DATABASE": "mydb",
    "PICAS_USERNAME": "ann",
    "PICAS_PASSWORD": "from variable",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "run"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def conf(home: Path) -> Path:
    """PiCaS's own configuration file with its key; the password is ``from file``."""
    path = home / ".config" / "picas" / "conf.yml"
    generate_and_save_key(path.with_name("key.dat"))
    encrypted = encrypt_password("from file", read_key(path.with_name("key.dat"))).decode()
    path.write_text(
        f"database: filedb\nencrypted_password: {encrypted}\nhost_url: https://file.example:6984/\nusername: bob\n"
    )
    return path


def find(explicit: str | None = None, *, cwd: Path, home: Path, **environ: str) -> PoolAddress:
    return find_pool(explicit, {"HOME": str(home), **environ}, cwd)


def refusal(text: str, *, cwd: Path, home: Path) -> ConfigError:
    """The error for an address; whatever it says, it may not say the password."""
    with pytest.raises(ConfigError) as raised:
        find(text, cwd=cwd, home=home)
    shown = f"{raised.value.message} {raised.value.hint} {raised.value.__cause__}"
    assert "hunter2" not in shown
    assert "\n" not in raised.value.message
    return raised.value


class TestOrder:
    def test_each_source_wins_over_those_behind_it(self, cwd: Path, home: Path, conf: Path) -> None:
        toml = cwd.parent / "picas.toml"
        toml.write_text('pool = "toml.db"\n')
        variables = {"PICAS_POOL": "variable.db", **PICAS}
        found = [find("option.db", cwd=cwd, home=home, **variables), find(cwd=cwd, home=home, **variables)]
        del variables["PICAS_POOL"]
        found.append(find(cwd=cwd, home=home, **variables))
        found.append(find(cwd=cwd, home=home))
        toml.unlink()
        found.append(find(cwd=cwd, home=home))
        conf.unlink()
        found.append(find(cwd=cwd, home=home))
        assert [(address.url, address.origin) for address in found] == [
            (str(cwd / "option.db"), "--pool"),
            (str(cwd / "variable.db"), "PICAS_POOL"),
            ("https://picas.example:6984/mydb", "PICAS_HOST_URL"),
            (str(cwd.parent / "toml.db"), str(toml)),
            ("https://file.example:6984/filedb", str(conf)),
            (str(cwd / "picas.db"), "default"),
        ]

    def test_a_wrong_file_behind_the_winner_is_not_read(self, cwd: Path, home: Path) -> None:
        (cwd / "picas.toml").write_text("garbage")
        assert find("x.db", cwd=cwd, home=home).origin == "--pool"

    def test_empty_variables_count_as_not_there(self, cwd: Path, home: Path) -> None:
        empty = dict.fromkeys(["PICAS_POOL", *PICAS], "")
        assert find(cwd=cwd, home=home, **empty).origin == "default"

    def test_an_empty_option_is_an_error(self, cwd: Path, home: Path) -> None:
        assert refusal("  ", cwd=cwd, home=home).message == "--pool: the pool address is empty"

    def test_a_home_that_is_not_set(self, cwd: Path) -> None:
        assert find_pool("x.db", {}, cwd).url == str(cwd / "x.db")


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("pool.db", "{cwd}/pool.db"),
            ("./pool.db", "{cwd}/pool.db"),
            ("/data/pool.db", "/data/pool.db"),
            ("~/pool.db", "{home}/pool.db"),
            ("~ann/pool.db", "{cwd}/~ann/pool.db"),
            ("./a:b@c.db", "{cwd}/a:b@c.db"),
            ("memory:", "memory:"),
            ("sqlite:///data/ann@site/pool.db", "sqlite:///data/ann@site/pool.db"),
            ("couchdbs://h:6984/db\n", "couchdbs://h:6984/db"),
            ("postgresql://h1:1,h2:2/db?sslmode=require", "postgresql://h1:1,h2:2/db?sslmode=require"),
            ("postgresql:///db", "postgresql:///db"),
        ],
    )
    def test_without_secrets(self, text: str, expected: str, cwd: Path, home: Path) -> None:
        address = find(text, cwd=cwd, home=home)
        assert address == PoolAddress(url=expected.format(cwd=cwd, home=home), origin="--pool")

    @pytest.mark.parametrize(
        ("text", "url", "username", "password"),
        [
            ("couchdbs://ann:hunter2@h:6984/db", "couchdbs://h:6984/db", "ann", "hunter2"),
            ("couchdb://ann@h/db", "couchdb://h/db", "ann", None),
            ("couchdb://ann:@h/db", "couchdb://h/db", "ann", ""),
            ("https://a%40b:p%2Fw%40%3A@[::1]:5984/db", "https://[::1]:5984/db", "a@b", "p/w@:"),
            ("postgresql://ann:p@ss@h/db?x=1", "postgresql://h/db?x=1", "ann", "p@ss"),
        ],
    )
    def test_user_name_and_password_are_taken_out(
        self, text: str, url: str, username: str, password: str | None, cwd: Path, home: Path
    ) -> None:
        address = find(cwd=cwd, home=home, PICAS_POOL=text)
        assert (address.url, address.username, address.origin) == (url, username, "PICAS_POOL")
        assert (address.password.reveal() if address.password else None) == password

    @pytest.mark.parametrize(
        "text",
        [
            "couchdb://ann:hunter2/x@h/db",
            "couchdb://ann:12/hunter2@h/db",
            "couchdb://ann:hunter2#x@h/db",
            "couchdb://ann:hunter2?x@h/db",
            "couchdb:///ann:hunter2@h/db",
            "ann:hunter2@h/db",
            "couchdb://ann:[hunter2@h/db",
            "couchdb://ann:hunter2\u2100@h/db",
        ],
    )
    def test_a_password_that_would_be_shown_is_refused(self, text: str, cwd: Path, home: Path) -> None:
        error = refusal(text, cwd=cwd, home=home)
        assert error.message.startswith("--pool: the pool address")
        assert "%2F" in error.hint

    @pytest.mark.parametrize("text", ["postgresql://h/db?password=hunter2", "postgresql:///db?sslpassword=hunter2"])
    def test_a_password_as_a_parameter_is_refused(self, text: str, cwd: Path, home: Path) -> None:
        assert "parameter" in refusal(text, cwd=cwd, home=home).message


class TestPicasVariables:
    def test_all_four(self, cwd: Path, home: Path) -> None:
        assert find(cwd=cwd, home=home, **PICAS) == PoolAddress(
            url="https://picas.example:6984/mydb",
            username="ann",
            password=Secret("from variable"),
            origin="PICAS_HOST_URL",
        )

    def test_the_first_two_are_enough(self, cwd: Path, home: Path) -> None:
        address = find(cwd=cwd, home=home, PICAS_HOST_URL="http://h:5984/", PICAS_DATABASE="a/b+c")
        assert (address.url, address.username, address.password) == ("http://h:5984/a%2Fb%2Bc", None, None)

    def test_user_name_and_password_in_the_url_are_used_unless_given(self, cwd: Path, home: Path) -> None:
        url = {"PICAS_HOST_URL": "http://eve:hunter2@h", "PICAS_DATABASE": "db"}
        address = find(cwd=cwd, home=home, **url)
        assert (address.url, address.username, address.password) == ("http://h/db", "eve", Secret("hunter2"))
        assert find(cwd=cwd, home=home, **{**PICAS, **url}).username == "ann"

    @pytest.mark.parametrize("missing", ["PICAS_HOST_URL", "PICAS_DATABASE"])
    def test_without_either_of_the_first_two_they_do_not_count(self, missing: str, cwd: Path, home: Path) -> None:
        variables = {name: value for name, value in PICAS.items() if name != missing}
        assert find(cwd=cwd, home=home, **variables).origin == "default"

    @pytest.mark.parametrize("url", ["picas.example:6984", "file:///etc", "https://", "ann:hunter2@h"])
    def test_a_server_that_is_no_web_address(self, url: str, cwd: Path, home: Path) -> None:
        with pytest.raises(ConfigError, match=r"^PICAS_HOST_URL: .*https://") as raised:
            find(cwd=cwd, home=home, PICAS_HOST_URL=url, PICAS_DATABASE="db")
        assert "hunter2" not in raised.value.message


class TestToml:
    def test_the_nearest_file_counts(self, cwd: Path, home: Path) -> None:
        (cwd.parent / "picas.toml").write_text('pool = "far.db"')
        (cwd / "picas.toml").write_text('pool = "near.db"')
        assert find(cwd=cwd, home=home).url == str(cwd / "near.db")

    def test_its_password_is_taken_out(self, cwd: Path, home: Path) -> None:
        (cwd / "picas.toml").write_text('pool = "couchdb://ann:hunter2@h/db"')
        address = find(cwd=cwd, home=home)
        assert (address.url, address.password) == ("couchdb://h/db", Secret("hunter2"))

    def test_a_folder_or_pipe_of_that_name_is_no_file(self, cwd: Path, home: Path) -> None:
        (cwd / "picas.toml").mkdir()
        os.mkfifo(cwd.parent / "picas.toml")
        assert find(cwd=cwd, home=home).origin == "default"

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", "the file is empty"),
            (b" \n", "the file is empty"),
            (b"\xff\xfe\x00", r"not a text file \(UTF-8\)"),
            (b"pool\n", r"not valid TOML: .*line 1"),
            (b"pool = '\x00'", "not valid TOML"),
            (b'pool = "a"\npool = "b"', "not valid TOML"),
            (b"pool = " + b"[" * 100_000, "not valid TOML"),
            (b"pool = " + b"9" * 10_000, "not valid TOML"),
            (b"pool = 5", "pool is missing or not text"),
            (b"# nothing", "pool is missing or not text"),
            (b'pool = ""', "the pool address is empty"),
            (b'pool = "x"\npol = 1', "unknown key 'pol'"),
            (b'pool = "x"\n[run]\na = 1', "unknown key 'run'"),
            (b"#" * 1_000_001, "too large"),
        ],
    )
    def test_a_wrong_file_is_one_line_that_names_it(
        self, content: bytes, complaint: str, cwd: Path, home: Path
    ) -> None:
        path = cwd / "picas.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=complaint) as raised:
            find(cwd=cwd, home=home)
        assert raised.value.message.startswith(f"{path}: ")
        assert "\n" not in raised.value.message

    def test_a_file_that_may_not_be_read_is_not_skipped(
        self, cwd: Path, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (cwd / "picas.toml").touch()

        def forbidden(path: Path, mode: str) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "open", forbidden)
        with pytest.raises(ConfigError, match=r"picas\.toml: cannot be read: Permission denied"):
            find(cwd=cwd, home=home)


class TestConf:
    def test_its_four_keys(self, cwd: Path, home: Path, conf: Path) -> None:
        assert find(cwd=cwd, home=home) == PoolAddress(
            url="https://file.example:6984/filedb",
            username="bob",
            password=Secret("from file"),
            origin=str(conf),
        )

    def test_variables_win_one_by_one(self, cwd: Path, home: Path, conf: Path) -> None:
        address = find(cwd=cwd, home=home, PICAS_DATABASE="other", PICAS_PASSWORD="from variable")
        assert (address.url, address.username) == ("https://file.example:6984/other", "bob")
        assert (address.password, address.origin) == (Secret("from variable"), str(conf))

    def test_no_key_is_needed_when_the_password_is_a_variable(self, cwd: Path, home: Path, conf: Path) -> None:
        conf.with_name("key.dat").unlink()
        lines = [line for line in conf.read_text().splitlines() if "password" not in line]
        conf.write_text("\n".join(lines))
        assert find(cwd=cwd, home=home, PICAS_PASSWORD="pw").password == Secret("pw")
        with pytest.raises(ConfigError, match="encrypted_password is missing"):
            find(cwd=cwd, home=home)

    def test_a_user_name_of_digits_or_a_yaml_word_is_text(self, cwd: Path, home: Path, conf: Path) -> None:
        for name in ("12345", "no", "2026-13-45", "'null'"):
            conf.write_text(conf.read_text().replace("username: bob", f"username: {name}"))
            assert find(cwd=cwd, home=home).username == name.strip("'")
            conf.write_text(conf.read_text().replace(f"username: {name}", "username: bob"))

    @pytest.mark.parametrize("key", ["host_url", "database", "username", "encrypted_password"])
    @pytest.mark.parametrize("nothing", ["", " ~", " null", None])
    def test_a_key_that_is_missing(self, key: str, nothing: str | None, cwd: Path, home: Path, conf: Path) -> None:
        lines = [line for line in conf.read_text().splitlines() if not line.startswith(key)]
        conf.write_text("\n".join([*lines, "" if nothing is None else f"{key}:{nothing}"]))
        with pytest.raises(ConfigError) as raised:
            find(cwd=cwd, home=home)
        assert raised.value.message == f"{conf}: {key} is missing"

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"", ": the file is empty"),
            (b"\xff\xfe\x00", ": not a text file"),
            (b"host_url: \x00", ": not valid YAML: it is not text"),
            (b"# nothing\n", ": host_url is missing"),
            (b"database: a\npassword: hunter2\n", " line 2: unknown key 'password'"),
            (b"database: a\nusername: b\ndatabase: c\n", " line 3: database is there twice"),
            (b"database: &a x\nusername: *a\n", " line 2: not a plain value"),
            (b"database: !!python/name:os.system x\n", " line 1: not a plain value"),
            (b"database:\n  deep: x\n", " line 2: not a plain value"),
            (b"database: [x]\n", " line 1: not a plain value"),
            (b"? [x]\n: y\n", " line 1: not a plain value"),
            (b"<<: {database: x}\n", " line 1: not a plain value"),
            (b"just words\n", " line 1: not a plain value"),
            (b"- database\n", " line 1: not a plain value"),
            (b"database: a\n---\nusername: b\n", " line 3: not a plain value"),
            (b"database: a\n\tusername: b\n", " line 2: not valid YAML"),
            (b"database: 'a\n", " line 2: not valid YAML"),
            (b"database: " + b"[" * 900_000, " line 1: not a plain value"),
            (b"#" * 1_000_001, ": too large"),
        ],
    )
    def test_a_wrong_file_is_one_line_that_names_it(
        self, content: bytes, complaint: str, cwd: Path, home: Path, conf: Path
    ) -> None:
        conf.write_bytes(content)
        with pytest.raises(ConfigError) as raised:
            find(cwd=cwd, home=home)
        assert raised.value.message.startswith(f"{conf}{complaint}")
        assert "\n" not in raised.value.message
        assert "hunter2" not in raised.value.message

    def test_a_key_file_that_others_may_read(self, cwd: Path, home: Path, conf: Path) -> None:
        key = conf.with_name("key.dat")
        key.chmod(0o644)
        with pytest.raises(ConfigError, match=r"key\.dat") as raised:
            find(cwd=cwd, home=home)
        assert raised.value.hint == f"chmod 600 {key}"

    def test_a_password_that_is_not_utf8(self, cwd: Path, home: Path, conf: Path) -> None:
        encrypted = encrypt_password(b"hunter2\xff", read_key(conf.with_name("key.dat"))).decode()
        lines = [line for line in conf.read_text().splitlines() if "password" not in line]
        conf.write_text("\n".join([*lines, f"encrypted_password: {encrypted}"]))
        with pytest.raises(ConfigError, match="not UTF-8") as raised:
            find(cwd=cwd, home=home)
        assert raised.value.__cause__ is None


class TestSecret:
    def test_it_does_not_show_itself(self) -> None:
        address = PoolAddress(url="couchdb://h/db", password=Secret("hunter2"), origin="--pool")
        shown = [str(address.password), repr(address), f"{address.password}", f"{dataclasses.asdict(address)}"]
        assert not any("hunter2" in text for text in shown)
        assert str(address.password) == repr(address.password) == "***"
        assert not hasattr(address.password, "__dict__")

    def test_reveal(self) -> None:
        assert Secret("hunter2").reveal() == "hunter2"

    def test_equality_is_the_texts(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert hash(Secret("a")) == hash(Secret("a"))

    def test_copies(self) -> None:
        secret = Secret("a")
        assert copy.deepcopy(secret) == pickle.loads(pickle.dumps(secret)) == secret

    def test_an_address_cannot_be_changed(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            PoolAddress(url="x", origin="y").url = "z"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:hunter2@h:5984/db", "http://h:5984/db"),
        ("got http://ann:hun/te@r2@h/db, 'https://:hunter2@h'", "got http://h/db, 'https://h'"),
        ("http://a@b:hunter2@h/", "http://h/"),
        ("http://h:5984/db mailed to ann@h", "http://h:5984/db mailed to ann@h"),
        ("ann@h: https://ann@h/a", "ann@h: https://ann@h/a"),
    ],
)
def test_without_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_importing_loads_no_parser_and_no_cryptography() -> None:
    code = "import sys, picas.config; sys.exit(bool({'yaml', 'tomllib', 'tomli', 'cryptography'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
