"""The one way to say which tokens: ids, views, conditions, tags, or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from picas.errors import NothingMatched, UsageError

if TYPE_CHECKING:
    from picas.lifecycle import Doc
    from picas.pool import Pool, Selection

__all__ = ["AllOption", "PoolOption", "TagOption", "TokensArgument", "WhereOption", "YesOption", "matched", "selection"]

PoolOption = Annotated[str | None, typer.Option("--pool", help="The pool: a path or an address.", show_default=False)]
TokensArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOKEN|VIEW]...", help="Ids, or views such as error or SingleCore/todo.", show_default=False
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION", help="Only tokens for which this holds: 'cores>=4'.", show_default=False
    ),
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Only tokens with this tag.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All tokens.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def selection(
    tokens: Sequence[str] | None, where: Sequence[str] | None, tags: Sequence[str] | None, everything: bool
) -> Selection:
    """What was selected, from arguments and options."""
    from picas import listing

    return listing.selection(tokens, where, tags, everything)


def matched(pool: Pool, chosen: Selection) -> Iterator[Doc]:
    """The tokens of a selection; NothingMatched, with what may be wrong with it, when there are none."""
    if chosen.everything and (chosen.ids or chosen.views):
        raise UsageError("--all selects all tokens, so that naming some makes no sense", hint="leave out one of them")
    if chosen.empty:
        raise UsageError("no tokens were selected", hint="give ids, a view, --where, --tag or --all")
    found = pool.select(chosen)
    first = next(found, None)
    if first is None:
        raise NothingMatched(_why_nothing(pool, chosen), hint=_unknown_fields(pool, chosen))
    yield first
    yield from found
    gone = _missing(pool, chosen)
    if gone:
        raise NothingMatched(f"there is no token {', '.join(gone[:5])}{' ...' if len(gone) > 5 else ''}")


def _missing(pool: Pool, chosen: Selection) -> list[str]:
    found = zip(chosen.ids, pool.store.get(chosen.ids), strict=True) if chosen.ids else ()
    return [token_id for token_id, doc in found if doc is None]


def _why_nothing(pool: Pool, chosen: Selection) -> str:
    if chosen.ids and not chosen.where:
        return f"there is no token {', '.join(chosen.ids[:3])} in {pool.url}"
    return f"no token of {pool.url} matches"


def _unknown_fields(pool: Pool, chosen: Selection) -> str:
    """A field that no token of a sample has is perhaps a slip."""
    if chosen.where is None:
        return "`picas status` shows what there is"
    sample = pool.store.page(None, limit=200).docs
    known = {name for doc in sample for name in doc}
    unknown = sorted({field.split(".")[0] for field in chosen.where.fields} - known)
    if not unknown:
        return ""
    fields = ", ".join(sorted(name for name in known if not name.startswith("_")))
    return f"no token has a field {', '.join(unknown)}; fields are {fields}"
