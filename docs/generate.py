"""Write what the docs have from the program itself: ``python docs/generate.py [--check]``.

``docs/commands.md`` is the help that each command prints, the table in ``docs/stores.md`` what each store says it can
do, ``docs/faults.md`` what the tests of faults say of themselves. With ``--check`` nothing is written; exit code 1 when
a page is not what would be written.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fault_table

PAGE = Path(__file__).with_name("commands.md")
STORES = Path(__file__).with_name("stores.md")
FAULTS = Path(__file__).with_name("faults.md")
BEGIN, END = "<!-- capabilities: written by docs/generate.py -->\n", "<!-- end of capabilities -->"
QUESTIONS = {
    "durable": "what was acknowledged survives the process and the machine",
    "shared": "several processes can work on it at once",
    "atomic_load": "`add` adds all tokens or none",
    "local": "it is on the pilots' own machine: a result that is settled is on its disk",
    "wakes_for_work_only": "idle pilots wake for tokens that came to wait only, not for every change",
    "strict_order": "of equal priority the oldest goes first, also among many pilots",
    "kept_counts": "counting all tokens reads none",
    "pauses_at_once": "a pause of the pool holds for the next claim of everybody, not only from their next beat",
    "exact_numbers": "numbers keep their kind and sign (1.0 is not 1, -0.0 is not 0.0)",
    "exact_digests": "the digest of a file is that of its bytes",
    "live_output": "what running commands write can be followed (`picas logs -f`)",
    "tells_followers": "pilots hear at once that somebody follows, not with their next beat",
    "javascript": "views in JavaScript, and users",
    "roles": "roles with rights (`picas pool create --grant`)",
}
"""The fields of `Capabilities`, in words."""

INTRO = """# Commands

What each command prints for `--help`. This page is written by `docs/generate.py` (`make docs`); do not edit it.

`picas --help` lists the commands; `picas COMMAND --help` prints what stands here. Results go to standard output, talk
to standard error. The pool is the first of these that is there: `--pool`; the variable `PICAS_POOL`; the PiCaS
variables; in a [bundle](bundle.md) the pool it was made for; `picas.toml` in this folder or the nearest above it;
PiCaS's own `~/.config/picas/conf.yml`; else `picas.db` in this folder. `picas config show` says which it is.
Exit codes are in [When things fail](when-things-fail.md).
"""


def help_of(words: tuple[str, ...]) -> str:
    """What ``picas WORDS --help`` prints to a terminal of 100 columns, without colour."""
    environ = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    argv = [sys.executable, "-m", "picas", *words, "--help"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def commands_in(text: str) -> list[str]:
    """The names under ``Commands:`` in a help text."""
    listed = text.partition("\nCommands:\n")[2]
    return re.findall(r"^  ([a-z]\S*)", listed, re.MULTILINE)


def page() -> str:
    """The whole page: a section for each command and for each command of a group."""
    with ThreadPoolExecutor(2) as threads:
        verbs = [(verb,) for verb in commands_in(help_of(()))]
        helps = dict(zip(verbs, threads.map(help_of, verbs), strict=True))
        inner = [(*verb, name) for verb in verbs for name in commands_in(helps[verb])]
        helps |= dict(zip(inner, threads.map(help_of, inner), strict=True))
    return INTRO + "".join(
        f"\n## picas {' '.join(words)}\n\n```text\n{helps[words]}\n```\n"
        for verb in verbs
        for words in (verb, *(one for one in inner if one[:1] == verb))
        if not commands_in(helps[words])
    )


def capabilities() -> str:
    """The table of stores: a row for each thing that one may be able to do."""
    from picas.stores.base import Capabilities
    from picas.stores.couchdb import CouchStore
    from picas.stores.memory import MemoryStore
    from picas.stores.postgres import PostgresStore
    from picas.stores.sqlite import SqliteStore

    stores = {"SQLite": SqliteStore, "CouchDB": CouchStore, "PostgreSQL": PostgresStore, "memory": MemoryStore}
    fields = [field.name for field in dataclasses.fields(Capabilities) if field.name != "note"]
    head = f"| | {' | '.join(stores)} |\n|{'---|' * (len(stores) + 1)}\n"
    answers = [[getattr(store.capabilities, name) for store in stores.values()] for name in sorted(fields, key=order)]
    lines = zip(sorted(fields, key=order), answers, strict=True)
    return head + "".join(f"| {QUESTIONS[name]} | {' | '.join(map(said, row))} |\n" for name, row in lines)


def order(name: str) -> int:
    """Where a field stands in the table."""
    return list(QUESTIONS).index(name)


def said(value: bool) -> str:
    """An answer."""
    return "yes" if value else "no"


def stores_page() -> str:
    """The page on stores with its table as it should be."""
    before, _, rest = STORES.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{capabilities()}{END}{rest.partition(END)[2]}"


def main(words: list[str]) -> int:
    """Write the pages, or compare them."""
    wrong = 0
    for path, text in ((PAGE, page()), (STORES, stores_page()), (FAULTS, fault_table.page())):
        if words != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(
                f"docs/{path.name} is not what the program and its tests say of themselves: run `make docs`\n"
            )
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
