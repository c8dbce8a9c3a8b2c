"""Where PiCaS programs import from, and that importing has no side effect."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import picas

PATHS = {
    "picas": "CouchDB Document EndlessViewIterator Job PrioritizedViewIterator RunActor Task TaskViewIterator User "
    "ViewIterator connect Executor FunctionActor map work __version__",
    "picas.clients": "CouchDB",
    "picas.documents": "Document Task Job User",
    "picas.iterators": "ViewIterator TaskViewIterator PrioritizedViewIterator EndlessViewIterator",
    "picas.actors": "AbstractRunActor RunActor log",
    "picas.modifiers": "TokenModifier BasicTokenModifier NestedTokenModifier",
    "picas.executers": "execute execute_old",
    "picas.generators": "TokenGenerator",
    "picas.jobid": "add_job_id remove_job_id",
    "picas.util": "Timer merge_dicts seconds time_elapsed",
    "picas.crypto": "generate_and_save_key read_key encrypt_password decrypt_password CRYPTO_KEY_PATH",
    "picas.picas_config": "PicasConfig PicasConfigSchemaError PICAS_CONFIG_SCHEMA",
    "picas.picaslogger": "picaslogger",
    "picas.couchdblogger": "CouchDBLogger default_log_formatter",
    "picas.srm": "SRMClient Downloader download upload download_many upload_many",
    "picas.srmclient": "download Downloader",
    "picas.apps.picas_cli": "main",
}
HEAVY = {"apsw", "typer", "rich", "yaml", "cryptography", "psutil", "urllib3", "couchdb"}


@pytest.mark.parametrize("path", PATHS)
def test_names_are_where_programs_import_them_from(path: str) -> None:
    module = importlib.import_module(path)
    assert [name for name in PATHS[path].split() if not hasattr(module, name)] == []


def test_the_command_of_picas_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="picas-cli")
    assert script.load() is importlib.import_module("picas.apps.picas_cli").main


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
    code = "\n".join(f"from {path} import {', '.join(names.split())}" for path, names in PATHS.items())
    modules, handlers = loaded_after(f"{code}\nfrom picas import *")
    assert set(PATHS) <= modules
    assert handlers == 0
    assert not modules & HEAVY


def test_importing_makes_no_file(tmp_path: Path) -> None:
    code = "\n".join(f"import {path}" for path in PATHS)
    environ = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-B", "-c", code], check=True, cwd=tmp_path, env=environ)
    assert list(tmp_path.iterdir()) == []


def test_names_are_listed_and_found_once() -> None:
    assert set(PATHS["picas"].split()) == set(picas.__all__)
    assert set(picas.__all__) <= set(dir(picas))
    assert picas.Task is picas.Task
    assert picas.__version__.startswith("2.")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nosuch"):
        _ = picas.nosuch  # type: ignore[attr-defined]
