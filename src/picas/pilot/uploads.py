"""Large files on their way into the pool, ahead of the results that they belong to."""

from __future__ import annotations

from pathlib import Path

from picas.errors import Conflict
from picas.lifecycle import fence_of
from picas.stores.base import Settlement, TokenStore

__all__ = ["upload"]

_STREAMED_BYTES = 1 << 20


def upload(store: TokenStore, settlement: Settlement) -> Settlement | Conflict:
    """Send large files ahead in pieces; the result without them, or why the token is no longer ours."""
    if not settlement.attachments:
        return settlement
    small = dict(settlement.attachments)
    for name, attachment in settlement.attachments.items():
        path = Path(attachment.path) if attachment.path is not None else None
        if path is None or path.stat().st_size <= _STREAMED_BYTES:
            continue
        token_id, fence = settlement.doc["_id"], fence_of(settlement.doc)
        with path.open("rb") as file:
            try:
                store.put_attachment(token_id, name, file, content_type=attachment.content_type, fence=fence)
            except Conflict as error:
                return error
        del small[name]
    return Settlement(doc=settlement.doc, outcome=settlement.outcome, attachments=small)
