"""What an autopilot is to do: a TOML file with sites, and the kinds of pilots of each. Every key is known, or refused.

pool = "couchdbs://pool.example.org/project"      # else as everywhere: PICAS_POOL, picas.toml, ...

[site.spider]
system = "slurm"
native = ["--account=astro"]

[site.spider.kind.single]
where = "cores=1"
time = "4h"
max = 20
backlog = 10
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picas import amounts
from picas.autopilot.lines import Lines
from picas.config import parse_toml
from picas.errors import ConfigError, UsageError
from picas.files import read_text
from picas.lifecycle import State
from picas.schedulers.sites import NAMES as SYSTEMS
from picas.selectors import Selector, parse_where
from picas.views import MONITOR, View

__all__ = ["Config", "Kind", "Site", "load"]

LEAST_INTERVAL = 1.0


_ALL = View(State.TODO)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Pilots that are alike, and the tokens they are for. Times in seconds, memory in bytes.

    ``where`` is the condition as written, of which ``view`` is then the view that the autopilot makes. ``backlog`` is
    how many ready tokens justify one pilot.
    """

    name: str
    view: View = _ALL
    where: Selector | None = None
    cores: int = 1
    memory: float | None = None
    gpus: int = 0
    time: float | None = None
    queue: str = ""
    native: tuple[str, ...] = ()
    min: int = 0
    max: int
    backlog: int = 1
    idle: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A batch system as this machine reaches it. ``max`` is for all kinds together, None for no such bound.

    ``grace`` is how long the fate of a submission may be unknown, and how long there must be no work before jobs that
    wait are cancelled.
    """

    name: str
    system: str
    kinds: tuple[Kind, ...]
    max: int | None = None
    interval: float = 60.0
    grace: float = 600.0
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Config:
    """All sites of one file; ``pool`` is None where the file does not say which."""

    path: Path
    pool: str | None
    sites: tuple[Site, ...]


def load(path: Path) -> Config:
    """Read a file; ConfigError, in one line with the number of the line and the key, for what is wrong with it."""
    text = read_text(path)
    if text is None:
        raise ConfigError(f"{path}: there is no such file", hint="docs/autopilot.md has one to begin with")
    reader = _Reader(path, Lines(text))
    return reader.config(parse_toml(path, text))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a text of one line")
    return value


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word.isprintable() for word in value):
        raise ValueError('a list of texts such as ["--account=astro"]')
    return tuple(value)


def _count(least: int, most: int = 1_000_000) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def _amount(units: Mapping[str, float], expected: str, least: float = 0.0) -> Callable[[object], float]:
    def read(value: object) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        found = amounts.amount(str(value), units) if is_number or isinstance(value, str) else None
        if found is None or found < least:
            raise ValueError(expected + (f", at least {least:g} s" if least else ""))
        return found

    return read


def _system(value: object) -> str:
    if value not in SYSTEMS:
        raise ValueError(f"one of {', '.join(SYSTEMS)}")
    return str(value)


def _view(value: object) -> View:
    try:
        view = View.parse(_text(value), any_name=True)
    except UsageError as error:
        raise ValueError(f"a view ({error.message})") from None
    if view.state is not State.TODO:
        raise ValueError("a view of tokens to do, such as SingleCore/todo")
    return view


def _where(value: object) -> Selector:
    try:
        return parse_where(_text(value))
    except UsageError as error:
        raise ValueError(f"a condition ({error.message})") from None


_time = _amount(amounts.SECONDS, 'a time such as "90s", "10m" or "4h"')
_Readers = Mapping[str, Callable[[object], Any]]

_TOP: _Readers = {"pool": _text, "site": lambda value: value}
_SITE: _Readers = {
    "system": _system,
    "queue": _text,
    "native": _words,
    "max": _count(0),
    "interval": _amount(amounts.SECONDS, "a time", LEAST_INTERVAL),
    "grace": _time,
    "folder": _text,
    "kind": lambda value: value,
}
_KIND: _Readers = {
    "view": _view,
    "where": _where,
    "cores": _count(1, 4096),
    "memory": _amount(amounts.BYTES, 'a size such as "8 GiB"', 0.0),
    "gpus": _count(0, 1024),
    "time": _amount(amounts.SECONDS, 'a time such as "4h"', 60.0),
    "queue": _text,
    "native": _words,
    "min": _count(0),
    "max": _count(0),
    "backlog": _count(1),
    "idle": _time,
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,19}", re.ASCII)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Lines

    def config(self, values: Mapping[str, Any]) -> Config:
        top = self.read(values, (), _TOP)
        sites = tuple(self.site(name, table) for name, table in self.tables(top, "site", ()))
        return Config(path=self.path, pool=top.get("pool"), sites=sites)

    def site(self, name: str, table: Mapping[str, Any]) -> Site:
        place = ("site", name)
        known = self.read(table, place, _SITE)
        self.need(known, place, "system")
        queue, native = known.pop("queue", ""), known.pop("native", ())
        kinds = tuple(self.kind(place, *kind, queue, native) for kind in self.tables(known, "kind", place))
        del known["kind"]
        folder = self.path.parent / Path(known.pop("folder", ".")).expanduser()
        return Site(name=name, kinds=kinds, folder=folder.absolute(), **known)

    def kind(
        self, site: tuple[str, ...], name: str, table: Mapping[str, Any], queue: str, native: tuple[str, ...]
    ) -> Kind:
        place = (*site, "kind", name)
        known = self.read(table, place, _KIND)
        self.need(known, place, "max")
        if "view" in known and "where" in known:
            raise self.wrong((*place, "where"), "a kind has a view or a condition, not both")
        if known.get("min", 0) > known["max"]:
            raise self.wrong((*place, "min"), f"is {known['min']}, more than max, which is {known['max']}")
        if "where" in known:
            known["view"] = View(State.TODO, name)
            if name == MONITOR.name:
                raise self.wrong(place, f"a kind with a condition cannot be called {name}")
        known["native"] = native + known.get("native", ())
        known.setdefault("queue", queue)
        known.setdefault("backlog", known.get("cores", 1))
        return Kind(name=name, **known)

    def read(self, table: object, place: tuple[str, ...], readers: _Readers) -> dict[str, Any]:
        """The values of a table, read; ConfigError for a key that is not known, or a value that is none."""
        if not isinstance(table, dict):
            raise self.wrong(place, "must be a table")
        for key in table:
            if key not in readers:
                near = difflib.get_close_matches(key, readers, 1, 0.5)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(readers)}"
                raise self.wrong((*place, key), "is no known key", hint)
        found = {}
        for key, value in table.items():
            try:
                found[key] = readers[key](value)
            except ValueError as error:
                raise self.wrong((*place, key), f"{value!r:.80} is not {error}") from None
        return found

    def tables(self, table: Mapping[str, Any], key: str, place: tuple[str, ...]) -> list[tuple[str, Any]]:
        """The named tables under a key, of which there is at least one."""
        found = table.get(key)
        named = ".".join((*place, key))
        if not isinstance(found, dict) or not found:
            raise self.wrong((*place, key), f"there is none; begin one with [{named}.NAME]")
        for name in found:
            if not _NAME.fullmatch(name):
                hint = "a letter first, then letters, digits and _, at most 20"
                raise self.wrong((*place, key, name), "is no name that can be part of a job's", hint)
        return list(found.items())

    def need(self, known: Mapping[str, Any], place: tuple[str, ...], key: str) -> None:
        if key not in known:
            raise self.wrong(place, f"{key} is missing")

    def wrong(self, place: tuple[str, ...], what: str, hint: str = "") -> ConfigError:
        line = self.lines.of(place)
        return ConfigError(f"{self.path}:{line}: {'.'.join(place) or 'the file'}: {what}", hint=hint)
