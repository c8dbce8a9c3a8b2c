"""The API for programs: JSON under ``/api/v1``, a table of calls from which its OpenAPI document is made too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from picas.errors import UsageError
from picas.explaining import explained
from picas.listing import token_row
from picas.web import deeds, files, openapi, overview, pilots
from picas.web.choosing import queried
from picas.web.openapi import Parameter
from picas.web.query import SORTS, find, token_of
from picas.web.site import site_of

__all__ = ["CALLS", "Call"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call: where, who answers, what for, what it takes, and the shape of its answer (a name in `openapi`)."""

    path: str
    answer: Callable[[Request], Awaitable[Response]]
    summary: str
    shape: str
    parameters: tuple[Parameter, ...] = ()
    writes: bool = False
    """Whether it is there only where the pool may be changed."""


async def pool(request: Request) -> Response:
    """How the pool stands."""
    site = site_of(request)
    sight = await site.live.look()
    await site.live.designs.settled(0.5)
    return JSONResponse({"pool": site.url, **overview.told(site.live, sight)}, 200 if sight.summary else 503)


async def failures(request: Request) -> Response:
    """How tokens failed."""
    live = site_of(request).live
    found = await live.failures.settled(10.0)
    groups = [group.told() for group in found.groups] if found else []
    whole = {"looked_at": found.looked_at if found else 0, "is_whole": bool(found and found.is_whole)}
    return JSONResponse({"groups": groups, **whole})


async def tokens(request: Request) -> Response:
    """A page of tokens."""
    site = site_of(request)
    given = _given(request, *_LISTING)
    query, _ = await queried(site, given)
    found = await site.desk.do(lambda opened: find(opened, query))
    rows = found.docs if given.get("full") == "true" else [token_row(doc) for doc in found.docs]
    return JSONResponse(
        {"tokens": rows, "next": found.next or None, "looked_at": found.looked_at, "is_cut": found.is_cut}
    )


async def token(request: Request) -> Response:
    """One token's document."""
    doc = await site_of(request).desk.do(lambda opened: token_of(opened, _id(request)))
    return JSONResponse(doc)


async def explain(request: Request) -> Response:
    """Why a token is where it is."""
    lines = await site_of(request).desk.do(lambda opened: explained(opened, token_of(opened, _id(request))))
    return JSONResponse({"lines": [line.strip() for line in lines]})


async def document(request: Request) -> Response:
    """This API, described."""
    may_write = site_of(request).may_write
    calls = {call.path: (call.summary, call.shape, call.parameters) for call in CALLS if may_write or not call.writes}
    return JSONResponse(openapi.document(calls, [deed for deed, _ in deeds.DEEDS] if may_write else []))


def _id(request: Request) -> str:
    token_id = _given(request, _TOKEN).get("id", "")
    if not token_id:
        raise UsageError("say which token: id")
    return token_id


def _given(request: Request, *known: Parameter) -> dict[str, str]:
    """What was given, of a known name each and, where only some words make sense, one of those."""
    parameters = {one.name: one for one in known}
    for name, value in request.query_params.multi_items():
        if name not in parameters:
            raise UsageError(f"{name!r:.60} is not known here", hint=f"known are {', '.join(sorted(parameters))}")
        among = parameters[name].among
        if among and value not in among:
            raise UsageError(f"{name} {value!r:.60} is not known", hint=f"known are {', '.join(among)}")
    return dict(request.query_params)


_TOKEN = Parameter("id", "The token's id.", required=True)
_LISTING = (
    Parameter("view", "A view, such as error or SingleCore/todo."),
    Parameter("where", "A condition, such as cores>=4, or Mango as JSON."),
    Parameter("tag", "NAME=VALUE, or NAME for any value."),
    Parameter("text", "Text in the id, the command, the host, the reason, or a tag."),
    Parameter("group", "The key of a group of failures."),
    Parameter(
        "sort", "A way to sort; without it tokens come in the order of claims.", among=tuple(filter(None, SORTS))
    ),
    Parameter("after", "`next` of the page before."),
    Parameter("limit", "At most so many.", least=1, most=500),
    Parameter("full", "Whole documents instead of rows.", among=("true", "false")),
)

CALLS: tuple[Call, ...] = (
    Call(path="/api/v1/pool", answer=pool, summary="How the pool stands", shape="Pool"),
    Call(path="/api/v1/tokens", answer=tokens, summary="A page of tokens", shape="Tokens", parameters=_LISTING),
    Call(path="/api/v1/token", answer=token, summary="One token", shape="Document", parameters=(_TOKEN,)),
    Call(
        path="/api/v1/explain",
        answer=explain,
        summary="Why a token is where it is",
        shape="Lines",
        parameters=(_TOKEN,),
    ),
    Call(
        path="/api/v1/file",
        answer=files.download,
        summary="A file of a token",
        shape="File",
        parameters=(_TOKEN, Parameter("name", "The file's name.", required=True)),
    ),
    Call(path="/api/v1/pilots", answer=pilots.told, summary="All pilots, and what they hold", shape="Pilots"),
    Call(path="/api/v1/failures", answer=failures, summary="How tokens failed", shape="Failures"),
    Call(
        path="/api/v1/change",
        answer=deeds.change,
        summary="A change of tokens, and how far it is",
        shape="Change",
        parameters=(Parameter("key", "The key of the change.", required=True),),
        writes=True,
    ),
    Call(path="/api/v1/openapi.json", answer=document, summary="This description", shape="Document"),
)
