"""``user``: users of a CouchDB server, and who may use a pool there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from picas.cli.looking import OutputOption
from picas.cli.output import form_for, print_rows, say
from picas.cli.selecting import PoolOption
from picas.cli.session import address, ask_password, keep_password, opened
from picas.errors import NothingMatched, Unsupported, UsageError

if TYPE_CHECKING:
    from picas.stores.viewserver import ViewServer

app = typer.Typer(add_completion=False, rich_markup_mode=None)
user = typer.Typer(
    help="Users of a CouchDB server: add, allow, list, new passwords.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(user, name="user")

NameArgument = Annotated[str, typer.Argument(help="The user's name.")]
RolesOption = Annotated[
    list[str] | None, typer.Option("--role", metavar="ROLE", help="A role of the user.", show_default=False)
]


@user.command()
def add(
    name: NameArgument,
    role: RolesOption = None,
    outside: Annotated[bool, typer.Option("--outside", help="Do not let the user into this pool.")] = False,
    pool: PoolOption = None,
) -> None:
    """Add a user to the server, and let it work this pool as a member. The password is asked for.

    Members run pilots and add tokens; they cannot change views, users, or drop the pool.
    """
    with _server(pool) as server:
        password = ask_password(f"password of the new user {name}: ", twice=True)
        if not server.add_user(name, password, list(role or ())):
            raise UsageError(
                f"there is a user {name} already", hint=f"`picas user allow {name}` lets it into this pool"
            )
        if not outside:
            _let_in(server, "members", [name], [])
    say(f"added user {name}" + ("" if outside else ", a member of this pool"))


@user.command()
def allow(
    names: Annotated[list[str] | None, typer.Argument(metavar="[USER]...", show_default=False)] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="All users with this role.", show_default=False)
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="As administrators of the pool.")] = False,
    pool: PoolOption = None,
) -> None:
    """Let users of the server into this pool, which is closed to all others from then on."""
    if not names and not role:
        raise UsageError("nobody was named", hint="`picas user ls` lists who there is")
    with _server(pool) as server:
        _let_in(server, "admins" if admin else "members", names or [], role or [])
    who = ", ".join([*(names or ()), *(f"role {one}" for one in role or ())])
    say(f"{who}: {'administrator' if admin else 'member'} of this pool")


@user.command()
def passwd(
    name: Annotated[str | None, typer.Argument(help="The user's name; default: yourself.", show_default=False)] = None,
    pool: PoolOption = None,
) -> None:
    """Give a user another password; its roles stay. One that is kept in ~/.config/picas is changed there too."""
    found = address(pool)
    who = name or found.username
    if who is None:
        raise UsageError("no user was named", hint="picas user passwd NAME")
    with _server(pool) as server:
        password = ask_password(f"new password of {who}: ", twice=True)
        if not server.set_password(who, password):
            raise NothingMatched(f"there is no user {who}", hint="`picas user ls` lists who there is")
    say(f"changed the password of {who}")
    if who == found.username and found.origin.endswith("conf.yml"):
        say(f"and in {keep_password(found, password)}")


@user.command()
def ls(output: OutputOption = None, pool: PoolOption = None) -> None:
    """List the users of the server, and what they may do with this pool."""
    with _server(pool) as server:
        security = server.security()
        rows = [
            {"id": one["name"], "roles": " ".join(one["roles"]), "pool": _right(security, one["name"], one["roles"])}
            for one in server.users()
        ]
    print_rows(("id", "roles", "pool"), rows, form_for(output))


@contextmanager
def _server(pool: str | None) -> Iterator[ViewServer]:
    with opened(address(pool)) as found:
        if found.store.server is None:
            raise Unsupported(
                f"{found.url} has no users of its own", hint="who may use a pool in a file is set by its permissions"
            )
        yield found.store.server


def _let_in(server: ViewServer, kind: str, names: Sequence[str], roles: Sequence[str]) -> None:
    security = server.security()
    old = security.get(kind) or {}
    new = {
        "names": [*old.get("names", ()), *(name for name in names if name not in old.get("names", ()))],
        "roles": [*old.get("roles", ()), *(role for role in roles if role not in old.get("roles", ()))],
    }
    server.security({**security, kind: {**old, **new}})


def _right(security: dict[str, dict[str, list[str]]], name: str, roles: Sequence[str]) -> str:
    for kind, word in (("admins", "administrator"), ("members", "member")):
        part = security.get(kind) or {}
        if name in part.get("names", ()) or set(roles) & set(part.get("roles", ())):
            return word
    return ""
