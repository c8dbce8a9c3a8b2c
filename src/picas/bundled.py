"""Whether this picas is a bundle (`picas.bundle` makes those), and what that means for what it cannot do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import picas
from picas.errors import ConfigError

__all__ = ["ABOUT_FILE", "About", "about", "lines", "refuse"]

ABOUT_FILE = "bundle.json"
"""Beside the modules of picas in a bundle, and there alone."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a bundle says of itself: picas's version, the versions of what is with it, and the pool it is for, if any.

    The pool's address may name a user, and has no password in it.
    """

    version: str
    holds: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None


@cache
def about() -> About | None:
    """What this bundle says of itself; None where picas is installed."""
    spec = picas.__spec__
    if spec is None or spec.origin is None:
        return None
    try:
        # The loader reads from a zip file as from a folder.
        data = spec.loader.get_data(os.path.join(os.path.dirname(spec.origin), ABOUT_FILE))  # type: ignore[union-attr] # noqa: PTH118, PTH120
    except OSError:
        return None
    return About(**json.loads(data))


def lines(found: About | None = None) -> list[str]:
    """What a bundle holds, in lines for a person; none where picas is installed and no other bundle is meant."""
    told = found or about()
    if told is None:
        return []
    return [
        "a bundle for Python 3.10 or later, with the CouchDB store",
        "with " + ", ".join(f"{name} {version}" for name, version in told.holds.items()),
        f"for the pool {told.pool}" if told.pool else "for no pool of its own: --pool or PICAS_POOL says which",
    ]


def refuse(what: str, hint: str) -> None:
    """In a bundle raise ConfigError, saying that it ``what``; do nothing where picas is installed."""
    if about() is not None:
        raise ConfigError(f"this bundle {what}", hint=hint)
