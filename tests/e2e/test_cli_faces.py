"""The edges of the command line: odd streams, odd places, and values that must come through as they are."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from support.cli import Cli


def docs(picas: Cli) -> list[dict[str, object]]:
    return [json.loads(line) for line in picas.ok("ls", "-o", "jsonl").out.splitlines()]


def in_shell(picas: Cli, script: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = script.replace("picas", " ".join(picas.argv([])))
    env = {**picas.environ, **environ}
    return subprocess.run(["bash", "-c", command], cwd=picas.folder, env=env, capture_output=True, timeout=60)


def on_terminal(picas: Cli, *words: str, columns: int = 80) -> bytes:
    """What a command writes to a terminal of so many columns."""
    master, slave = pty.openpty()
    env = {**picas.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(picas.argv(words), cwd=picas.folder, env=env, stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # the terminal's other end is closed: the command has ended
            pass
        os.close(master)
    return shown


@pytest.mark.parametrize(
    "script", ["picas ls >/dev/full", "picas ls >&-", "picas ls >&- 2>&-", "picas add --jsonl - <&-"]
)
def test_streams_that_fail_end_in_one_line(picas: Cli, script: str) -> None:
    picas.ok("add", "--range", "1-3")
    done = in_shell(picas, script)
    assert done.returncode in (0, 2, 4)
    assert len(done.stderr.splitlines()) <= 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "environ", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"HOME": "/nowhere"}]
)
def test_any_locale_and_no_home(picas: Cli, environ: dict[str, str]) -> None:
    picas.ok("add", "--jsonl", "-", stdin='{"_id": "ünï"}\n')
    for form in ("plain", "csv", "jsonl", "table", "id"):
        assert "n" in picas.ok("ls", "-o", form, **environ).out
    assert picas("show", "n\udcff", **environ).code == 2


def test_a_narrow_terminal_and_hostile_data(picas: Cli) -> None:
    picas.ok("add", "--jsonl", "-", stdin='{"_id": "x[/red]", "command": "a\\u001b[2J\\r\\u009b31m\\u007f\\nb"}\n')
    for words in (["ls"], ["show", "--all"], ["status"], ["ls", "-o", "csv"], ["ls", "-o", "json"], ["explain"]):
        shown = on_terminal(picas, *words, columns=20)
        assert b"Traceback" not in shown
        for bad in (b"\x1b[2J", b"\xc2\x9b", b"\x7f", b"\r\r"):
            assert bad not in shown.replace(b"\r\n", b"\n"), words


def test_ids_are_shown_whole_at_80_columns(picas: Cli) -> None:
    picas.ok("add", "--range", "1-2", "--", "sleep 0; a command that is much too long to be shown in 80 columns {i}")
    shown = on_terminal(picas, "ls").decode()
    for token_id in picas.ok("ls", "-o", "id").out.split():
        assert token_id in shown


def test_two_inits_at_once(picas: Cli) -> None:
    for number in range(4):
        words = picas.argv(["--pool", f"two{number}.db", "init"])
        both = [subprocess.Popen(words, cwd=picas.folder, env=picas.environ, stderr=subprocess.PIPE) for _ in range(3)]
        assert [one.communicate()[1] and one.returncode for one in both] == [0, 0, 0]


def test_values_in_quotes_never_reach_a_shell(picas: Cli) -> None:
    answer = picas("add", "--each-line", "-", "--", 'echo "{line}"', stdin="fine\n$(touch canary)\n")
    assert answer.code == 2
    assert "standard input:2:" in answer.err
    assert docs(picas) == []


def test_tables_keep_what_was_written(picas: Cli) -> None:
    text = "\ufeffv,n\r\n1.10,007\r\n1e400,-5\r\n\r\n9007199254740993,x\n"
    picas.ok("add", "--csv", "-", "--", "echo", "{v}", "{n}", stdin=text)
    assert [(doc["v"], doc["n"]) for doc in docs(picas)] == [(1.1, "007"), ("1e400", -5), ("9007199254740993", "x")]
    assert docs(picas)[0]["command"] == ["echo", "1.10", "007"]
    picas.ok("add", "--csv", "-", stdin="long\n" + "a" * 200_000 + "\n")


def test_lines_end_at_newlines_only(picas: Cli) -> None:
    picas.ok("add", "--each-line", "-", stdin="\ufeffa\rb\r\n\nc\u2028d")
    assert [doc["input"] for doc in docs(picas)] == ["a\rb", "c\u2028d"]


@pytest.mark.parametrize(
    ("option", "text", "place"),
    [
        ("--each-line", b"a\n" * 3000 + b"\xff\n" + b"b\n" * 3000, ":3001: not UTF-8"),
        ("--each-line", b"a\nb\0c\n", ":2: holds a NUL"),
        ("--csv", b'a,b\n1,2\n"x\ny",\xff\n', ":4: not UTF-8"),
        ("--csv", b"a,lock\n1,5\n", ":1: the field 'lock'"),
        ("--jsonl", b'{"a": 1}\n{"lock": 5}\n', ":2: no token that can be added, by its lock 5"),
        ("--jsonl", b'{"type": "task"}\n', ":1: no token"),
    ],
)
def test_the_place_of_bad_input(picas: Cli, option: str, text: bytes, place: str) -> None:
    answer = picas("add", option, "-", stdin=text)
    assert (answer.code, docs(picas)) == (2, [])
    assert f"standard input{place}" in answer.err


def test_an_id_that_exists_is_a_conflict(picas: Cli) -> None:
    picas.ok("add", "--id", "a", "--", "true")
    assert picas("add", "--id", "a", "--", "true").code == 5
    assert "no token nosuch yet" in picas.ok("add", "--after", "nosuch", "--", "true").err


def test_ids_that_are_not_there(picas: Cli) -> None:
    picas.ok("add", "--id", "a", "--", "true")
    answer = picas("ls", "a", "typo", "-o", "id")
    assert (answer.code, answer.out) == (6, "a\n")
    assert "no token typo" in answer.err
    assert picas("delete", "--yes", "a", "typo").code == 6
    assert len(docs(picas)) == 1
    assert picas("delete", "--yes", "--all", "a").code == 2
    assert picas("wait", "typo").code == 6


def test_waiting_for_what_others_hold(picas: Cli) -> None:
    picas.ok("add", "--id", "first", "--", "true")
    picas.ok("add", "--id", "later", "--after", "first", "--", "true")
    assert picas("wait", "later", "--timeout", "0.3s").code == 7
    picas.ok("cancel", "first")
    answer = picas("wait", "later")
    assert answer.code == 6
    assert "nothing runs that could release" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["ls", "--pool", ""], 3, "pool address is empty"),
        (["--pool", "couchdb://u:sekrit@h/db", "ls"], 3, "may not stand on the command line"),
        (["view", "add", "Monitor", "--where", "x=1"], 2, "takes no condition"),
        (["pool", "import", "/"], 2, "cannot be read"),
    ],
)
def test_refused_in_one_line(picas: Cli, words: list[str], code: int, expected: str) -> None:
    answer = picas(*words)
    assert answer.code == code
    assert expected in answer.err
    assert "sekrit" not in answer.err
    assert len(answer.err.splitlines()) <= 2


def test_groups_show_their_help(picas: Cli) -> None:
    answer = picas("pilot")
    assert answer.code == 2
    assert "  stop " in answer.err


def test_tracebacks_only_when_asked(picas: Cli) -> None:
    done = in_shell(picas, "picas -vv show nosuch")
    assert done.returncode == 6
    assert b"Traceback" in done.stderr


def test_status_in_every_form(picas: Cli) -> None:
    picas.ok("add", "--range", "1-2")
    assert "state,count\nheld,0\ntodo,2\n" in picas.ok("status", "-o", "csv").out
    assert json.loads(picas.ok("status", "-o", "json").out)["counts"]["todo"] == 2
    assert "todo\t2" in picas.ok("status").out
    assert len(picas.ok("ls", "--all", "-o", "id").out.split()) == 2


def test_doctor_looks_at_the_pools_own_folder(picas: Cli) -> None:
    (picas.folder / "elsewhere").mkdir()
    picas.ok("--pool", "elsewhere/x.db", "init")
    found = picas.ok("--pool", "elsewhere/x.db", "doctor").out
    assert f"file locks work in {picas.folder / 'elsewhere'}" in found
