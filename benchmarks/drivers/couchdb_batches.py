"""A pilot of picas that settles a batch together with the claim of the next one, and keeps its lease meanwhile."""

import os
import socket
import sys
import time
from urllib.parse import quote

from gate import Pilot

from picas.iterators import pilot_id
from picas.lifecycle import Claimant, Doc, Outcome, State
from picas.pilot.heart import Heart
from picas.stores import open_store
from picas.stores.base import Claim, PilotRecord, Settlement, TokenStore
from picas.views import View


def settle(store: TokenStore, held: list[Doc], wish: Claim) -> list[Doc]:
    """Settle what is held, and claim what is next."""
    answer = store.exchange([Settlement(doc=doc, outcome=Outcome()) for doc in held], wish)
    for refused in answer.settled:
        if not isinstance(refused, dict):
            print(refused, file=sys.stderr)
    return answer.claimed


def work(pilot: Pilot, store: TokenStore) -> None:
    """Batch by batch until nothing is left to claim."""
    name, host = pilot_id(), socket.gethostname()
    record = PilotRecord(id=name, hostname=host, pid=os.getpid(), started_at=time.time(), lease=60.0)
    wish = Claim(view=View(State.TODO), count=pilot.batch, claimant=Claimant(pilot=name, hostname=host))
    with Heart(store.twin, record):
        held = settle(store, [], wish)
        while held:
            pilot.ran(doc["_id"] for doc in held)
            held = settle(store, held, wish)
            pilot.settled()


def main() -> None:
    """Connect, wait at the gate, and work until the pool is empty."""
    pilot = Pilot()
    address = f"{pilot.server}/{quote(pilot.database, safe='')}"
    store = open_store(address, username=pilot.username, password=pilot.password, plain=True)
    with pilot.at_work():
        work(pilot, store)
    store.close()


main()
