"""Deleting expired runs from a database by hand, whether or not services use it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, NamedTuple

from tamiyo_service.clock import Clock, utc_now
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.store import SqlStore
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.migrate import require_current
from tamiyo_service.store.sqlite import SqliteDatabase

_PATIENCE_SECONDS: Final = 30.0


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
        DatabaseUnusableError: if there is no database of this version of Tamiyo that can be used.
        ArchiveError: if the archive cannot be used.
    """
    # Whoever has to share a database with a busy service can wait.
    store = SqlStore(url, patience=_PATIENCE_SECONDS)
    require_current(url, patience=_PATIENCE_SECONDS)
    opened = None if archive is None else open_archive(archive)
    await store.open()
    try:
        yield Sweep(store, rules, clock, archive=opened)
    finally:
        await store.close()


def require_vacuumable(url: str) -> SqliteDatabase:
    """The database, if it is one that is vacuumed.

    Raises:
        PruneError: if it is not.
    """
    database = database_at(url)
    if not isinstance(database, SqliteDatabase):
        raise PruneError(
            "only SQLite files are vacuumed; PostgreSQL reuses the space by itself: leave --vacuum out"
        )
    return database


def vacuum(url: str) -> Vacuumed:
    """Rewrite an SQLite database without its free pages; nobody can write to it meanwhile.

    Raises:
        PruneError: if it is no SQLite database, or cannot be rewritten now.
    """
    path = require_vacuumable(url).path.absolute()
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
