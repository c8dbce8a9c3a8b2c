"""Results that no store took, kept on this machine's disk: superseded ones, and those of a store that is away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from urllib.parse import quote

from picas.errors import StoreUnavailable
from picas.files import make_folder, replace, state_folder, sync
from picas.lifecycle import Outcome, fence_of
from picas.stores.base import Settlement

__all__ = ["RESULT", "keep", "kept_folder", "left_behind"]

RESULT = "result.json"
"""The file in a kept result's folder that is written last."""


def kept_folder(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Where results are kept: ``PICAS_SPOOL``, else the user's state folder."""
    if environ.get("PICAS_SPOOL"):
        return Path(environ["PICAS_SPOOL"])
    return state_folder("spool")


def left_behind(count: int, folder: Path) -> StoreUnavailable:
    """The error with which a pilot ends that could not hand in all its results."""
    hint = "the next pilot on this machine hands them in, or `picas pilot recover` does"
    return StoreUnavailable(f"the pool is away; {count} results are kept in {folder}", hint=hint)


def keep(settlement: Settlement, why: str, folder: Path) -> Path:
    """Write a result and its files to a folder of its own, durably, before this returns; that folder.

    The same result goes to the same folder, so that whoever died on the way may begin again.
    """
    text = json.dumps({"why": why, "token": settlement.doc, "outcome": _plain(settlement)}, ensure_ascii=False)
    claim = json.dumps([settlement.doc, _plain(settlement)], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(claim.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    place = folder / f"{quote(settlement.doc['_id'], safe='')[:180]}.{fence_of(settlement.doc)}-{digest}"
    if (place / RESULT).exists():
        return place
    make_folder(place)
    for name, attachment in settlement.attachments.items():
        path = place / quote(name, safe=" ")
        if attachment.data is not None:
            path.write_bytes(attachment.data)
        elif attachment.path is not None and Path(attachment.path).exists():
            shutil.copyfile(attachment.path, path)
        if path.exists():
            sync(path)
    replace(place / RESULT, text.encode("utf-8", "surrogatepass"))
    sync(place)
    sync(folder)
    return place


def _plain(settlement: Settlement) -> dict[str, object]:
    outcome = settlement.outcome
    fields = dict(vars(outcome))
    if isinstance(outcome, Outcome):
        fields["reason"] = str(outcome.reason)
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
