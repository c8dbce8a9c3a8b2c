"""The PiCaS contract for ``picas-cli``; a password is in no command line, no output and no file in clear."""

from __future__ import annotations

import getpass
import os
import runpy
import stat
import subprocess
import sys
import termios
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from picas import crypto
from picas.apps.picas_cli import main
from picas.errors import StoreFailure

INIT = ("init", "--host-url", "https://h:6984", "--database", "db", "--username", "ann")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(crypto, "CRYPTO_KEY_PATH", str(tmp_path / ".config" / "picas" / "key.dat"))
    for name in ("PICAS_HOST_URL", "PICAS_DATABASE", "PICAS_USERNAME", "PICAS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a person types at the prompts, in order."""
    answers: list[str] = []

    def answer(prompt: str) -> str:
        if not answers:
            raise EOFError
        return answers.pop(0)

    monkeypatch.setattr(getpass, "getpass", answer)
    return answers


@pytest.fixture
def conf(home: Path, typed: list[str]) -> Path:
    typed.append("hunter2")
    assert main(INIT) == 0
    return home / ".config" / "picas" / "conf.yml"


def password(path: Path) -> str:
    return crypto.decrypt_password(yaml.safe_load(path.read_text())["encrypted_password"]).decode()


class TestInit:
    def test_it_writes_what_was_given_and_typed(
        self, home: Path, typed: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        typed.append("hunter2")
        conf = home / ".config" / "picas" / "conf.yml"
        assert main(INIT) == 0
        stored = yaml.safe_load(conf.read_text())
        assert (stored["host_url"], stored["database"], stored["username"]) == ("https://h:6984", "db", "ann")
        assert password(conf) == "hunter2"
        assert stat.S_IMODE(conf.stat().st_mode) == 0o600
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"wrote {conf}\n")

    def test_the_password_from_the_variable(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PICAS_PASSWORD", "from variable")
        assert main(["--config", str(home / "c.yml"), *INIT]) == 0
        assert main([*INIT, "--config", str(home / "d.yml")]) == 0
        assert password(home / "c.yml") == password(home / "d.yml") == "from variable"

    def test_defaults_are_picass_and_the_variables_before_them(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str]
    ) -> None:
        conf = home / ".config" / "picas" / "conf.yml"
        typed += ["x", "x"]
        assert main(["init", "--username", "ann"]) == 0
        stored = yaml.safe_load(conf.read_text())
        assert (stored["host_url"], stored["database"]) == ("http://localhost:5984", "mypicasdb")
        monkeypatch.setenv("PICAS_USERNAME", "bob")
        monkeypatch.setenv("PICAS_DATABASE", "other")
        assert main(["init"]) == 0
        stored = yaml.safe_load(conf.read_text())
        assert (stored["username"], stored["database"]) == ("bob", "other")

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["init"], 2, "no user name"),
            (["init", "--username", "ann"], 3, "no password was given"),
            (["init", "--host-url", "https://ann:s3cret@h", "--username", "ann"], 2, "may not hold a password"),
        ],
    )
    def test_what_is_missing_or_wrong_is_one_line_and_a_hint(
        self, home: Path, typed: list[str], words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(words) == code
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) <= 2
        assert "s3cret" not in err
        assert not (home / ".config" / "picas" / "conf.yml").exists()


@pytest.mark.parametrize(
    "words",
    [
        [*INIT, "--password", "s3cret"],
        [*INIT, "--password=s3cret"],
        [*INIT, "--password"],
        ["--password", "s3cret", *INIT],
        ["init", "--password", "s3cret", "--username", "ann"],
        ["passwd", "--new-password", "s3cret"],
        ["passwd", "--password", "s3cret"],
        [*INIT, "--pass", "s3cret"],
        ["passwd", "--new", "s3cret"],
        [*INIT, "-ps3cret"],
        ["passwd", "s3cret"],
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    home: Path, words: list[str], typed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "s3cret" not in out + err
    assert err.startswith("picas: ")
    assert "hint: " in err
    assert list(home.iterdir()) == []


def test_the_refusal_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    main([*INIT, "--password", "s3cret"])
    assert "PICAS_PASSWORD" in capsys.readouterr().err


class TestPasswd:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], list[tuple[str, ...]]]:
        """Makes the server answer, or fail; gives the list of what it was asked."""

        def make(problem: Exception | None) -> list[tuple[str, ...]]:
            calls: list[tuple[str, ...]] = []

            def change(*values: str) -> None:
                calls.append(values)
                if problem:
                    raise problem

            module = types.ModuleType("picas.stores.couchdb.users")
            module.change_user_password = change  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "picas.stores.couchdb.users", module)
            return calls

        return make

    def test_typed_twice(
        self,
        conf: Path,
        typed: list[str],
        server: Callable[[Exception | None], list[tuple[str, ...]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        calls = server(None)
        typed += ["s3cret", "s3cret"]
        assert main(["passwd"]) == 0
        assert calls == [("https://h:6984", "ann", "hunter2", "s3cret")]
        assert password(conf) == "s3cret"
        assert "s3cret" not in "".join(capsys.readouterr())

    def test_a_server_that_refuses_changes_nothing(
        self,
        conf: Path,
        typed: list[str],
        server: Callable[[Exception | None], list[tuple[str, ...]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        server(StoreFailure("h:6984 says: unauthorized", hint="is the password right?"))
        typed += ["s3cret", "s3cret"]
        assert main(["passwd"]) == 4
        assert capsys.readouterr().err.endswith(
            "picas: the password was not changed: h:6984 says: unauthorized\nhint: is the password right?\n"
        )
        assert password(conf) == "hunter2"

    def test_two_that_differ(
        self, conf: Path, typed: list[str], server: Callable[[Exception | None], list[tuple[str, ...]]]
    ) -> None:
        calls = server(None)
        typed += ["s3cret", "other"]
        assert main(["passwd"]) == 3
        assert (calls, password(conf)) == ([], "hunter2")

    def test_without_a_configuration(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["passwd"]) == 3
        assert "hint: picas-cli init" in capsys.readouterr().err


class TestDumpConfig:
    def test_it_prints_no_password_in_any_form(self, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert main(["dump-config"]) == 0
        out, err = capsys.readouterr()
        assert "PICAS_HOST_URL = 'https://h:6984'\nPICAS_DATABASE = 'db'\nPICAS_USERNAME = 'ann'\n" in out
        assert "hunter2" not in out + err
        assert yaml.safe_load(conf.read_text())["encrypted_password"] not in out + err

    def test_a_program_can_import_what_it_wrote(self, conf: Path, home: Path) -> None:
        target = home / "picasconfig.py"
        assert main(["dump-config", "-o", str(target)]) == 0
        assert "hunter2" not in target.read_text()
        found = runpy.run_path(str(target))
        assert [found[f"PICAS_{name}"] for name in ("HOST_URL", "DATABASE", "USERNAME", "PASSWORD")] == [
            "https://h:6984",
            "db",
            "ann",
            "hunter2",
        ]

    @pytest.mark.parametrize("before", [True, False])
    def test_another_file_before_or_after_the_command(
        self, conf: Path, home: Path, before: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(home)
        conf.rename(home / "c.yml")
        capsys.readouterr()
        option = ["--config", "c.yml"]
        assert main([*option, "dump-config"] if before else ["dump-config", *option]) == 0
        assert f"PicasConfig('{home}/c.yml')" in capsys.readouterr().out

    def test_values_cannot_break_out_of_their_quotes(
        self, conf: Path, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evil = "'\n__import__('os').system('touch canary') #{database}"
        stored = yaml.safe_load(conf.read_text())
        conf.write_text(yaml.safe_dump({**stored, "username": evil, "host_url": "https://ann:s3cret@h"}))
        capsys.readouterr()
        assert main(["dump-config"]) == 0
        out = capsys.readouterr().out
        assert "s3cret" not in out
        namespace: dict[str, str] = {}
        exec(out, namespace)
        assert namespace["PICAS_USERNAME"] == evil

    def test_a_file_that_is_wrong(self, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
        conf.write_text("password: hunter2\n")
        assert main(["dump-config"]) == 3
        out, err = capsys.readouterr()
        assert "unknown key 'password'" in err
        assert "hunter2" not in out + err

    def test_a_target_that_cannot_be_written(self, conf: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["dump-config", "-o", str(home / "no" / "x.py")]) == 4
        assert "x.py: No such file or directory" in capsys.readouterr().err


def run(*words: str, **streams: object) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "picas.apps.picas_cli", *words]
    return subprocess.Popen(argv, start_new_session=True, **streams)  # type: ignore[call-overload,no-any-return]


def test_without_a_command_it_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("init", "passwd", "dump-config", "--config"))
    assert "password " not in out.partition("commands:")[0]


def test_a_closed_pipe_is_no_error(conf: Path) -> None:
    pipe = subprocess.PIPE
    reading, writing = os.pipe()
    os.close(reading)
    process = run("dump-config", stdout=writing, stderr=pipe)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_a_pipe_can_type_the_password(home: Path) -> None:
    pipe = subprocess.PIPE
    process = run(*INIT, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = process.communicate(b"from pipe\n", timeout=60)
    assert process.returncode == 0, err
    assert b"GetPassWarning" not in err
    assert b"from pipe" not in out + err
    assert password(home / ".config" / "picas" / "conf.yml") == "from pipe"


def test_a_terminal_does_not_echo_the_password(home: Path) -> None:
    ours, theirs = os.openpty()
    assert termios.tcgetattr(theirs)[3] & termios.ECHO
    process = run(*INIT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_until(ours, b": ")
    os.write(ours, b"hunter2\n")
    shown += read_until(ours, b"wrote")
    os.close(ours)
    process.wait(60)
    assert b"CouchDB password of ann: " in shown
    assert b"hunter2" not in shown
    assert password(home / ".config" / "picas" / "conf.yml") == "hunter2"


def read_until(terminal: int, end: bytes) -> bytes:
    shown = b""
    while end not in shown:
        piece = os.read(terminal, 4096)
        assert piece
        shown += piece
    return shown
