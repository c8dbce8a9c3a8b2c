"""Results that no store took, kept on this machine's disk: superseded ones, and those of a store that is away."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.parse import quote

from picas.lifecycle import Outcome, fence_of
from picas.stores.base import Settlement

__all__ = ["keep", "kept_folder"]


def kept_folder(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Where results are kept: ``PICAS_SPOOL``, else the user's state folder."""
    if environ.get("PICAS_SPOOL"):
        return Path(environ["PICAS_SPOOL"])
    import platformdirs

    return Path(platformdirs.user_state_dir("picas")) / "spool"


def keep(settlement: Settlement, why: str, folder: Path) -> Path:
    """Write a result and its files to a folder of its own, durably, before this returns; that folder."""
    place = folder / f"{quote(settlement.doc['_id'], safe='')[:180]}.{fence_of(settlement.doc)}-{os.urandom(3).hex()}"
    place.mkdir(mode=0o700, parents=True)
    for name, attachment in settlement.attachments.items():
        path = place / quote(name, safe=" ")
        if attachment.data is not None:
            path.write_bytes(attachment.data)
        elif attachment.path is not None and Path(attachment.path).exists():
            shutil.copyfile(attachment.path, path)
    _write(place / "result.json", {"why": why, "token": settlement.doc, "outcome": _plain(settlement)})
    return place


def _plain(settlement: Settlement) -> dict[str, object]:
    outcome = settlement.outcome
    fields = dict(vars(outcome))
    if isinstance(outcome, Outcome):
        fields["reason"] = str(outcome.reason)
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}


def _write(path: Path, value: object) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
