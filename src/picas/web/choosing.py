"""Which tokens are meant by what was ticked, by a page of the table, or by all that a query finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from picas.errors import NothingMatched, UsageError
from picas.web.failures import Group
from picas.web.forms import Fields, first
from picas.web.query import Query, query_of
from picas.web.site import Site, link

__all__ = ["ASKED", "SCOPES", "Chosen", "chosen", "queried"]

ASKED = ("view", "where", "tag", "text", "sort", "group")
"""What the table of tokens may be asked for."""

SCOPES = {"ticked": "those ticked", "shown": "all on this page", "match": "all that match"}
"""Ways to choose from a table, with their names."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Tokens that were chosen: a query for them, in words, and the page they were chosen on."""

    query: Query
    words: str
    back: str


async def chosen(site: Site, form: Fields) -> Chosen:
    """What was chosen in a form on the table of tokens, or on the page of one; UsageError when nothing was."""
    asked = {name: first(form, name) for name in ASKED if first(form, name)}
    scope = first(form, "scope") or "ticked"
    back = link("/tokens", **asked)
    if scope == "match":
        query, _ = await queried(site, asked)
        return Chosen(query=query, words=_words_of(asked), back=back)
    if scope not in SCOPES:
        raise UsageError(f"scope {scope!r:.40} is not known", hint=f"known are {', '.join(SCOPES)}")
    ids = tuple(dict.fromkeys(form.get("id" if scope == "ticked" else "shown", [])))
    if not ids:
        raise UsageError("no tokens were chosen", hint="tick some, or choose all on the page or all that match")
    if first(form, "from") == "token":
        return Chosen(query=Query(ids=ids), words="", back=link("/token", id=ids[0]))
    return Chosen(query=Query(ids=ids), words="chosen in the table", back=back)


async def queried(site: Site, given: Mapping[str, str]) -> tuple[Query, Group | None]:
    """The query that is meant by its parts, and the group of failed tokens that it is of; None when it is of none."""
    group = await _asked_group(site, given.get("group", ""))
    return query_of(given, ids=tuple(group.ids) if group else None), group


async def _asked_group(site: Site, key: str) -> Group | None:
    if not key:
        return None
    failures = site.live.failures.value or await site.live.failures.settled(30.0)
    group = failures.group(key) if failures else None
    if group is None:
        raise NothingMatched("no token fails in that way any more", hint="the overview shows how tokens fail now")
    return group


def _words_of(asked: Mapping[str, str]) -> str:
    """A query in words; for one that asks for nothing, that these are all."""
    parts = ["of a group that failed alike"] if asked.get("group") else []
    parts += [f"{label} {asked[name]}" for name, label in _LABELS.items() if asked.get(name)]
    return "; ".join(parts) or "all tokens of the pool"


_LABELS = {"view": "view", "where": "condition", "tag": "tag", "text": "text"}
