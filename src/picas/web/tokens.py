"""The table of tokens: a view, a condition, a tag, a text; page by page to the end of any pool."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from picas.lifecycle import State
from picas.listing import token_row
from picas.verbs import VERBS
from picas.web.choosing import ASKED, SCOPES, queried
from picas.web.query import SORTS, find
from picas.web.site import Site, link, site_of

__all__ = ["tokens"]


async def tokens(request: Request) -> Response:
    """A page of the table; a condition that cannot be read is said above it, and what was typed stays."""
    site = site_of(request)
    given = {name: value for name, value in request.query_params.items() if value}
    sight = await site.live.look()
    query, group = await queried(site, given)
    found = await site.desk.do(lambda pool: find(pool, query))
    asked = {name: given[name] for name in ASKED if name in given}
    following = link("/tokens", **asked, after=found.next) if found.next else ""
    return site.page(
        request,
        "tokens.html",
        sight=sight,
        asked={name: given.get(name, "") for name in ASKED},
        group=group,
        found=found,
        rows=[token_row(doc) for doc in found.docs],
        following=following,
        is_first=not query.after,
        first=link("/tokens", **asked),
        views=_views(site),
        sorts=SORTS,
        scopes=SCOPES,
        verbs=VERBS,
        summary=sight.summary,
    )


def _views(site: Site) -> list[str]:
    """Views to choose from."""
    designs = site.live.designs.look() or {}
    return [str(state) for state in State] + [f"{name}/{state}" for name in designs for state in State]
