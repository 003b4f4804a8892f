"""Deleting expired runs from a database by hand, whether or not services use it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tamiyo_service.clock import Clock, utc_now
from tamiyo_service.retention.archive import open_archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.store import SqlStore
from tamiyo_service.store.migrate import REVISION

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
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        raise PruneError("only SQLite files are vacuumed; PostgreSQL reuses the space by itself")
    path = Path(parsed.database or "").absolute()
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


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise PruneError("that is no database URL; write sqlite:///tamiyo.db") from error


def _require_current(url: str) -> None:
    """Return if the database has the tables that this version works with.

    Raises:
        PruneError: if not.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise PruneError(f"there is no database {parsed.database!r}; name it with --database-url")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        with create_engine(parsed, poolclass=NullPool, hide_parameters=True).connect() as connection:
            there = inspect(connection).has_table(_VERSIONS)
            version = (
                connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar() if there else None
            )
    except SQLAlchemyError as error:
        raise PruneError(f"{parsed!r} cannot be opened: {error}") from error
    if version is None:
        raise PruneError(f"{parsed!r} is no database of Tamiyo; name another with --database-url")
    if version != REVISION:
        raise PruneError(
            f"{parsed!r} has the tables of another version of Tamiyo ({version}, not {REVISION}); "
            "use that version, or start the service of this one, which brings them up to date"
        )
