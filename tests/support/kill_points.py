"""Named points at which a pilot kills itself with SIGKILL: functions of the real pilot, patched in its own process.

`hook` writes what a pilot's Python runs first (``sitecustomize``); ``SITE_KILL`` in its environment names the point.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from support.pilots import Site

__all__ = ["POINTS", "RECOVERY", "Point", "aim", "hook", "spools"]


@dataclass(frozen=True)
class Point:
    """Before or after a function is called for the n-th time; ``torn`` in the middle of what it writes."""

    where: str
    when: str = "before"
    nth: int = 1
    spooled: bool = False
    """Whether results lie in the spool and are not all settled when this point is reached."""


POINTS = {
    "before the first beat": Point("picas.pilot.lease:Lease.beat"),
    "after the first beat": Point("picas.pilot.lease:Lease.beat", "after"),
    "before the first claim": Point("picas.pilot.settling:Settler.exchange"),
    "claimed, and does not know": Point("picas.stores.postgres.store:PostgresStore.exchange", "after"),
    "claimed": Point("picas.pilot.settling:Settler.exchange", "after"),
    "before a command is sent": Point("picas.pilot.crew:Crew.send"),
    "after a command is sent": Point("picas.pilot.crew:Crew.send", "after"),
    "while commands run": Point("picas.pilot.crew:Crew.collect", "after"),
    "before a result is judged": Point("picas.pilot.work:outcome_of"),
    "after a result was judged": Point("picas.pilot.settling:Settler.add", "after"),
    "before the spool is made": Point("picas.pilot.spool:Spool._open"),
    "in the head of the spool": Point("picas.pilot.spool:_write", "torn", 1),
    "after the spool was made": Point("picas.pilot.spool:Spool._open", "after"),
    "in the middle of a record": Point("picas.pilot.spool:_write", "torn", 2),
    "in a later record": Point("picas.pilot.spool:_write", "torn", 3),
    "written, and not synced": Point("picas.pilot.spool:_write", "after", 2, spooled=True),
    "results in the spool": Point("picas.pilot.spool:Spool.write", "after", spooled=True),
    "before a large file is sent": Point("picas.pilot.settling:upload", spooled=True),
    "after a large file was sent": Point(
        "picas.stores.postgres.store:PostgresStore.put_attachment", "after", spooled=True
    ),
    "settled, and does not know": Point("picas.stores.postgres.store:PostgresStore.exchange", "after", 2, spooled=True),
    "before the spool is cut back": Point("picas.pilot.spool:Spool.forget", "before", 2, spooled=True),
    "after the spool was cut back": Point("picas.pilot.spool:Spool.forget", "after", 2),
    "before files are removed": Point("picas.command:CommandActor._clean_up", "before", 2),
    "before it signs off": Point("picas.command:CommandActor._sign_off"),
    "after it signed off": Point("picas.command:CommandActor._sign_off", "after"),
    "before the spool is removed": Point("picas.pilot.spool:Spool.close"),
    "in the middle of its removal": Point("picas.pilot.spool:_remove", "after", 2),
}
"""Where the first pilot dies."""

RECOVERY = {
    "before a spool is opened": Point("picas.pilot.rescue:open_spool", spooled=True),
    "when it is locked and read": Point("picas.pilot.rescue:open_spool", "after", spooled=True),
    "before results are looked up": Point("picas.pilot.rescue:hand_in", "after", spooled=True),
    "before a result is handed in": Point("picas.pilot.rescue:_settle", spooled=True),
    "handed in, and does not know": Point("picas.pilot.rescue:Rescue._tell", spooled=True),
    "before a spool is removed": Point("picas.pilot.inherited:Inherited.remove", spooled=True),
    "in the middle of its removal": Point("picas.pilot.inherited:_discard", "after", spooled=True),
    "before silent pilots are looked for": Point("picas.pool:Pool.recover"),
    "after silent pilots were looked for": Point("picas.pool:Pool.recover", "after"),
    "after the second look": Point("picas.pool:Pool.recover", "after", 2),
    "when it has claimed": Point("picas.pilot.settling:Settler.exchange", "after"),
}
"""Where the second one dies, which finds what the first has left."""

_HOOK = """
import functools, importlib, os, signal

def die():
    os.kill(os.getpid(), signal.SIGKILL)

where, when, nth = (os.environ.get("SITE_KILL") or "||0").rsplit("|", 2)
if where:
    module_name, _, path = where.partition(":")
    place = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        place = getattr(place, part)
    original, calls = getattr(place, name), 0

    @functools.wraps(original)
    def patched(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(nth) and when == "before":
            die()
        if calls == int(nth) and when == "torn":
            handle, data = args
            os.lseek(handle, 0, os.SEEK_END)
            os.write(handle, data[: len(data) // 2])
            die()
        answer = original(*args, **kwargs)
        if calls == int(nth) and when == "after":
            die()
        return answer

    setattr(place, name, patched)
"""


def hook(site: Site) -> None:
    """Have the site's pilots look for a point at which to die."""
    folder = site.folder / "hooks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    site.environ["PYTHONPATH"] = path


def aim(site: Site, point: Point | None) -> None:
    """The next pilots of the site die at this point; None: at none."""
    site.environ["SITE_KILL"] = f"{point.where}|{point.when}|{point.nth}" if point else ""


def spools(site: Site) -> list[Path]:
    """Spools of pilots that are left."""
    return [path.parent for path in (site.folder / "spool").glob("pilots/*/*/results")]
