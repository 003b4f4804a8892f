"""Which kind of database a URL names. What sets the kinds apart is in a module for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from tamiyo_service.store import sqlite
from tamiyo_service.store.database import (
    PATIENCE_SECONDS,
    READ_CONNECTIONS,
    Database,
    DatabaseUnusableError,
    DatabaseUrlError,
)
from tamiyo_service.store.sqlite import SqliteDatabase

__all__ = [
    "PATIENCE_SECONDS",
    "READ_CONNECTIONS",
    "Database",
    "DatabaseUnusableError",
    "DatabaseUrlError",
    "database_at",
    "insert_rows",
]

_FORMS = "write sqlite:///tamiyo.db or postgresql://USER:PASSWORD@HOST/DATABASE"


def database_at(url: str, *, patience: float = PATIENCE_SECONDS) -> Database:
    """The database that a URL names; nothing is connected yet.

    Args:
        url: an SQLAlchemy URL of SQLite or PostgreSQL.
        patience: seconds to wait for others, and for a server that is away.

    Raises:
        DatabaseUrlError: if the URL is malformed or names another kind of database.
    """
    parsed = _parsed(url)
    kind, _, driver = parsed.drivername.partition("+")
    if kind == "sqlite":
        return SqliteDatabase(parsed, patience=patience)
    if kind != "postgresql":
        raise DatabaseUrlError(f"databases of kind {kind!r} are not supported; {_FORMS}")
    if driver not in ("", "psycopg"):
        raise DatabaseUrlError(f"the driver {driver!r} is not supported; {_FORMS}")
    try:
        from tamiyo_service.store.postgresql import PostgresqlDatabase
    except ImportError as error:
        raise DatabaseUrlError(
            f"PostgreSQL needs psycopg ({error}): pip install 'esper-tamiyo[postgres]'; or use sqlite"
        ) from error
    return PostgresqlDatabase(parsed.set(drivername="postgresql+psycopg"), patience=patience)


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows within a transaction, each in the order of the table's columns after its id.

    Many rows go into one statement: the driver gives up the interpreter once for all of them.
    """
    if connection.dialect.name == "sqlite":
        sqlite.insert_rows(connection, table, rows)
    else:
        from tamiyo_service.store import postgresql

        postgresql.insert_rows(connection, table, rows)


def _parsed(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        # The text is kept out of the message: there may be a password in it.
        raise DatabaseUrlError(f"that is no database URL; {_FORMS}") from error
