"""Archives and imports by the command line, on every kind of pool, killed at any moment."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from picas.errors import UsageError
from picas.packed import reading
from picas.pool import connect
from support.cli import Cli

TOKENS = 1100


def add_done(picas: Cli, count: int) -> None:
    """Tokens that have been done for an hour, in batches as an archive makes them, and one that waits."""
    at = int(time.time()) - 3600
    docs = [{"_id": f"t{n:04}", "n": n, "pad": random.Random(n).randbytes(300).hex(), "lock": at, "done": at,
             "exit_code": 0} for n in range(count)]  # fmt: skip
    picas.ok("add", "--jsonl", "-", stdin="\n".join(map(json.dumps, [*docs, {"_id": "w"}])))


def in_pool(picas: Cli) -> set[str]:
    return set(picas("ls", "-o", "id").out.split())


def in_file(path: Path) -> set[str]:
    """Ids of the tokens in a file, as far as it can be read."""
    found = set()
    try:
        with reading(str(path)) as lines:
            for line in lines:
                found |= {json.loads(line).get("token", {}).get("_id", "")}
    except (UsageError, json.JSONDecodeError):
        pass
    return found


def kill_when(picas: Cli, is_time: Callable[[], bool], *words: str) -> int:
    """Start a command and kill it when it is time; its exit code."""
    process = subprocess.Popen(
        picas.argv(words), cwd=picas.folder, env=picas.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and not is_time():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    return process.wait()


@pytest.mark.parametrize("ending", [".jsonl.zst"])
def test_an_archive_that_is_killed_loses_nothing(picas: Cli, tmp_path: Path, ending: str) -> None:
    add_done(picas, TOKENS)
    everything = {f"t{n:04}" for n in range(TOKENS)} | {"w"}
    name = f"old{ending}"
    part = tmp_path / f"{name}.part"
    chance, kills = random.Random(), 0
    for _ in range(2):
        start = part.stat().st_size if part.exists() else 0
        grown = start + chance.randint(1, 200_000)
        pause = time.monotonic() + chance.uniform(0.5, 3.0)

        def is_time(grown: int = grown, pause: float = pause) -> bool:
            return (part.exists() and part.stat().st_size > grown) or time.monotonic() > pause

        if kill_when(picas, is_time, "pool", "archive", name) == 0:
            break
        kills += 1
        assert in_pool(picas) | (in_file(part) if part.exists() else set()) >= everything
    assert kills
    if part.exists() or not (tmp_path / name).exists():
        answer = picas.ok("pool", "archive", name)
        assert f"archived {TOKENS} tokens" in answer.err
    assert in_pool(picas) == {"w"}
    assert in_file(tmp_path / name) - {""} == everything - {"w"}
    back = picas.ok("pool", "import", name)
    assert f"imported {TOKENS} tokens" in back.err
    assert in_pool(picas) == everything


def test_an_import_that_is_killed_is_completed(picas: Cli, tmp_path: Path) -> None:
    source = Cli(tmp_path / "source")
    source.folder.mkdir()
    source.ok("init")
    source.ok("add", "--range", "1-12", "--", "head -c 400000 /dev/urandom; echo {i} >&2")
    source.ok("run", "--cores", "2")
    source.ok("reset", "--all")
    source.ok("pool", "export", str(tmp_path / "all.jsonl.gz"))
    kinds = [json.loads(line) for line in source.ok("ls", "-o", "jsonl").out.splitlines()]
    want = {doc["_id"]: {name: stub["length"] for name, stub in doc["_attachments"].items()} for doc in kinds}
    chance = random.Random()
    pause = time.monotonic() + chance.uniform(0.3, 0.8)
    kill_when(picas, lambda: time.monotonic() > pause, "pool", "import", "all.jsonl.gz")
    ready = [json.loads(line) for line in picas("ls", "todo", "-o", "jsonl").out.splitlines()]
    for doc in ready:
        assert {name: stub["length"] for name, stub in doc["_attachments"].items()} == want[doc["_id"]]
    picas.ok("pool", "import", "all.jsonl.gz")
    ready = [json.loads(line) for line in picas.ok("ls", "todo", "-o", "jsonl").out.splitlines()]
    assert {d["_id"]: {name: stub["length"] for name, stub in d["_attachments"].items()} for d in ready} == want
    assert picas.ok("pool", "check").err == "no problems\n"


def test_what_is_archived_is_chosen_and_said(picas_here: Cli, tmp_path: Path) -> None:
    picas = picas_here
    add_done(picas, 4)
    picas.ok("add", "--id", "bad", "--", "false")
    picas.ok("run", "--cores", "1")
    assert picas("pool", "archive", "old.jsonl", "--older", "2h").code == 6
    assert picas("pool", "archive", "old.jsonl", "--older", "soon").code == 2
    kept = picas.ok("pool", "archive", "kept.jsonl", "--older", "30m", "--keep", "--where", "n>=2")
    assert kept.err == "archived 2 tokens and 0 attachments in kept.jsonl; they stay in the pool\n"
    assert len(in_pool(picas)) == 6
    moved = picas.ok("pool", "archive", "old.jsonl.zst", "--errors")
    assert "archived 6 tokens and " in moved.err
    assert in_pool(picas) == set()
    again = picas("pool", "archive", "old.jsonl.zst")
    assert (again.code, again.err) == (2, "picas: old.jsonl.zst exists already\nhint: name a new file\n")
    assert picas("pool", "export", "old.jsonl.zst").code == 2
    picas.ok("pool", "import", "-", stdin=(tmp_path / "old.jsonl.zst").read_bytes())
    assert len(in_pool(picas)) == 6


def test_an_export_that_fails_leaves_no_file(picas_here: Cli, tmp_path: Path) -> None:
    picas_here.ok("add", "--id", "t", "--", "true")
    assert picas_here("pool", "export", "all.jsonl", "--where", "x ~ '('").code == 2
    assert list(tmp_path.glob("all*")) == []
    (tmp_path / "all.jsonl.part").write_text('{"picas-export":1,"pool":"x"}\n{"tok')
    picas_here.ok("pool", "export", "all.jsonl")
    assert [path.name for path in tmp_path.glob("all*")] == ["all.jsonl"]


def test_check_tells_what_nobody_takes_on(picas_here: Cli, tmp_path: Path) -> None:
    docs = [{"_id": "w", "after": ["nowhere"]}, {"_id": "c"}]
    with connect(str(tmp_path / "picas.db")) as pool:
        pool.add(docs)
        pool.change([doc for doc in [pool.get("c")] if doc], lambda doc: {**doc, "lock": 1_500_000_000})
    answer = picas_here("pool", "check", "--quick")
    assert (answer.code, answer.out) == (4, "token w: it waits for nowhere, which does not exist\n")
    assert "1 tokens are locked by programs without a lease" in answer.err
