"""The design documents of a pool: the views of PiCaS in JavaScript, and beside them those that our claims need.

``Monitor``, and each design document with a condition, has the five views that PiCaS programs and people use. What is
ours is in a design document of its own, ``picas`` or ``picas.NAME``, so that the others stay as they are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from picas.errors import PicasError, UsageError
from picas.rows import OVERVIEW
from picas.selectors import Selector, to_javascript
from picas.views import MONITOR, Design

__all__ = [
    "AFTER",
    "COMPANION",
    "CONFLICT",
    "HELD",
    "INDEX",
    "LOCKED",
    "TODO",
    "VIEWS",
    "all_of",
    "companion_of",
    "companion_views",
    "design_of",
    "is_companion",
    "is_usual",
    "views_of",
]

COMPANION = "picas"
INDEX = "index"
"""The one view of a companion; `companion_views` tells of its rows, each of one of these kinds."""
TODO, HELD, LOCKED, AFTER, CONFLICT = "todo", "held", "locked", "after", "conflict"
_MARK = "picas"
_PARTS = ("map", "reduce")

_NUMBERS = 'doc.type === "token" && typeof doc.lock === "number" && typeof doc.done === "number"'
_ENDED = f"{_NUMBERS} && doc.lock > 0 && doc.done > 0"
_STATES = {
    "todo": f"{_NUMBERS} && doc.lock === 0 && doc.done === 0",
    "locked": f"{_NUMBERS} && doc.lock > 0 && doc.done === 0",
    "done": f"{_ENDED} && parseInt(doc.exit_code) === 0",
    "error": f"{_ENDED} && parseInt(doc.exit_code) !== 0",
}
_HELD = f"{_NUMBERS} && doc.lock < 0"
VIEWS = (*_STATES, OVERVIEW)
"""What every design document of a pool has."""


def companion_of(design: str) -> str:
    """The design document with what our claims need beside this one."""
    return COMPANION if design == MONITOR.name else f"{COMPANION}.{design}"


def is_companion(design: str) -> bool:
    """Whether a design document is one of ours, and none that people claim from."""
    return design == COMPANION or design.startswith(f"{COMPANION}.")


def all_of(kind: str) -> dict[str, Any]:
    """The range of keys of one kind."""
    return {"startkey": [kind], "endkey": [kind, {}]}


def views_of(design: Design) -> dict[str, Any]:
    """The design document itself, without its revision."""
    if is_companion(design.name):
        raise UsageError(f"{design.name!r} is kept for what picas itself needs", hint="choose another name")
    views = {name: {"map": _emits(_where(test, design.selector), "doc._id, doc._id")} for name, test in _STATES.items()}
    lines = [f'if ({_where(test, design.selector)}) {{ emit("{name}", 1); }}' for name, test in _STATES.items()]
    views[OVERVIEW] = {"map": _function("\n  ".join(lines)), "reduce": "_sum"}
    source = design.selector.source if design.selector else None
    mark = {} if design == MONITOR else {_MARK: {"selector": source}}
    return {"_id": f"_design/{design.name}", "language": "javascript", "views": views, **mark}


def companion_views(design: Design) -> dict[str, Any]:
    """The design document beside it, with one view, ``index``, whose rows are of several kinds.

    ``[todo, -priority, not_before]`` with what a token requires as value is the queue to claim from; ``[held]`` are
    held tokens. For ``Monitor`` there are also ``[locked, pilot]`` with a claim's fence and whether it is cancelled,
    ``[after, id]`` for who waits for a token, ``[conflict]`` for what two servers of a cluster took at once. One view,
    since a server's work for it, at each change of a token, is by the number of views.
    """
    kinds = [
        f"if ({_where(_STATES['todo'], design.selector)}) {{",
        f'  emit(["{TODO}", {_QUEUE_KEY}], doc.requires === undefined ? null : doc.requires);',
        f"}} else if ({_where(_HELD, design.selector)}) {{",
        f'  emit(["{HELD}"], null);',
        *(_WAITING if design == MONITOR else ()),
        *(_HOLDERS if design == MONITOR else ()),
        "}",
        *([f'if (doc._conflicts) {{ emit(["{CONFLICT}"], doc._conflicts.length); }}'] if design == MONITOR else ()),
    ]
    views = {INDEX: {"map": _function("\n  ".join(kinds)), "reduce": "_count"}}
    return {"_id": f"_design/{companion_of(design.name)}", "language": "javascript", "views": views}


def is_usual(doc: Mapping[str, Any]) -> bool:
    """Whether the ``todo`` view of a design document is the one that we, or the scripts of PiCaS, make.

    Then our index beside it has the same tokens. One that somebody wrote otherwise may have others.
    """
    view = (doc.get("views") or {}).get("todo")
    text = str(view.get("map", "")) if isinstance(view, Mapping) else ""
    mark, name = doc.get(_MARK), str(doc["_id"]).partition("/")[2]
    try:
        design = Design.from_source(name, mark.get("selector") if isinstance(mark, Mapping) else None)
    except PicasError:
        return False
    ours = views_of(design)["views"]["todo"]["map"]
    return text == ours or (design.selector is None and _bare(text) in _PICAS_TODO)


def _bare(text: str) -> str:
    """A map function without what makes no difference to these few."""
    return re.sub(r"[\s;{}()]", "", text).replace("===", "==").replace("'", '"').replace("&&", "")


_PICAS_TODO = frozenset(
    f'functiondocifdoc.type=="token"{between}{condition}emitdoc._id,doc._id'
    for between in ("", "if")
    for condition in ("doc.lock==0doc.done==0", "doc.done==0doc.lock==0")
)


def design_of(doc: Mapping[str, Any]) -> Design | None:
    """A design document as a `Design`: with its condition when it is ours, else with its views as they are written.

    None for one of our companions, and for one that has no views.
    """
    name = str(doc["_id"]).partition("/")[2]
    views = {key: view for key, view in (doc.get("views") or {}).items() if isinstance(view, Mapping)}
    maps = {key: {part: str(view[part]) for part in _PARTS if part in view} for key, view in views.items()}
    maps = {key: parts for key, parts in maps.items() if "map" in parts}
    if is_companion(name) or not maps:
        return None
    if name == MONITOR.name:
        return MONITOR
    if isinstance(doc.get(_MARK), Mapping):
        return Design.from_source(name, doc[_MARK].get("selector"))
    return Design.handwritten(name, maps)


_NUMBER_OR_NONE = '(typeof doc.{0} === "number" ? doc.{0} : 0)'
_QUEUE_KEY = f"0 - {_NUMBER_OR_NONE.format('priority')}, {_NUMBER_OR_NONE.format('not_before')}"
_HOLDERS = (
    f"}} else if ({_STATES['locked']}) {{",
    "  var claim = doc.claim;",
    '  if (claim && claim.at === doc.lock && claim.fence === doc.fence && typeof claim.pilot === "string") {',
    f'    emit(["{LOCKED}", claim.pilot], [claim.fence, doc.cancel === claim.fence]);',
    "  }",
)
_WAITING = (
    "  var after = doc.after, i;",
    '  for (i = 0; after && typeof after === "object" && i < after.length; i += 1) {',
    f'    if (typeof after[i] === "string") {{ emit(["{AFTER}", after[i]], null); }}',
    "  }",
)


def _where(test: str, selector: Selector | None) -> str:
    return f"{test} && ({to_javascript(selector)})" if selector else test


def _emits(test: str, key_and_value: str) -> str:
    return _function(f"if ({test}) {{ emit({key_and_value}); }}")


def _function(body: str) -> str:
    return f"function (doc) {{\n  {body}\n}}"
