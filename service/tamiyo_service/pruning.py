"""Deleting expired runs from a database by hand, whether or not services use it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from tamiyo_service.clock import Clock, utc_now
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.store import SqlStore
from tamiyo_service.store.database import shown
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.migrate import REVISION
from tamiyo_service.store.sqlite import SqliteDatabase

_PATIENCE_SECONDS: Final = 30.0
_VERSIONS: Final = "alembic_version"


class PruneError(Exception):
    """The database cannot be pruned as it is; the message says why and what to do."""


class Vacuumed(NamedTuple):
    """Sizes of a database file and its log."""

    bytes_before: int
    bytes_after: int


@asynccontextmanager
async def pruning(
    url: str, rules: Rules, *, archive: Path | None = None, clock: Clock = utc_now
) -> AsyncIterator[Sweep]:
    """A sweep over a database. It may be in use; its schema is left as it is.

    Args:
        url: an SQLAlchemy URL.
        rules: which runs expire.
        archive: where they go first; None: nowhere.
        clock: tells the present moment.

    Raises:
        DatabaseUrlError: if the URL cannot be used.
        PruneError: if there is no database of this version of Tamiyo.
        ArchiveError: if the archive cannot be used.
        DatabaseUnusableError: if the database cannot be used otherwise.
    """
    # Whoever has to share a database with a busy service can wait.
    store = SqlStore(url, patience=_PATIENCE_SECONDS)
    _require_current(url)
    opened = None if archive is None else open_archive(archive)
    await store.open()
    try:
        yield Sweep(store, rules, clock, archive=opened)
    finally:
        await store.close()


def vacuum(url: str) -> Vacuumed:
    """Rewrite an SQLite database without its free pages; nobody can write to it meanwhile.

    Raises:
        PruneError: if it is no SQLite database, or cannot be rewritten now.
    """
    database = database_at(url)
    if not isinstance(database, SqliteDatabase):
        raise PruneError("only SQLite files are vacuumed; PostgreSQL reuses the space by itself")
    path = database.path.absolute()
    before = _size(path)
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise PruneError(
            f"{path} could not be vacuumed ({error}): it takes as much free disk as the database is large, "
            "and nobody else who writes; what was pruned is gone all the same, and its space is reused"
        ) from error
    return Vacuumed(before, _size(path))


def _size(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _require_current(url: str) -> None:
    """Return if the database has the tables that this version works with.

    Raises:
        PruneError: if not.
    """
    database = database_at(url, patience=_PATIENCE_SECONDS)
    place = shown(database.url)
    if isinstance(database, SqliteDatabase) and not database.path.is_file():
        raise PruneError(f"there is no database {database.path}; name it with --database-url")
    try:
        with database.untouched().connect() as connection:
            version = _version(connection)
    except SQLAlchemyError as error:
        raise PruneError(f"{place} cannot be opened: {error}") from error
    if version is None:
        raise PruneError(f"{place} is no database of Tamiyo; name another with --database-url")
    if version != REVISION:
        raise PruneError(
            f"{place} has the tables of another version of Tamiyo ({version}, not {REVISION}); "
            "use that version, or start the service of this one, which brings them up to date"
        )


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS):
        return None
    version: str | None = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()
    return version
