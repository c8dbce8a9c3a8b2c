"""A program as people write them for PiCaS, one token at a time; for picasclient and for picas alike, unchanged."""

from typing import Any

from gate import Pilot

from picas.actors import RunActor
from picas.clients import CouchDB
from picas.documents import Task
from picas.modifiers import BasicTokenModifier


class Worker(RunActor):
    """Does nothing with a token but note that it ran."""

    def __init__(self, db: CouchDB, pilot: Pilot) -> None:
        super().__init__(db, view="todo")
        self.modifier = BasicTokenModifier()
        self.pilot = pilot

    def process_task(self, task: Task) -> None:
        self.pilot.ran([task["_id"]])
        task["exit_code"] = 0
        self.modifier.close(task)

    def cleanup_run(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the signature is the library's
        self.pilot.settled()


def main() -> None:
    """Connect, wait at the gate, and work until the view is empty."""
    pilot = Pilot()
    db = CouchDB(pilot.server, pilot.database, pilot.username, pilot.password)
    with pilot.at_work():
        Worker(db, pilot).run()


main()
