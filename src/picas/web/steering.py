"""Steering the pool and its pilots: pause and resume, drain and stop; each asks on a page of its own."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from picas.errors import NothingMatched, UsageError
from picas.pool import Pool
from picas.stores.records import is_autopilot
from picas.stores.steering import DRAIN, STOP
from picas.web.forms import fields, first
from picas.web.site import Site, site_of

__all__ = ["ORDERS", "ask_order", "ask_pause", "order", "ordered", "pause", "paused", "resume", "resumed"]

ORDERS = {
    DRAIN: "They finish what they run, claim nothing more, and end.",
    STOP: "With their next beat they end their commands, give their tokens back unspent, and end.",
}
"""What pilots can be told, and what they do then."""
_LONGEST_REASON = 500


async def ask_pause(request: Request) -> Response:
    """The page to pause the pool, or to let it go on."""
    site = site_of(request)
    pause = await site.desk.do(lambda pool: pool.store.paused())
    at_once = await site.desk.do(lambda pool: pool.store.capabilities.pauses_at_once)
    return site.page(request, "pause.html", pause=pause, at_once=at_once, longest=_LONGEST_REASON)


async def pause(request: Request) -> Response:
    """Pause it."""
    await paused(site_of(request), first(await fields(request), "why"))
    return RedirectResponse("/", 303)


async def resume(request: Request) -> Response:
    """Let it go on."""
    await resumed(site_of(request))
    return RedirectResponse("/", 303)


async def ask_order(request: Request) -> Response:
    """The page to have a pilot, or all, end: says what it will do, and asks."""
    site, given = site_of(request), request.query_params
    orders, pilots = _orders(given.get("orders", "")), given.getlist("pilot")
    names = pilots or await site.desk.do(_alive)
    return site.page(
        request, "order.html", orders=orders, about=ORDERS[orders], names=names, pilots=pilots, is_all=not pilots
    )


async def order(request: Request) -> Response:
    """Leave orders for pilots."""
    form = await fields(request)
    await ordered(site_of(request), form.get("pilot", []), first(form, "orders"))
    return RedirectResponse("/", 303)


async def paused(site: Site, why: str) -> None:
    """Pause the pool; without a reason one that was given before stays."""
    if len(why) > _LONGEST_REASON:
        raise UsageError(f"a reason has {_LONGEST_REASON} letters at most")
    await site.desk.do(lambda pool: _pause(pool, why))
    site.live.changed()


async def resumed(site: Site) -> None:
    """Let the pool go on."""
    await site.desk.do(lambda pool: pool.resume())
    site.live.changed()


async def ordered(site: Site, pilots: Sequence[str], orders: str) -> list[str]:
    """Tell pilots to end, all that are alive when none is named; which were told. NothingMatched when none was."""
    orders = _orders(orders)
    told = await site.desk.do(lambda pool: _order(pool, pilots, orders))
    site.live.changed()
    if not told:
        raise NothingMatched(f"there is no pilot {', '.join(pilots[:5])}".rstrip(), hint="they may have ended by now")
    return told


def _orders(given: str) -> str:
    if given not in ORDERS:
        raise UsageError(f"orders {given!r:.40} are not known", hint=f"known are {', '.join(ORDERS)}")
    return given


def _pause(pool: Pool, why: str) -> None:
    before = pool.store.paused()
    pool.pause(why.strip() or (before.why if before else ""))


def _order(pool: Pool, pilots: Sequence[str], orders: str) -> list[str]:
    return [name for name in dict.fromkeys(pilots or _alive(pool)) if pool.store.order(name, orders)]


def _alive(pool: Pool) -> list[str]:
    return [one.id for one in pool.pilots() if one.alive and not is_autopilot(one)]
