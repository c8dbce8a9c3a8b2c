"""One token: why it is where it is, what was tried, what it wrote, its files, and the document itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from picas.errors import PicasError, UsageError
from picas.explaining import explained
from picas.lifecycle import Doc, State, state_of
from picas.listing import command_line
from picas.pool import Pool
from picas.reports.attempts import Attempt, attempts_of
from picas.tokens import log_names
from picas.verbs import VERBS, Verb
from picas.web.ansi import Piece, pieces
from picas.web.files import PICTURES
from picas.web.query import token_of
from picas.web.site import site_of
from picas.web.watching import Watch

__all__ = ["SHOWN_BYTES", "renewed", "token"]

SHOWN_BYTES = 128 * 1024
"""Of each stream, from its end."""
_LARGEST = 32 << 20
_LARGEST_PICTURE = 8 << 20
_SAID_ANEW = 15.0
_LABELS = ("standard output", "standard error")
_OWN = ("attempts", "_attachments", "_id")
_SHOWN = "attempt "
"""Begins the lines that explain a token by what the page shows in a place of its own."""
_TIMES = ("lock", "done", "not_before")
_COMMON = frozenset({"type", "lock", "done", "exit_code", "hostname", "scrub_count", "_rev", "fence", "claim"})


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What is shown of a stream: ``skipped`` bytes of ``size`` come before it; ``is_too_large`` shows none."""

    label: str
    name: str
    size: int
    text: list[Piece]
    skipped: int = 0
    is_too_large: bool = False


@dataclass(frozen=True, kw_only=True)
class Token:
    """Everything on the page."""

    doc: Doc
    lines: list[str]
    streams: list[Stream]
    attempts: list[Attempt]
    now: float


async def token(request: Request) -> Response:
    """The page; 404 when there is no such token."""
    return await _shown(request, "token.html")


async def renewed(request: Request) -> Response:
    """What changes on it; nothing (204) when that is as it was ``seen``. What goes wrong is told above the rest."""
    try:
        return await _shown(request, "token_live.html", request.query_params.get("seen", ""))
    except PicasError as error:
        site = site_of(request)
        page = site.page(request, "problem.html", sight=await site.live.look(), message=error.message)
        page.headers.update({"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"})
        return page


async def _shown(request: Request, template: str, seen: str = "") -> Response:
    site = site_of(request)
    token_id = request.query_params.get("id", "")
    if not token_id:
        raise UsageError("say which token: id")
    sight = await site.live.look()
    found = await site.desk.do(lambda pool: _read(pool, token_id, seen))
    if found is None:
        return Response(status_code=204)
    state, watch = state_of(found.doc), None
    if state is State.LOCKED:
        watch = await site.watches.look(token_id)
    else:
        site.watches.forget(token_id)
    return site.page(
        request,
        template,
        sight=sight,
        id=token_id,
        doc=found.doc,
        seen=_mark(found.doc, found.now),
        state=str(state or "no token"),
        is_running=state is State.LOCKED,
        notes=list(watch.notes) if watch else [],
        lines=found.lines,
        streams=_live(token_id, watch) if watch else found.streams,
        command=command_line(found.doc),
        tries=_timeline(found),
        fields=_fields(found.doc),
        files=_files(found.doc),
        verbs=_verbs(found.doc) if site.may_write else [],
        raw=json.dumps(found.doc, indent=2, ensure_ascii=False),
    )


def _mark(doc: Doc, now: float) -> str:
    """Changes when the page does: with each revision, and where it says how long something takes, now and then."""
    if state_of(doc) in (State.DONE, State.ERROR):
        return str(doc.get("_rev"))
    return f"{doc.get('_rev')} {now // _SAID_ANEW:.0f}" if state_of(doc) is not State.LOCKED else ""


def _live(token_id: str, watch: Watch) -> list[Stream]:
    """What a running command has written so far."""
    names = zip(_LABELS, log_names(token_id), watch.streams.values(), strict=True)
    return [
        Stream(
            label=label,
            name=name,
            size=stream.skipped + len(stream.data),
            text=pieces(_from_line(stream.data, is_cut=stream.skipped > 0).decode("utf-8", "replace")),
            skipped=stream.skipped,
        )
        for label, name, stream in names
    ]


def _verbs(doc: Doc) -> list[Verb]:
    """What can be done to a token as it is."""
    return [verb for verb in VERBS.values() if str(state_of(doc)) in verb.states]


def _read(pool: Pool, token_id: str, seen: str) -> Token | None:
    """What there is to know of a token; None when that is as it was seen."""
    doc = token_of(pool, token_id)
    state, now = state_of(doc), pool.store.now()
    if seen and seen == _mark(doc, now):
        return None
    return Token(
        doc=doc,
        lines=[line.strip() for line in explained(pool, doc, tail=False)[1:] if not line.strip().startswith(_SHOWN)],
        streams=[
            stream
            for label, name in zip(_LABELS, log_names(token_id), strict=True)
            if state is not State.LOCKED and (stream := _stream(pool, doc, label, name)) is not None
        ],
        attempts=list(attempts_of(doc, state, now)) if state else [],
        now=now,
    )


def _stream(pool: Pool, doc: Doc, label: str, name: str) -> Stream | None:
    """The end of a stream; None when there is no file of it."""
    stub = (doc.get("_attachments") or {}).get(name)
    if not isinstance(stub, dict):
        return None
    size = int(stub.get("length") or 0)
    if size > _LARGEST:
        return Stream(label=label, name=name, size=size, text=[], is_too_large=True)
    kept, length = b"", 0
    for chunk in pool.store.get_attachment(doc["_id"], name):
        length += len(chunk)
        kept = (kept + chunk)[-SHOWN_BYTES:]
    skipped = length - len(kept)
    shown = _from_line(kept, is_cut=skipped > 0)
    skipped += len(kept) - len(shown)
    text = pieces(shown.decode("utf-8", "replace"))
    return Stream(label=label, name=name, size=length, text=text, skipped=skipped)


def _from_line(data: bytes, *, is_cut: bool) -> bytes:
    """From the first whole line on, so that no character and no colour is cut in two."""
    return data[data.find(b"\n") + 1 :] if is_cut else data


def _timeline(found: Token) -> list[dict[str, Any]]:
    """Attempts, each with its place on an axis a thousand wide from the first begin to the last end."""
    timed = [one for one in found.attempts if one.start is not None and one.end is not None]
    first = min((one.start for one in timed if one.start is not None), default=0.0)
    last = max((one.end for one in timed if one.end is not None), default=0.0)
    scale = 1000.0 / max(last - first, 1e-3)
    tries = []
    for one in found.attempts:
        place = None
        if one.start is not None and one.end is not None:
            width = max(4.0, (one.end - one.start) * scale)
            place = {"x": round(min((one.start - first) * scale, 1000.0 - width), 1), "width": round(width, 1)}
        tries.append({"attempt": one, "place": place})
    return tries


def _fields(doc: Doc) -> list[tuple[str, str, float | None]]:
    """Fields as people read them, those of every token last; what has a place of its own on the page is left out."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _time(name, value))
        for name, value in sorted(doc.items(), key=lambda field: field[0] in _COMMON)
        if name not in _OWN
    ]


def _time(name: str, value: object) -> float | None:
    """The time that a field tells; None when it tells none."""
    is_time = name in _TIMES and isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_time and 1e8 < value < 1e10 else None  # type: ignore[arg-type, operator]


def _files(doc: Doc) -> list[dict[str, Any]]:
    """Attachments by name, with what can be shown of them."""
    stubs = doc.get("_attachments") or {}
    return [
        {
            "name": name,
            "size": stub.get("length"),
            "type": stub.get("content_type", ""),
            "is_picture": name.lower().endswith(PICTURES) and int(stub.get("length") or 0) <= _LARGEST_PICTURE,
        }
        for name, stub in sorted(stubs.items())
        if isinstance(stub, dict)
    ]
