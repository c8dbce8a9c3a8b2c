"""The table of tokens: a view, a condition, a tag, a text; page by page to the end of any pool."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from picas.errors import NothingMatched
from picas.lifecycle import State
from picas.listing import token_row
from picas.web.failures import Group
from picas.web.query import SORTS, find, query_of
from picas.web.site import Site, link, site_of

__all__ = ["asked_group", "tokens"]

_ASKED = ("view", "where", "tag", "text", "sort", "group")


async def tokens(request: Request) -> Response:
    """A page of the table; a condition that cannot be read is said above it, and what was typed stays."""
    site = site_of(request)
    given = {name: value for name, value in request.query_params.items() if value}
    sight = await site.live.look()
    group = await asked_group(site, given.get("group", ""))
    query = query_of(given, ids=tuple(group.ids) if group else None)
    found = await site.desk.do(lambda pool: find(pool, query))
    asked = {name: given[name] for name in _ASKED if name in given}
    following = link("/tokens", **asked, after=found.next) if found.next else ""
    return site.page(
        request,
        "tokens.html",
        sight=sight,
        asked={name: given.get(name, "") for name in _ASKED},
        group=group,
        found=found,
        rows=[token_row(doc) for doc in found.docs],
        following=following,
        is_first=not query.after,
        first=link("/tokens", **asked),
        views=_views(site),
        sorts=SORTS,
        summary=sight.summary,
    )


async def asked_group(site: Site, key: str) -> Group | None:
    """The group of failed tokens that is meant; None when none is."""
    if not key:
        return None
    failures = site.live.failures.value or await site.live.failures.settled(30.0)
    group = failures.group(key) if failures else None
    if group is None:
        raise NothingMatched("no token fails in that way any more", hint="the overview shows how tokens fail now")
    return group


def _views(site: Site) -> list[str]:
    """Views to choose from."""
    designs = site.live.designs.look() or {}
    return [str(state) for state in State] + [f"{name}/{state}" for name in designs for state in State]
