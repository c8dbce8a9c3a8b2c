"""Write ``docs/commands.md`` from the help that each command prints: ``python docs/generate.py [--check]``.

With ``--check`` nothing is written; exit code 1 when the page is not what would be written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")

INTRO = """# Commands

What each command prints for `--help`. This page is written by `docs/generate.py` (`make docs`); do not edit it.

`picas --help` lists the commands; `picas COMMAND --help` prints what stands here. Results go to standard output, talk
to standard error. The pool is the first of these that is there: `--pool`; the variable `PICAS_POOL`; the PiCaS
variables; `picas.toml` in this folder or the nearest above it; PiCaS's own `~/.config/picas/conf.yml`; else `picas.db`
in this folder. `picas config show` says which it is. Exit codes are in [When things fail](when-things-fail.md).
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


def main(words: list[str]) -> int:
    """Write the page, or compare it."""
    text = page()
    if words != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/commands.md is not what the commands print for --help: run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
