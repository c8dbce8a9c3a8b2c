"""Changing tokens from the page: what is to be done, and to how many, is said and agreed to before it is done."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from picas.errors import NothingMatched, UsageError
from picas.verbs import VERBS, Verb
from picas.web.changes import Change
from picas.web.choosing import chosen
from picas.web.forms import Fields, fields, first, whole_number
from picas.web.site import link, site_of

__all__ = ["ask", "asked_verb", "begin", "go", "renewed", "stop"]

_SOON = 1.0
"""Seconds for which a browser is kept waiting, so that what is done quickly is seen done."""


async def begin(request: Request) -> Response:
    """Take a choice of tokens and what is to be done to them; nothing is done yet."""
    site, form = site_of(request), await fields(request)
    verb, priority = asked_verb(first(form, "verb"), first(form, "priority"))
    meant = await chosen(site, form)
    change = site.changes.begin(verb, meant.query, priority=priority, words=meant.words, back=meant.back)
    await site.changes.settled(change, _SOON)
    return _to(change)


async def ask(request: Request) -> Response:
    """The page of a change: what it will do, how far it is, or what it did."""
    return _shown(request, "change.html")


async def renewed(request: Request) -> Response:
    """What changes on it."""
    return _shown(request, "change_live.html")


async def go(request: Request) -> Response:
    """Do it: that was agreed to."""
    site, change = site_of(request), _change(request, await fields(request))
    site.changes.go(change)
    await site.changes.settled(change, _SOON)
    return _to(change)


async def stop(request: Request) -> Response:
    """Stop where it is."""
    change = _change(request, await fields(request))
    site_of(request).changes.stop(change)
    return _to(change)


def asked_verb(name: str, priority: str | int | None) -> tuple[Verb, int | None]:
    """What is to be done, and the priority where that is what is given; UsageError for what is not known."""
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError(f"verb {name!r:.40} is not known", hint=f"known are {', '.join(VERBS)}")
    if name != "priority":
        return verb, None
    return verb, priority if isinstance(priority, int) else whole_number(priority or "", "priority")


def _shown(request: Request, template: str) -> Response:
    site = site_of(request)
    change = site.changes.find(request.query_params.get("key", ""))
    return site.page(request, template, change=change, title=_title(change), spared=change.count - change.meant)


def _title(change: Change) -> str:
    """What is done, to how many."""
    count = change.count if change.verb.name == "delete" else change.meant
    tokens = f"{count:,} token{'' if count == 1 else 's'}"
    if change.priority is not None:
        return f"Give {tokens} priority {change.priority}"
    return f"{change.verb.name.capitalize()} {tokens}"


def _change(request: Request, form: Fields) -> Change:
    key = first(form, "key")
    if not key:
        raise NothingMatched("say which change: key")
    return site_of(request).changes.find(key)


def _to(change: Change) -> Response:
    return RedirectResponse(link("/change", key=change.key), 303)
