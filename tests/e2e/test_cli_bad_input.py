"""Bad input on the command line: one line that says what and where, the documented exit code, nothing half done."""

from __future__ import annotations

import json
import random

import pytest

from support.cli import Cli


def nothing_added(picas: Cli) -> bool:
    return sum(json.loads(picas.ok("status", "-o", "json").out)["counts"].values()) == 0


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("--jsonl", '{"a": 1}\n{"a": \n', "standard input:2:"),
        ("--jsonl", '{"a": 1}\n[1]\n', "standard input:2: not a JSON object"),
        ("--jsonl", '{"a": 1, "a": 2}\n', "stands twice"),
        ("--jsonl", '{"a": NaN}\n', "NaN is not JSON"),
        ("--jsonl", '{"a": 1e999}\n', "field a is inf"),
        ("--jsonl", '{"a": 9007199254740993}\n', "field a is an integer beyond"),
        ("--jsonl", '{"_id": "a"}\n{"_id": "a"}\n', "standard input:2: id 'a' stands twice"),
        ("--jsonl", '{"_id": "a\\nb"}\n', "control character"),
        ("--jsonl", '{"_id": ""}\n', "not allowed"),
        ("--jsonl", '{"_id": "ok"}\n{"x": {"y": "\\u0000"}}\n', "field x.y holds a NUL"),
        ("--jsonl", '{"x": "\\ud800"}\n', "lone surrogate"),
        ("--jsonl", '{"_hidden": 1}\n', "starts with _"),
        ("--jsonl", '{"priority": "high"}\n', "field priority must be an integer"),
        ("--jsonl", '{"command": []}\n', "field command must be a command line"),
        ("--jsonl", '{"requires": {"memory": "lots"}}\n', "requires.memory"),
        ("--jsonl", "[" * 100_000, "standard input:1:"),
        ("--jsonl", '{"x": "' + "y" * 8_100_000 + '"}\n', "more than the limit"),
        ("--csv", "a,b\n1,2\n3\n", "standard input:3: 1 cells"),
        ("--csv", "a,a\n1,2\n", "name the fields, each once"),
        ("--each-line", b"fine\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_refused_with_its_place_and_nothing_added(picas: Cli, option: str, text: str | bytes, expected: str) -> None:
    answer = picas("add", option, "-", stdin=text)
    assert answer.code == 2
    assert expected in answer.err
    assert len(answer.err.splitlines()) <= 2
    assert nothing_added(picas)


def test_odd_values_are_kept_exactly(picas: Cli) -> None:
    ids = [
        "a/b",
        "with space",
        "quo'te",
        'dou"ble',
        "per%2Fcent",
        "ünï",
        "e\u0301",
        "\u00e9",
        "-dash",
        "~",
        "CON",
        "a" * 255,
    ]
    lines = "".join(json.dumps({"_id": token_id, "v": "\u2028 \U0001f600 \\ [bold]"}) + "\n" for token_id in ids)
    picas.ok("add", "--jsonl", "-", stdin=lines)
    found = [json.loads(line) for line in picas.ok("ls", "-o", "jsonl").out.splitlines()]
    assert sorted(doc["_id"] for doc in found) == sorted(ids)
    assert {doc["v"] for doc in found} == {"\u2028 \U0001f600 \\ [bold]"}
    for token_id in ids:
        assert picas("show", "--", token_id).code == 0


def test_the_same_file_twice_with_a_key_adds_nothing(picas: Cli) -> None:
    text = "name,size\nx,1\ny,2\n"
    picas.ok("add", "--csv", "-", "--key", "name", stdin=text)
    assert "added 0 tokens; 2 were there already" in picas.ok("add", "--csv", "-", "--key", "name", stdin=text).err
    assert picas("add", "--csv", "-", "--key", "nome", stdin=text).code == 2


def test_what_cannot_start_fails_with_its_errno(picas: Cli) -> None:
    (picas.folder / "plain").write_text("echo no\n")
    (picas.folder / "bad").write_text("#!/no/such/interpreter\n")
    (picas.folder / "bad").chmod(0o755)
    for name, command in {"missing": "/no/such", "plain": "./plain", "bad": "./bad", "folder": "/tmp"}.items():
        picas.ok("add", "--id", name, "--max-scrub", "3", "--", command)
    picas.ok("run", "--cores", "1")
    found = {doc["_id"]: doc for doc in map(json.loads, picas.ok("ls", "error", "-o", "jsonl").out.splitlines())}
    errnos = {name: doc["attempts"][-1]["errno"] for name, doc in found.items()}
    assert errnos == {"missing": "ENOENT", "plain": "EACCES", "bad": "ENOENT", "folder": "EACCES"}
    assert {doc["reason"] for doc in found.values()} == {"start-failed"}
    assert all(len(doc["attempts"]) == 1 for doc in found.values())


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["frobnicate"], 2, "No such command"),
        (["ls", "--where", "cores>>4"], 2, ""),
        (["ls", "nothere"], 6, "there is no token nothere"),
        (["ls", "--where", "colour=red"], 6, "no token has a field colour"),
        (["show"], 2, "no tokens were selected"),
        (["delete", "--all"], 6, ""),
        (["--pool", "missing.db", "ls"], 3, "there is no pool"),
        (["--pool", "http://localhost:1/x", "ls"], 4, "cannot be reached"),
        (["run", "--max-time", "soon"], 2, "--max-time 'soon' is not a time"),
        (["run", "--view", "Monitor/nothing"], 2, "no view named"),
        (["run", "--view", "Other/todo"], 2, "no design document 'Other'"),
        (["add"], 2, "there is nothing to add"),
        (["add", "--range", "9-1"], 2, "is not FIRST-LAST"),
        (["add", "--sweep", "a", "--", "true"], 2, "is not NAME=VALUE"),
        (["add", "--each-line", "/no/such"], 2, "cannot be read"),
        (["add", "--range", "1-2", "--", "echo", "{j}"], 2, "there is no field 'j'"),
        (["wait", "--timeout", "x"], 2, "is not a time"),
        (["pilot", "stop", "nobody"], 6, "there is no pilot nobody"),
        (["pool", "drop"], 2, "--yes says yes"),
    ],
)
def test_wrong_calls_end_with_one_line_and_their_code(picas: Cli, words: list[str], code: int, expected: str) -> None:
    answer = picas(*words)
    assert (answer.code, answer.out) == (code, "")
    assert expected in answer.err
    assert answer.err.startswith("picas: ")
    assert len(answer.err.splitlines()) <= 2


def test_a_wait_that_takes_too_long_exits_7(picas: Cli) -> None:
    picas.ok("add", "--", "true")
    assert picas("wait", "--timeout", "0.1s").code == 7


def test_terminal_escapes_in_data_are_not_obeyed(picas: Cli) -> None:
    picas.ok(
        "add",
        "--jsonl",
        "-",
        stdin=json.dumps({"_id": "t", "command": "printf '\\033]52;c;x\\007'; exit 1 # \x1b[2J\r"}),
    )
    picas.ok("run", "--cores", "1")
    for words in (["ls", "-o", "table"], ["ls", "-o", "plain"], ["explain", "t"]):
        shown = picas.ok(*words).out
        assert "\x1b" not in shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert "\r" not in shown


def test_a_closed_pipe_ends_quietly(picas: Cli) -> None:
    import subprocess

    picas.ok("add", "--range", "1-5000")
    command = f"{' '.join(picas.argv(['ls']))} | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=picas.folder, env=picas.environ, capture_output=True, check=True)
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 1


def test_no_list_of_arguments_ends_in_a_traceback(picas: Cli) -> None:
    # Without run: a pilot ends what children its process has when it ends, and those of this one are servers of tests.
    words = [
        "add",
        "ls",
        "show",
        "pool",
        "view",
        "status",
        "--where",
        "--pool",
        "-o",
        "json",
        "a=1",
        "--",
        "",
        "\x1b",
        "-1",
    ]
    words += [
        "error",
        "Monitor/todo",
        "--tag",
        "--limit",
        "0",
        "1",
        "export",
        "--range",
        "1-3",
        "--max-time",
        "--yes",
        "{x}",
        "'",
    ]
    chance = random.Random(7)
    for _ in range(250):
        argv = chance.choices(words, k=chance.randint(1, 5))
        assert picas.inside(*argv).code in {0, 1, 2, 3, 4, 5, 6, 7}, argv
