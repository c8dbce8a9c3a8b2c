"""``pilot recover``: results that dead pilots left on disk, handed in by a person."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli.looking import OutputOption
from picas.cli.output import form_for, print_rows, say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import Conflict, UsageError

if TYPE_CHECKING:
    from picas.pilot.inherited import Inherited
    from picas.pilot.rescue import Fate
    from picas.pool import Pool

__all__ = ["recover"]

COLUMNS = ("id", "fence", "pilot", "result", "became", "where", "why")

_MOST_BYTES = 64_000_000
"""A file of more than this is no result: the token and the outcome in it are limited."""


def recover(
    folder: Annotated[
        Path | None, typer.Argument(show_default=False, help="Where pilots kept results; default: here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, only say what would become.")] = False,
    any_address: Annotated[
        bool, typer.Option("--any-address", help="Also results noted under another address of this pool.")
    ] = False,
    output: OutputOption = None,
    pool: PoolOption = None,
) -> int:
    """Hand in the results that dead pilots left on disk, and list those that the pool did not take."""
    from picas.pilot.keep import kept_folder

    root = folder or kept_folder(os.environ)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="name the folder in which pilots keep results (PICAS_SPOOL)")
    with open_pool(pool) as opened:
        counts: Counter[str] = Counter()
        work = _Recovery(opened, root, dry=dry_run, any_address=any_address, counts=counts)
        print_rows(COLUMNS, work.rows(), form_for(output))
        problem = work.damaged
    _sum_up(counts, dry=dry_run)
    if problem:
        say(f"hint: {problem} could not be read whole; what could be read is listed")
        return 1
    return Conflict.exit_code if counts["superseded"] or counts["incomplete"] else 0


class _Recovery:
    """One look at a folder of results, row by row."""

    def __init__(self, pool: Pool, root: Path, *, dry: bool, any_address: bool, counts: Counter[str]) -> None:
        self.damaged = ""
        self._pool = pool
        self._root = root
        self._dry = dry
        self._any = any_address
        self._counts = counts
        self._alive = {record.id for record in pool.pilots() if record.alive}

    def rows(self) -> Iterator[dict[str, Any]]:
        """What was kept before; then, pilot by pilot, what became of each result."""
        from picas.pilot.inherited import folders

        yield from _kept(self._root)
        for folder in list(folders(self._root)):
            yield from self._spool(folder)

    def _spool(self, folder: Path) -> Iterator[dict[str, Any]]:
        from picas.pilot.inherited import Inherited, open_spool
        from picas.pilot.rescue import hand_in

        try:
            found = open_spool(folder)
        except OSError as error:
            found = f"{error.strerror or error}"
        if not isinstance(found, Inherited):
            if found is not None:
                yield self._left(folder, found)
            return
        try:
            if why := self._hands_off(found):
                yield self._left(folder, why)
                return
            for fate in hand_in(found, self._pool.store, self._root, dry=self._dry):
                self._counts[fate.became] += 1
                yield _row(found, fate)
            if found.damage:
                self.damaged = str(folder)
                yield {"pilot": found.pilot, "became": "damaged", "where": str(folder), "why": found.damage}
            if not self._dry:
                self._remove(found)
        finally:
            found.close()

    def _remove(self, found: Inherited) -> None:
        if (place := found.remove(self._root)) is not None:
            self.damaged = str(place)

    def _hands_off(self, found: Inherited) -> str:
        """Why a spool has to be left alone; empty when it may be handed in."""
        if found.pool and found.pool != self._pool.url and not self._any:
            return f"its pool is {found.pool}"
        # A lock may not reach from one machine to another, so the pool has a say there.
        if found.hostname != socket.gethostname() and found.pilot in self._alive:
            return "its pilot lives, the pool says"
        return ""

    def _left(self, folder: Path, why: str) -> dict[str, Any]:
        self._counts["left"] += 1
        return {"pilot": folder.name, "became": "left", "where": str(folder), "why": why}


def _row(spool: Inherited, fate: Fate) -> dict[str, Any]:
    from picas.lifecycle import fence_of

    doc = fate.settlement.doc
    return {
        "id": doc["_id"],
        "fence": fence_of(doc),
        "pilot": spool.pilot,
        "result": _result(vars(fate.settlement.outcome)),
        "became": fate.became,
        "where": str(fate.place) if fate.place else "",
        "why": fate.why,
    }


def _result(outcome: Any) -> str:
    """An outcome in two words."""
    code = outcome.get("exit_code", "")
    return f"{outcome.get('reason', '')} {code}".strip()


def _kept(root: Path) -> Iterator[dict[str, Any]]:
    """Results that lie here since an earlier time, because no pool took them."""
    from picas import tokens
    from picas.files import matching
    from picas.pilot.keep import RESULT

    for path in matching(root, f"*/{RESULT}"):
        if path.is_symlink() or path.parent.is_symlink():
            continue
        try:
            if not path.is_file() or path.stat().st_size > _MOST_BYTES:
                continue
            found = tokens.parse(path.read_bytes())
            doc, outcome, why = found["token"], found["outcome"], found["why"]
            claim = doc.get("claim") or {}
            row = {"id": str(doc["_id"]), "fence": doc.get("fence"), "pilot": str(claim.get("pilot", ""))}
            row |= {"result": _result(outcome), "why": str(why)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            row = {"why": "it cannot be read"}
        yield {**row, "became": "kept", "where": str(path.parent)}


def _sum_up(counts: Counter[str], *, dry: bool) -> None:
    words = {
        "accepted": "accepted",
        "known": "in the pool already",
        "superseded": "superseded",
        "incomplete": "incomplete",
        "left": "left alone",
    }
    parts = [f"{counts[name]} {text}" for name, text in words.items() if counts[name]]
    say(f"{'would be: ' if dry else ''}{', '.join(parts)}" if parts else "no pilot left results here")
