"""Tokens to take away: whole documents as JSON lines, or what a listing shows as CSV; sent as they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from picas.errors import UsageError
from picas.lifecycle import Doc
from picas.listing import TOKEN_COLUMNS, token_row
from picas.pool import Pool
from picas.sheets import csv_line
from picas.web.choosing import chosen
from picas.web.files import SANDBOX, joined
from picas.web.forms import Fields, fields, first
from picas.web.query import Query, find
from picas.web.site import site_of

__all__ = ["export"]

_PAGE = 500


async def export(request: Request) -> Response:
    """The tokens that a query finds, or that were chosen in the table; what an error cuts off has no end."""
    if request.method == "POST":
        form: Fields = await fields(request)
    else:
        form = {"scope": ["match"], **{name: [value] for name, value in request.query_params.items()}}
    site = site_of(request)
    query, kind = (await chosen(site, form)).query, first(form, "form")
    if kind not in _FORMS:
        raise UsageError(f"form {kind!r:.40} is not known", hint=f"known are {', '.join(_FORMS)}")
    pieces = await site.desk.stream(lambda pool: _pieces(pool, query, _FORMS[kind]))
    head = await anext(pieces, b"")
    headers = {**SANDBOX, "Content-Disposition": f'attachment; filename="tokens.{kind}"'}
    media = "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl"
    return StreamingResponse(joined(head, pieces), media_type=media, headers=headers)


def _pieces(pool: Pool, query: Query, line: Callable[[Doc], str]) -> Iterator[bytes]:
    head = csv_line(TOKEN_COLUMNS) if line is _csv else ""
    after = ""
    while True:
        found = find(pool, replace(query, sort="", after=after, limit=_PAGE))
        if text := head + "".join(map(line, found.docs)):
            yield text.encode("utf-8", "replace")
        head, after = "", found.next
        if not after:
            return


def _json(doc: Doc) -> str:
    return json.dumps(doc) + "\n"


def _csv(doc: Doc) -> str:
    row = token_row(doc)
    return csv_line([row[name] for name in TOKEN_COLUMNS])


_FORMS: Mapping[str, Callable[[Doc], str]] = {"jsonl": _json, "csv": _csv}
