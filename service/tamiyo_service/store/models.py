"""What a store keeps about models: which version is active when, and what each version was at first."""
# ruff: noqa: D102 - the methods are described once, by ModelStore

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, Integer, Select, bindparam, insert, select

from tamiyo_service.store.database import Database
from tamiyo_service.store.schema import activations, model_versions


class ActivationRow(NamedTuple):
    """From a moment on, new runs of a topology use this version."""

    at: int
    topology: str
    name: str
    version: str
    sha256: str
    previous: str | None
    """Name and version that were active before, joined by a hyphen; None: none was."""
    reason: str
    """Why, in the words of whoever did it."""

    @property
    def policy_version(self) -> str:
        """Name and version, joined by a hyphen."""
        return f"{self.name}-{self.version}"

    def after(self, last: ActivationRow | None) -> ActivationRow:
        """The row as it follows the last one of its topology; the last itself if it says just the same."""
        if last is None:
            return self
        if last.policy_version != self.policy_version:
            return self._replace(previous=last.policy_version)
        return last if last.reason == self.reason else self._replace(previous=last.previous)


class ModelVersion(NamedTuple):
    """A version of a model as it was when it was first used."""

    name: str
    version: str
    sha256: str
    at: int


class ModelStore(Protocol):
    """Keeps activations and first uses. Every method may raise `StoreUnavailableError`."""

    async def activate(self, row: ActivationRow) -> ActivationRow:
        """Record an activation after the last one of its topology, unless that says just the same.

        Args:
            row: its `previous` is what was active before any activation.

        Returns:
            What is now the last one of the topology: the row with its true `previous`, or the one before.
        """

    async def activations(self, topology: str | None, limit: int) -> list[ActivationRow]:
        """The latest activations of a topology, or of all; the newest first."""

    async def remember(self, used: ModelVersion) -> ModelVersion:
        """What is known of that version; if nothing is, this is from now on."""

    async def remembered(self) -> list[ModelVersion]:
        """All versions that were ever used."""


_ACTIVATIONS: Final = (
    select(*(column for column in activations.columns if column.name != "id"))
    .order_by(activations.c.id.desc())
    .limit(bindparam("most", type_=Integer))
)
_OF_TOPOLOGY: Final = _ACTIVATIONS.where(activations.c.topology == bindparam("topology"))


class SqlModels:
    """See `ModelStore`.

    Args:
        database: where it is.
        read: asks a question of it.
        do: carries a job out.
    """

    def __init__(
        self,
        database: Database,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        do: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
    ) -> None:
        self._database = database
        self._read = read
        self._do = do

    async def activate(self, row: ActivationRow) -> ActivationRow:
        kept: ActivationRow = await self._do(partial(_activate, self._database, row=row))
        return kept

    async def activations(self, topology: str | None, limit: int) -> list[ActivationRow]:
        statement = _ACTIVATIONS if topology is None else _OF_TOPOLOGY
        rows = await self._all(statement, topology=topology, most=limit)
        return [ActivationRow(*row) for row in rows]

    async def remember(self, used: ModelVersion) -> ModelVersion:
        known: ModelVersion = await self._do(partial(_remember, self._database, used=used))
        return known

    async def remembered(self) -> list[ModelVersion]:
        return [ModelVersion(*row) for row in await self._all(select(*model_versions.columns))]

    async def _all(self, statement: Select[Any], **parameters: Any) -> list[Any]:
        rows: list[Any] = await self._read(lambda connection: list(connection.execute(statement, parameters)))
        return rows


def _activate(database: Database, connection: Connection, row: ActivationRow) -> ActivationRow:
    database.lock_table(connection, activations)
    found = connection.execute(_OF_TOPOLOGY, {"topology": row.topology, "most": 1}).one_or_none()
    last = None if found is None else ActivationRow(*found)
    kept = row.after(last)
    if kept is not last:
        connection.execute(insert(activations).values(kept._asdict()))
    return kept


def _remember(database: Database, connection: Connection, used: ModelVersion) -> ModelVersion:
    connection.execute(database.insert_if_absent(model_versions).values(used._asdict()))
    key = (model_versions.c.name == used.name, model_versions.c.version == used.version)
    return ModelVersion(*connection.execute(select(*model_versions.columns).where(*key)).one())
