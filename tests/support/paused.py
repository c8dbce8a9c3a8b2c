"""The directed pause: A claims and is stopped, its lease ends, B gets the token, and A goes on as if nothing had been.

A is a process that obeys orders from its standard input; B is the test itself.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from picas.errors import Conflict
from picas.lifecycle import Claimant, Doc, Outcome, Reason, State
from picas.pool import connect
from picas.stores.base import Attachment, Claim, Settlement
from picas.views import View
from support.pilots import until

__all__ = ["ACTS", "LEASE", "SITUATIONS", "Scene"]

LEASE = 1.0
SITUATIONS = ("runs", "finished", "failed")
ACTS = ("renews", "saves", "fails", "releases", "uploads", "logs")

_A = """
import io, json, os, sys, time
from picas import lifecycle
from picas.errors import PicasError
from picas.lifecycle import Claimant, Outcome, Reason, State, state_of
from picas.pool import connect
from picas.stores.base import Attachment, Claim, PilotRecord, Settlement
from picas.views import View

path, lease, guarded = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "guarded"
if not guarded:
    from picas.stores.sqlite import store as sqlite
    for module in (lifecycle, sqlite):
        assert hasattr(module, "holds"), module
        module.holds = lambda doc, fence, pilot=None: state_of(doc) is State.LOCKED

store = connect(path).store
record = PilotRecord(id="A", hostname="a", pid=os.getpid(), started_at=time.time(), lease=lease)
store.beat(record)
(token,) = store.exchange([], Claim(view=View(State.TODO), count=1, claimant=Claimant(pilot="A"))).claimed

def settle(outcome, **files):
    return store.exchange([Settlement(doc=token, outcome=outcome, attachments=files)]).settled[0]

def act(verb):
    if verb == "renews":
        return sorted(store.beat(record).held)
    if verb == "uploads":
        return store.put_attachment(token["_id"], "result", io.BytesIO(b"of A"), fence=token["fence"])
    if verb == "logs":
        return settle(Outcome(), result=Attachment(data=b"of A"), more=Attachment(data=b"of A"))
    return settle({
        "saves": Outcome(changes={"output": "of A"}, attempt={"fence": token["fence"]}),
        "fails": Outcome(reason=Reason.EXCEPTION, exit_code=1, changes={"output": "of A"}),
        "releases": Outcome(reason=Reason.STOPPED, give_back=True),
    }[verb])

print(json.dumps(token["_id"]), flush=True)
for line in sys.stdin:
    try:
        answer = act(line.strip())
    except PicasError as error:
        answer = error
    if isinstance(answer, PicasError):
        answer = {"error": type(answer).__name__, "message": str(answer)}
    print(json.dumps(answer), flush=True)
"""


class Scene:
    """One pool with one token, claimed by A, which is stopped.

    A ``namesake`` of A takes the part of B: the pilot itself, claiming again, whom only the fence tells from A.
    """

    def __init__(self, folder: Path, *, guarded: bool = True, namesake: bool = False) -> None:
        folder.mkdir()
        self._b = "A" if namesake else "B"
        self.path = str(folder / "picas.db")
        with connect(self.path, create=True) as pool:
            pool.add([{"_id": "t", "input": 1}])
        command = [sys.executable, "-c", _A, self.path, str(LEASE), "guarded" if guarded else "unguarded"]
        self._a = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def stop(self) -> None:
        """Stop A as soon as it has claimed."""
        assert self._heard() == "t"
        os.kill(self._a.pid, signal.SIGSTOP)

    def meanwhile(self, situation: str) -> None:
        """A's lease ends; B recovers the token, claims it, and is in this situation with it."""
        self._pool = connect(self.path)
        until("the lease of A ends", lambda: not any(record.alive for record in self._pool.pilots()))
        assert self._pool.recover() == ["t"]
        store = self._pool.store
        claimant = Claimant(pilot=self._b, hostname="b")
        (mine,) = store.exchange([], Claim(view=View(State.TODO), count=1, claimant=claimant)).claimed
        store.put_attachment("t", "result", io.BytesIO(b"of B"), fence=2)
        outcome = _OUTCOMES.get(situation)
        if outcome is not None:
            files = {"log": Attachment(data=b"log of B")}
            (settled,) = store.exchange([Settlement(doc=mine, outcome=outcome, attachments=files)]).settled
            assert not isinstance(settled, Conflict)
        self.before = self.stored()

    def resume(self, act: str) -> Any:
        """A goes on and does this; what it is told."""
        os.kill(self._a.pid, signal.SIGCONT)
        assert self._a.stdin is not None
        self._a.stdin.write(f"{act}\n")
        self._a.stdin.flush()
        return self._heard()

    def stored(self) -> tuple[str, dict[str, bytes]]:
        """The token and its files, to the byte."""
        doc = self._pool.get("t")
        assert doc is not None
        names = doc.get("_attachments", {})
        return json.dumps(doc), {name: b"".join(self._pool.store.get_attachment("t", name)) for name in names}

    def doc(self) -> Doc:
        """The token."""
        doc: Doc = json.loads(self.stored()[0])
        return doc

    def settle_by_b(self) -> None:
        """B, which still runs the token, finishes it."""
        (settled,) = self._pool.store.exchange([Settlement(doc=self.doc(), outcome=Outcome())]).settled
        assert not isinstance(settled, Conflict), settled

    def problems(self) -> list[Any]:
        """What the store finds wrong with itself."""
        return list(self._pool.store.check())

    def close(self) -> None:
        """End A."""
        self._a.kill()
        self._a.communicate()
        if hasattr(self, "_pool"):
            self._pool.close()

    def _heard(self) -> Any:
        assert self._a.stdout is not None
        assert select.select([self._a.stdout], [], [], 20.0)[0], "A says nothing"
        return json.loads(self._a.stdout.readline())


_OUTCOMES = {
    "finished": Outcome(changes={"output": "of B"}, attempt={"fence": 2, "pilot": "B"}),
    "failed": Outcome(reason=Reason.EXIT, exit_code=3, attempt={"fence": 2, "pilot": "B"}),
}
