"""PiCaS's own configuration file, ``~/.config/picas/conf.yml``: four ``key: value`` lines, read, checked, written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from picas.errors import ConfigError
from picas.files import make_folder, read_text, replace

__all__ = ["KEYS", "VARIABLES", "PicasConfigSchemaError", "check", "given_in", "read", "write"]

KEYS = ("host_url", "database", "username", "encrypted_password")
"""What the file has, all of it and nothing else."""

VARIABLES = {
    "host_url": "PICAS_HOST_URL",
    "database": "PICAS_DATABASE",
    "username": "PICAS_USERNAME",
    "password": "PICAS_PASSWORD",
}
"""The environment variables that win over the file; the password is in clear in its own."""


class PicasConfigSchemaError(ConfigError):
    """A configuration file, or what is to be written to one, does not have its four keys with a text each."""


def given_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what the PiCaS variables say; one that is empty counts as not there."""
    return {key: environ[name] for key, name in VARIABLES.items() if environ.get(name)}


def read(path: Path) -> dict[str, str] | None:
    """Give the keys that the file has, with text as values; None when there is no file.

    Nothing is constructed and no alias expanded: it is read from the YAML parser's events. A key without a value
    counts as not there. Raises ``PicasConfigSchemaError``, which names the line but no value, for any other content
    than such keys, and ``ConfigError`` when the file cannot be read as text.
    """
    import yaml

    text = read_text(path)
    if text is None:
        return None
    try:
        return _values(path, text)
    except yaml.YAMLError as error:
        raise _bad_yaml(path, error) from error


def check(values: Mapping[str, object], where: str) -> None:
    """Raise ``PicasConfigSchemaError`` unless all four keys are there, each a text, and nothing else."""
    if missing := [key for key in KEYS if values.get(key) is None]:
        raise PicasConfigSchemaError(f"{where}: {missing[0]} is missing", hint="picas-cli init writes this file")
    if unknown := [key for key in values if key not in KEYS]:
        raise PicasConfigSchemaError(f"{where}: unknown key {unknown[0]!r}", hint=f"known keys: {', '.join(KEYS)}")
    if wrong := [key for key in KEYS if not isinstance(values[key], str)]:
        raise PicasConfigSchemaError(f"{where}: {wrong[0]} is not a text")


def write(path: Path, values: Mapping[str, str]) -> None:
    """Write the file for its owner alone, with its folder where that is missing; all of it or nothing.

    Raises ``PicasConfigSchemaError`` for values that `check` refuses, ``ConfigError`` when it cannot be written or
    is a symbolic link.
    """
    import yaml

    check(values, str(path))
    text = yaml.safe_dump({key: str(values[key]) for key in KEYS}, default_flow_style=False)
    try:
        make_folder(path.parent)
        replace(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _values(path: Path, text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, value in _scalar_pairs(path, text):
        line = key.start_mark.line + 1
        if key.value not in KEYS:
            hint = f"known keys: {', '.join(KEYS)}"
            raise PicasConfigSchemaError(f"{path} line {line}: unknown key {key.value!r}", hint=hint)
        if key.value in values:
            raise PicasConfigSchemaError(f"{path} line {line}: {key.value} is there twice")
        # Plain, not quoted: YAML's ways to write nothing.
        if not (value.style is None and value.value in {"", "~", "null"}):
            values[key.value] = value.value
    return values


def _scalar_pairs(path: Path, text: str) -> list[tuple[Any, Any]]:
    """Give the (key, value) events of a document that is one flat mapping; an error of ours for any other."""
    import yaml

    frame = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    scalars: list[Any] = []
    expected: type[yaml.Event] = yaml.MappingStartEvent
    for event in events:
        if isinstance(event, frame):
            continue
        if expected is yaml.ScalarEvent and isinstance(event, yaml.MappingEndEvent):
            expected = yaml.StreamEndEvent
        elif not isinstance(event, expected) or getattr(event, "tag", None):
            hint = "one 'key: value' per line, without aliases, tags or nesting"
            raise PicasConfigSchemaError(f"{path} line {event.start_mark.line + 1}: not a plain value", hint=hint)
        elif expected is yaml.ScalarEvent:
            scalars.append(event)
        else:
            expected = yaml.ScalarEvent
    return list(zip(scalars[::2], scalars[1::2], strict=True))


def _bad_yaml(path: Path, error: Exception) -> PicasConfigSchemaError:
    mark = getattr(error, "problem_mark", None)
    where = f"{path} line {mark.line + 1}" if mark else str(path)
    return PicasConfigSchemaError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'it is not text'}")
