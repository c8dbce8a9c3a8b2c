"""What a database has beyond the waist that runs views in JavaScript and has users: CouchDB."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from picas.errors import Conflict
from picas.rows import Row

__all__ = ["ViewServer"]


class ViewServer(ABC):
    """What a database has beyond the waist that runs views in JavaScript and has users: CouchDB."""

    @abstractmethod
    def rows(
        self, design: str, view: str, params: Mapping[str, Any], keys: Sequence[Any] | None = None
    ) -> tuple[list[Row], dict[str, Any]]:
        """Rows of a view by the server's own parameters, and what else it says of them (``total_rows``, ``offset``)."""

    @abstractmethod
    def document_count(self) -> int:
        """How many documents the database has, design documents included."""

    @abstractmethod
    def put_view(self, design: str, view: str, source: Mapping[str, str]) -> None:
        """Add or replace a view: its ``map`` function, and its ``reduce`` function if it has one."""

    @abstractmethod
    def put_design(self, doc: Mapping[str, Any]) -> str | Conflict:
        """Write a design document as it is given; its new revision."""

    @abstractmethod
    def security(self, new: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Who may use the database: ``admins`` and ``members``, ``names`` and ``roles`` of each.

        ``new`` replaces what there is.
        """

    @abstractmethod
    def users(self) -> list[dict[str, Any]]:
        """The users of the server: ``name`` and ``roles`` of each."""

    @abstractmethod
    def add_user(self, name: str, password: str, roles: Sequence[str]) -> bool:
        """Add a user of the server; False when there is one of that name."""

    @abstractmethod
    def set_password(self, name: str, password: str) -> bool:
        """Give a user another password, and leave all else of it; False when there is none of that name."""
