"""A pool of tokens in a database, and pilots that work it anywhere: laptops, clusters, grids.

Names are imported when they are first used, so that ``import picas`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picas.actors import RunActor
    from picas.clients import CouchDB
    from picas.documents import Document, Job, Task, User
    from picas.functions import FunctionActor, work
    from picas.futures import Executor, map  # noqa: A004 - as in concurrent.futures
    from picas.iterators import EndlessViewIterator, PrioritizedViewIterator, TaskViewIterator, ViewIterator
    from picas.pool import connect

    __version__: str

__all__ = [
    "CouchDB",
    "Document",
    "EndlessViewIterator",
    "Executor",
    "FunctionActor",
    "Job",
    "PrioritizedViewIterator",
    "RunActor",
    "Task",
    "TaskViewIterator",
    "User",
    "ViewIterator",
    "__version__",
    "connect",
    "map",
    "work",
]

_HOMES = {
    "CouchDB": "clients",
    "Document": "documents",
    "EndlessViewIterator": "iterators",
    "Executor": "futures",
    "FunctionActor": "functions",
    "Job": "documents",
    "PrioritizedViewIterator": "iterators",
    "RunActor": "actors",
    "Task": "documents",
    "TaskViewIterator": "iterators",
    "User": "documents",
    "ViewIterator": "iterators",
    "connect": "pool",
    "map": "futures",
    "work": "functions",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("picas")
    if name not in _HOMES:
        raise AttributeError(f"module 'picas' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"picas.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
