"""``add``: tokens into the pool, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picas.cli import inputs
from picas.cli.defending import QuietOption, RulesOption, on_failure
from picas.cli.output import counted, say
from picas.cli.selecting import PoolOption
from picas.cli.session import open_pool
from picas.errors import Conflict, InvalidToken, PicasError, UsageError
from picas.templates import expand

if TYPE_CHECKING:
    from picas.pool import Pool

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def add(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]", show_default=False, help="The command; {name} stands for a field of the token."
        ),
    ] = None,
    each_line: Annotated[
        str | None, typer.Option(metavar="FILE", help="A token for each line ({line}); - is stdin.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE", help="A token for each row; the first names the fields.")
    ] = None,
    tsv: Annotated[str | None, typer.Option(metavar="FILE", help="The same, separated by tabs.")] = None,
    jsonl: Annotated[str | None, typer.Option(metavar="FILE", help="A token for each line, a JSON object.")] = None,
    range_: Annotated[
        str | None, typer.Option("--range", metavar="A-B[:STEP]", help="A token for each number ({i}).")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V,V", help="A token for each value; several: for each combination.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Make ids of this field: adding again adds nothing.")
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="The id, for one command.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher ones first.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A tag.", show_default=False)] = None,
    requires: Annotated[
        list[str] | None, typer.Option(metavar="NAME=AMOUNT", help="cores=4, memory=8GiB, time=2h.", show_default=False)
    ] = None,
    max_scrub: Annotated[int | None, typer.Option(metavar="N", help="Tries after a failure.")] = None,
    retry_on: RulesOption = None,
    quiet_limit: QuietOption = None,
    after: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Wait until this is done.", show_default=False)
    ] = None,
    hold: Annotated[bool, typer.Option(help="Keep them from pilots until `picas reset`.")] = False,
    pool: PoolOption = None,
) -> None:
    """Add tokens, all of them or, when one is refused, none."""
    source = _source(each_line, csv, tsv, jsonl, range_, sweep, command)
    common = _common(priority, tag, requires, max_scrub, after, hold, id_) | on_failure(retry_on, quiet_limit)
    key = "input" if key == "line" else key
    with open_pool(pool) as opened:
        _warn_of_unknown(opened, after or ())
        try:
            with counted("reading tokens") as count:
                loaded = opened.add(count(_tokens(source, command or (), common)), key=key)
        except InvalidToken as error:
            place = "" if source.place in error.message else f"{source.place}: "
            raise InvalidToken(f"{place}{error.message}; nothing was added", hint=error.hint) from error
    if id_ and loaded.existing:
        raise Conflict(f"token {id_} exists already; nothing was added", hint="another --id, or none to get a new one")
    if loaded.existing:
        say(f"added {loaded.added} tokens; {loaded.existing} were there already")
    else:
        say(f"added {loaded.added} token{'' if loaded.added == 1 else 's'}")


def _warn_of_unknown(pool: Pool, after: Sequence[str]) -> None:
    """A slip in --after holds a token for ever."""
    for token_id, doc in zip(after, pool.store.get(after), strict=True):
        if doc is None:
            say(f"there is no token {token_id} yet; what waits for it is held until it is there and done")


def _source(
    each_line: str | None,
    csv: str | None,
    tsv: str | None,
    jsonl: str | None,
    range_: str | None,
    sweep: Sequence[str] | None,
    command: Sequence[str] | None,
) -> inputs.Source:
    chosen = [
        make(value)
        for make, value in (
            (inputs.from_lines, each_line),
            (lambda path: inputs.from_csv(path, ","), csv),
            (lambda path: inputs.from_csv(path, "\t"), tsv),
            (inputs.from_jsonl, jsonl),
            (inputs.from_range, range_),
        )
        if value is not None
    ]
    if sweep:
        chosen.append(inputs.from_sweeps(sweep))
    if len(chosen) > 1:
        raise UsageError("tokens come from one source at a time", hint="`picas add` once for each")
    if not chosen and not command:
        raise UsageError("there is nothing to add", hint="--each-line, --csv, --jsonl, --range, --sweep or -- COMMAND")
    return chosen[0] if chosen else inputs.Source("the command", lambda _: iter([{}]))


def _common(
    priority: int | None,
    tags: Sequence[str] | None,
    requires: Sequence[str] | None,
    max_scrub: int | None,
    after: Sequence[str] | None,
    hold: bool,
    id_: str | None,
) -> dict[str, Any]:
    """The fields that options give to every token."""
    fields: dict[str, Any] = {"priority": priority, "max_scrub": max_scrub, "_id": id_, "lock": -1 if hold else None}
    fields["tags"] = dict(_pair(tag, "--tag") for tag in tags) if tags else None
    fields["requires"] = {
        name: _amount(text) for name, text in (_pair(r, "--requires") for r in requires or ())
    } or None
    fields["after"] = list(after) if after else None
    fields["hold"] = True if hold else None
    return {name: value for name, value in fields.items() if value is not None}


def _tokens(source: inputs.Source, command: Sequence[str], common: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for fields in source:
        token = {**fields, **common}
        if "tags" in common and isinstance(fields.get("tags"), dict):
            token["tags"] = {**fields["tags"], **common["tags"]}
        if command:
            known = {**fields, **source.texts}
            if source.line and "input" in fields:
                known["line"] = fields["input"]
            try:
                token["command"] = expand(command, known) if known else _verbatim(command)
            except PicasError as error:
                raise InvalidToken(error.message, hint=error.hint) from error
        yield token


def _verbatim(command: Sequence[str]) -> list[str] | str:
    """A single command has no fields, so that nothing in it is replaced."""
    return command[0] if len(command) == 1 and " " in command[0].strip() else list(command)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{option} {text!r} is not NAME=VALUE")
    return name, value


def _amount(text: str) -> float | int | str:
    try:
        return int(text)
    except ValueError:
        return text
