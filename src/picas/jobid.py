"""Which batch job a token runs in: the id that the batch system left in the environment.

Submission systems lie on top of each other (DIRAC or a WMS on CREAM on PBS or Slurm) and each leaves its
variable; only the id of the uppermost is kept, since that is the one its user can look up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Fields", "add_job_id", "job_ids", "remove_job_id"]

_JOB_ID_FIELDS = ("dirac_job_id", "wms_job_id", "cream_job_id", "pbs_job_id", "slurm_job_id", "picas_job")


class Fields(Protocol):
    """What has fields by name and can be changed: a dict, or a ``Document`` around one."""

    def __contains__(self, name: object, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __setitem__(self, name: str, value: Any, /) -> None: ...
    def __delitem__(self, name: str, /) -> None: ...


def job_ids(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Give the field and the id of the batch job that ``environ`` belongs to; ``{}`` outside of any.

    One field at most. ``wms_job_id`` is None when the WMS variable holds no URL, as some sites set it.
    """
    candidates = {
        "dirac_job_id": environ.get("DIRACJOBID"),
        "wms_job_id": environ.get("GLITE_WMS_JOBID"),
        "cream_job_id": environ.get("CREAM_JOBID"),
        "pbs_job_id": environ.get("PBS_JOBID"),
        "slurm_job_id": _slurm_job_id(environ),
        "picas_job": environ.get("PICAS_JOB"),  # the name of a job that picas submitted
    }
    for field, found in candidates.items():
        if found is not None:
            return {field: _url_or_none(found) if field == "wms_job_id" else found}
    return {}


def add_job_id(doc: Fields) -> None:
    """Write this process's batch job id into the document; outside of a batch job it stays as it is."""
    for field, found in job_ids(os.environ).items():
        doc[field] = found


def remove_job_id(doc: Fields) -> None:
    """Take every batch job id out of the document, whichever system it is from."""
    for field in _JOB_ID_FIELDS:
        if field in doc:
            del doc[field]


def _slurm_job_id(environ: Mapping[str, str]) -> str | None:
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    if array is not None and task is not None:
        return f"{array}_{task}"
    return environ.get("SLURM_JOB_ID")


def _url_or_none(found: str) -> str | None:
    return found if found.startswith("http") else None
