from __future__ import annotations

from typing import Any

import pytest

from picas.documents import Document
from picas.jobid import add_job_id, job_ids, remove_job_id

# In the order in which they count.
VARIABLES = {
    "DIRACJOBID": "dirac_job_id",
    "GLITE_WMS_JOBID": "wms_job_id",
    "CREAM_JOBID": "cream_job_id",
    "PBS_JOBID": "pbs_job_id",
    "SLURM_JOB_ID": "slurm_job_id",
}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any batch job in it."""
    for name in [*VARIABLES, "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("variable", "field"), VARIABLES.items())
def test_each_batch_system_has_its_field(variable: str, field: str) -> None:
    assert job_ids({variable: "https://wms/17", "HOME": "/"}) == {field: "https://wms/17"}


@pytest.mark.parametrize("first", range(len(VARIABLES)))
def test_the_first_that_is_set_counts(first: int) -> None:
    present = list(VARIABLES)[first:]
    assert list(job_ids(dict.fromkeys(reversed(present), "http:1"))) == [VARIABLES[present[0]]]


def test_nothing_outside_of_a_batch_job() -> None:
    assert job_ids({"HOME": "/"}) == {}


def test_a_wms_id_that_is_no_url_is_none_and_still_counts() -> None:
    assert job_ids({"GLITE_WMS_JOBID": "none", "PBS_JOBID": "7"}) == {"wms_job_id": None}


def test_a_slurm_array_element_has_both_numbers() -> None:
    slurm = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "2"}
    assert job_ids(slurm) == {"slurm_job_id": "10_2"}


def test_half_a_slurm_array_is_a_plain_job() -> None:
    assert job_ids({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "10"}) == {"slurm_job_id": "12"}
    assert job_ids({"SLURM_ARRAY_JOB_ID": "10"}) == {}


@pytest.mark.parametrize("make", [dict, Document])
def test_add_and_remove_work_on_dicts_and_documents(make: Any, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("SLURM_JOB_ID", "12")
    doc = make({"keep": 1})
    add_job_id(doc)
    assert doc["slurm_job_id"] == "12"
    remove_job_id(doc)
    assert "slurm_job_id" not in doc
    assert doc["keep"] == 1


def test_add_outside_of_a_batch_job_changes_nothing(environ: pytest.MonkeyPatch) -> None:
    doc = {"pbs_job_id": "7"}
    add_job_id(doc)
    assert doc == {"pbs_job_id": "7"}


def test_remove_takes_the_ids_of_every_system() -> None:
    doc = dict.fromkeys(VARIABLES.values(), "1") | {"keep": 1}
    remove_job_id(doc)
    assert doc == {"keep": 1}
