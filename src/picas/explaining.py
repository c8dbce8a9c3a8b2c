"""Why a token is where it is, looked up in its pool; the words are those of `picas.explain`."""

from __future__ import annotations

from picas.explain import explain_token
from picas.lifecycle import Doc, state_of
from picas.pool import Pool
from picas.tokens import log_names

__all__ = ["explained"]

_TAIL = 4096


def explained(pool: Pool, doc: Doc, *, tail: bool = True) -> list[str]:
    """Lines about a token; without ``tail`` what it wrote to standard error is neither read nor among them."""
    after = [str(token_id) for token_id in doc.get("after") or ()]
    needs = {token_id: state_of(found or {}) for token_id, found in zip(after, pool.store.get(after), strict=True)}
    said = _stderr_end(pool, doc) if tail else ""
    return explain_token(doc, now=pool.store.now(), needs=needs, pilots=pool.pilots(), tail=said)


def _stderr_end(pool: Pool, doc: Doc) -> str:
    """The end of what the command wrote to standard error."""
    name = log_names(doc["_id"])[1]
    if name not in doc.get("_attachments", {}):
        return ""
    kept = b""
    for chunk in pool.store.get_attachment(doc["_id"], name):
        kept = (kept + chunk)[-_TAIL:]
    return kept.decode("utf-8", "replace")
