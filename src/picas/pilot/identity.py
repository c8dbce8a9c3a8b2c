"""Who a pilot is: its name, and what it says of itself in its record and in its claims."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from picas import jobid
from picas.iterators import pilot_id
from picas.lifecycle import Claimant
from picas.pilot.options import RunOptions
from picas.stores.base import PilotRecord

__all__ = ["claimant", "introduce"]


def introduce(options: RunOptions, *, name: str | None = None, **said: Any) -> PilotRecord:
    """The record of a pilot of this process, under a name that no other has, with what else is ``said`` of it."""
    return PilotRecord(
        id=name or pilot_id(),
        hostname=socket.gethostname(),
        pid=os.getpid(),
        started_at=time.time(),
        lease=options.lease,
        view=str(options.view),
        job=jobid.job_ids(os.environ),
        job_name=os.environ.get("PICAS_JOB", ""),
        **said,
    )


def claimant(record: PilotRecord, *, cores: int = 0) -> Claimant:
    """The pilot as it claims."""
    return Claimant(pilot=record.id, hostname=record.hostname, cores=cores, job=record.job)
