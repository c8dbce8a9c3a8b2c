"""Options of pilots and tokens about failures: retry rules, commands that say nothing, room on the disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from picas.cli.session import seconds, size

__all__ = ["DryRunOption", "FloorOption", "QuietOption", "RulesOption", "defence", "on_failure"]

RulesOption = Annotated[
    str | None,
    typer.Option(metavar="RULES", help="Which failures are tried again, such as 75:delay=5m,64:never."),
]
DryRunOption = Annotated[bool, typer.Option("--retry-dry-run", help="Only write down what --retry-on would do.")]
QuietOption = Annotated[str | None, typer.Option(metavar="TIME", help="End a command that writes nothing for so long.")]
FloorOption = Annotated[str, typer.Option(metavar="SIZE", help="Claim nothing with less free disk; 0: never mind.")]


def defence(rules: str | None, dry_run: bool, quiet_limit: str | None, disk_floor: str) -> dict[str, Any]:
    """What they are for a pilot; UsageError when one cannot be read."""
    return {
        "retry_on": rules or "",
        "retry_dry_run": dry_run,
        "quiet_limit": seconds(quiet_limit, "--quiet-limit") or 0.0,
        "disk_floor": size(disk_floor, "--disk-floor") or 0.0,
    }


def on_failure(rules: str | None, quiet_limit: str | None) -> dict[str, Any]:
    """What they are in a token."""
    given = {"retry_on": rules, "quiet_limit": quiet_limit}
    return {name: text for name, text in given.items() if text is not None}
