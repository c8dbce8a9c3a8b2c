"""What a person says that a pilot offers: GPUs by number or by id, and resources with names of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

import typer

from picas.cli.session import size
from picas.errors import UsageError

__all__ = ["GpusOption", "OfferOption", "gpus", "named"]

GpusOption = Annotated[
    str | None, typer.Option(metavar="N|IDS", help="GPUs to offer, how many or which; default: those found.")
]
OfferOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=N", help="A resource of a name of your own.", show_default=False)
]

_TAKEN = frozenset({"cores", "memory", "gpus", "time"})


def gpus(text: str | None) -> int | tuple[str, ...] | None:
    """``2`` is how many, ``0,3`` which; one id has a comma after it."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,4}", text):
        return int(text)
    ids = tuple(word.strip() for word in text.split(",") if word.strip())
    if ("," not in text and not text.startswith(("GPU-", "MIG-"))) or len(set(ids)) < len(ids):
        raise UsageError(f"--gpus {text!r} is not a number of GPUs or a list of ids", hint="such as 2, or 0,3, or 3,")
    return ids


def named(pairs: Iterable[str]) -> dict[str, float]:
    """Amounts by name, from ``NAME=AMOUNT``."""
    found: dict[str, float] = {}
    for pair in pairs:
        name, equals, amount = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--offer {pair!r} is not NAME=N", hint="such as licence=2, or scratch=500GB")
        if name in _TAKEN:
            hint = "cores, memory and gpus have options of their own; time comes from --max-time and the batch job"
            raise UsageError(f"--offer {name}: that is no name of your own", hint=hint)
        if name in found:
            raise UsageError(f"--offer {name} is there twice")
        found[name] = size(amount, f"--offer {name}") or 0.0
    return found
