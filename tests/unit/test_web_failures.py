"""Failed tokens put together by what they have in common."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from picas.lifecycle import Doc
from picas.pool import Pool, connect
from picas.tokens import log_names
from picas.web import failures
from picas.web.failures import Failures, Lines, Survey, alike


@pytest.fixture
def pool() -> Iterator[Pool]:
    with connect("memory:") as opened:
        yield opened


def fail(pool: Pool, token_id: str, *, stderr: str | None = None, **fields: object) -> None:
    """A token that has failed, with what it wrote."""
    doc: Doc = {"_id": token_id, "lock": 1_700_000_000, "done": 1_700_000_100, "exit_code": 3, "reason": "exit"}
    pool.store.put([{**doc, "hostname": "n1", **fields}])
    if stderr is not None:
        pool.store.put_attachment(token_id, log_names(token_id)[1], io.BytesIO(stderr.encode()))


def surveyed(pool: Pool, known: Lines | None = None) -> tuple[Failures, Lines]:
    survey = Survey(known or {})
    while survey.found is None:
        survey.take(pool)
    return survey.found, survey.lines


def told(found: Failures) -> list[tuple[str, str, str, int]]:
    return [(group.reason, group.exit_code, group.line, len(group.ids)) for group in found.groups]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ValueError: no column 17 in /data/run3.csv", "ValueError: no column # in /data/run#.csv"),
        ("segfault at 0x7ffd3a ip 00007f", "segfault at # ip #f"),
        ("job 1b4e28ba-2fa1-11d2-883f-0016d3cca427 died", "job # died"),
        ("  \x1b[31mbad\u202e  ", r"bad\u#e"),
        ("x" * 500, "x" * 160),
        ("", ""),
    ],
)
def test_lines_are_alike_but_for_their_numbers(line: str, said: str) -> None:
    assert alike(line) == said


def test_tokens_that_failed_alike_are_a_group(pool: Pool) -> None:
    for number in range(3):
        fail(pool, f"a{number}", stderr=f"opening\nno part {number}\n\n", hostname=f"n{number % 2}")
    fail(pool, "b", stderr="no part 1\n", exit_code=4)
    fail(pool, "c", stderr="")
    fail(pool, "d")
    fail(pool, "e", reason="signal", exit_code=-9, attempts=[{"signal": "SIGKILL"}], stderr="not read")
    fail(pool, "f", reason="exception", exit_code=1, attempts=[{"message": "cannot open 5"}])
    pool.add([{"_id": "waits", "command": ["true"]}])

    found, _ = surveyed(pool)

    assert sorted(told(found)) == [
        ("exception", "1", "cannot open #", 1),
        ("exit", "3", "", 2),
        ("exit", "3", "no part #", 3),
        ("exit", "4", "no part #", 1),
        ("signal", "-9", "signal SIGKILL", 1),
    ]
    assert (found.looked_at, found.is_whole) == (8, True)
    largest = found.groups[0]
    assert largest.ids == ["a0", "a1", "a2"]
    assert largest.hosts == {"n0": 2, "n1": 1}
    assert found.group(largest.key) is largest
    assert found.group("none") is None


def test_few_lines_are_read_at_once_and_none_twice(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_LINES_PER_SURVEY", 2)
    for number in range(3):
        fail(pool, f"a{number}", stderr="bad\n")
    first, lines = surveyed(pool)
    assert sorted(told(first)) == [("exit", "3", "bad", 2), ("exit", "3", "…", 1)]

    reads: list[str] = []
    read = pool.store.get_attachment
    monkeypatch.setattr(pool.store, "get_attachment", lambda *names: (reads.append(names[0]), read(*names))[1])
    second, lines = surveyed(pool, lines)

    assert told(second) == [("exit", "3", "bad", 3)]
    assert len(reads) == 1
    surveyed(pool, lines)
    assert len(reads) == 1


def test_of_very_many_the_first_are_looked_at(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST_FAILED", 300)
    for number in range(501):
        fail(pool, f"a{number:03}")

    found, _ = surveyed(pool)

    assert (found.looked_at, found.is_whole) == (400, False)


def test_documents_of_other_programs_are_taken_as_they_are(pool: Pool) -> None:
    fail(pool, "odd", reason=7, exit_code=None, hostname=None, attempts="none", done=99)

    assert told(surveyed(pool)[0]) == [("7", "None", "", 1)]
