"""Attachments: saved, never opened, but for pictures, which are known by their bytes, whatever they are called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from picas.errors import NothingMatched, UsageError
from picas.pool import Pool
from picas.web.site import site_of

__all__ = ["PICTURES", "SANDBOX", "download", "joined", "picture", "picture_type"]

SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'"}
"""For what is to be saved and never shown."""

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
"""Endings of what may be a picture. SVG is a program that draws, and not among them."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


async def download(request: Request) -> Response:
    """A file, to be saved."""
    token_id, name = _asked(request)
    pieces = await site_of(request).desk.stream(lambda pool: _read(pool, token_id, name))
    return StreamingResponse(pieces, media_type="application/octet-stream", headers={**SANDBOX, **_saved_as(name)})


async def picture(request: Request) -> Response:
    """A picture, for a page to show."""
    token_id, name = _asked(request)
    pieces = await site_of(request).desk.stream(lambda pool: _read(pool, token_id, name))
    first = await anext(pieces, b"")
    kind = picture_type(first)
    if kind is None:
        await pieces.aclose()  # type: ignore[attr-defined]
        raise UsageError(f"{name!r} of token {token_id} is no PNG, JPEG, GIF or WebP picture")
    return StreamingResponse(joined(first, pieces), media_type=kind, headers={**SANDBOX, **_saved_as(name)})


def picture_type(data: bytes) -> str | None:
    """The kind of picture that bytes begin, None when it is none that is shown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _asked(request: Request) -> tuple[str, str]:
    token_id, name = request.query_params.get("id", ""), request.query_params.get("name", "")
    if not token_id or not name:
        raise UsageError("say which file: id of the token, and name")
    return token_id, name


def _read(pool: Pool, token_id: str, name: str) -> Iterator[bytes]:
    doc = pool.get(token_id)
    if doc is None or name not in (doc.get("_attachments") or {}):
        raise NothingMatched(f"token {token_id} has no file {name!r}")
    try:
        return pool.store.get_attachment(token_id, name)
    except KeyError:
        raise NothingMatched(f"token {token_id} has no file {name!r}") from None


async def joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream of which the first piece has been taken, to see whether there is one."""
    yield first
    async for piece in rest:
        yield piece


def _saved_as(name: str) -> dict[str, str]:
    """A name to save under: the last part, by what it is in every browser (RFC 6266)."""
    last = name.rpartition("/")[2]
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in last) or "file"
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}"}
