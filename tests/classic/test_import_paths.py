"""Where PiCaS programs import from, and that importing has no side effect."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import picas

PATHS = {
    "picas": "CouchDB Document EndlessViewIterator Job PrioritizedViewIterator RunActor Task TaskViewIterator User "
    "ViewIterator connect __version__",
    "picas.clients": "CouchDB",
    "picas.documents": "Document Task Job User",
    "picas.iterators": "ViewIterator TaskViewIterator PrioritizedViewIterator EndlessViewIterator",
    "picas.actors": "AbstractRunActor RunActor log",
    "picas.modifiers": "TokenModifier BasicTokenModifier NestedTokenModifier",
    "picas.executers": "execute execute_old",
    "picas.generators": "TokenGenerator",
    "picas.jobid": "add_job_id remove_job_id",
    "picas.util": "Timer merge_dicts seconds time_elapsed",
    "picas.picaslogger": "picaslogger",
}
HEAVY = {"apsw", "typer", "rich", "yaml", "cryptography", "psutil", "urllib3", "couchdb"}


@pytest.mark.parametrize("path", PATHS)
def test_names_are_where_programs_import_them_from(path: str) -> None:
    module = importlib.import_module(path)
    assert [name for name in PATHS[path].split() if not hasattr(module, name)] == []


def loaded_after(code: str) -> tuple[set[str], int]:
    """The modules and the number of logging handlers that a fresh interpreter has after running the code."""
    probe = f"{code}\nimport json, logging, sys\nprint(json.dumps([list(sys.modules), len(logging.root.handlers)]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    modules, handlers = json.loads(done.stdout)
    return set(modules), handlers


def test_import_picas_imports_nothing_else() -> None:
    before, _ = loaded_after("")
    after, handlers = loaded_after("import picas")
    assert {name for name in after - before if name.startswith("picas")} == {"picas"}
    assert not after & HEAVY
    assert handlers == 0


def test_bug_7_importing_configures_no_logging() -> None:
    modules, handlers = loaded_after("from picas import *\nfrom picas import actors, clients, executers, picaslogger")
    assert "picas.actors" in modules
    assert handlers == 0
    assert not modules & HEAVY


def test_names_are_listed_and_found_once() -> None:
    assert set(PATHS["picas"].split()) == set(picas.__all__)
    assert set(picas.__all__) <= set(dir(picas))
    assert picas.Task is picas.Task
    assert picas.__version__.startswith("2.")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nosuch"):
        _ = picas.nosuch  # type: ignore[attr-defined]
