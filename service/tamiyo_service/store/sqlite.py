"""SQLite: one file, in WAL mode, flushed with every transaction."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event, func, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from tamiyo_service.store.database import (
    READ_CONNECTIONS,
    DatabaseLostError,
    DatabaseUnusableError,
    DatabaseUrlError,
)
from tamiyo_service.store.rows import Entry, OutcomeRow
from tamiyo_service.store.schema import journal

ALONE_ROWS: Final = 32
"""Rows in one INSERT, far below SQLite's limit of parameters."""
_STEP_ROWS: Final = 4
"""An INSERT of as many rows or more has a multiple of them."""
_PAGE_SIZE: Final = "PRAGMA page_size=8192"
"""A row of about 2 KiB fills a page of 8 KiB better than one of 4. Only a new file takes it."""
_WAL: Final = "PRAGMA journal_mode=WAL"
_PRAGMAS: Final = (
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # The store checkpoints on a thread of its own, off the way of the writes.
    "PRAGMA wal_autocheckpoint=0",
)
_SWITCH_SECONDS: Final = 0.005
"""Between two tries to switch a new file to a write-ahead log."""
_RIGHTS: Final = "make sure that the service may read and write the file and its folder"
_FAULTS: Final = {
    "SQLITE_NOTADB": ("that is no SQLite database", "name another file, or put a copy of yours in its place"),
    "SQLITE_CORRUPT": ("the database is damaged", "put a copy of it in its place"),
    "SQLITE_BUSY": ("another process keeps it locked", "end that process, or start again later"),
    "SQLITE_FULL": ("the disk is full", "free some of it"),
    "SQLITE_IOERR": ("the disk fails or is full", "free some of it, or mend it"),
    "SQLITE_READONLY": ("it cannot be written", _RIGHTS),
}


class SqliteDatabase:
    """A `Database` in a file.

    Args:
        url: names the file.
        patience: seconds to wait while another process writes.

    Raises:
        DatabaseUrlError: if it names none.
    """

    def __init__(self, url: URL, *, patience: float) -> None:
        if not url.database or url.database == ":memory:":
            raise DatabaseUrlError("name a file, such as sqlite:///tamiyo.db: memory is not durable")
        self.url = url
        self._patience = patience
        self.path: Final = Path(url.database)
        self._file: tuple[int, int] | None = None
        """Device and number of the file that was opened."""
        self.writer = self._engine(connections=1)
        event.listen(self.writer, "begin", self._begin_immediate)
        self._waits = True
        """Whether the writer's connection waits for other processes."""
        self.readers = self._engine(connections=READ_CONNECTIONS)
        self._checkpointing = self._engine(connections=1)

    def require_place(self) -> None:
        """Return if the file is there, or may be made.

        Raises:
            DatabaseUnusableError: if it cannot be.
            OSError: if the path cannot be looked at.
        """
        folder = self.path.absolute().parent
        if self.path.is_dir():
            raise DatabaseUnusableError(self.url, "that is a folder", "name a file in it, such as tamiyo.db")
        if not folder.is_dir():
            raise DatabaseUnusableError(
                self.url, f"there is no folder {folder}", "create it, or name another"
            )
        # SQLite keeps its log beside the file.
        for place in (folder, self.path):
            if place.exists() and not os.access(place, os.W_OK):
                raise DatabaseUnusableError(self.url, f"{place} cannot be written", _RIGHTS)

    def note_place(self) -> None:
        """Take note of which file it is, unless the URL names it in a way that only SQLite understands."""
        with suppress(OSError):
            self._file = _file_at(self.path)

    def require_same_place(self) -> None:
        """Return if the path still leads to the file that was noted, if one was.

        Raises:
            DatabaseLostError: if not.
        """
        if self._file is None:
            return
        try:
            found = _file_at(self.path)
        except OSError as error:
            raise DatabaseLostError(f"{self.path} was removed while it was in use: {error}") from error
        if found != self._file:
            raise DatabaseLostError(f"{self.path} was replaced by another file while it was in use")

    def untouched(self) -> Engine:
        """An engine that keeps no connection and leaves the file's settings as they are."""
        arguments = {"timeout": self._patience}
        return create_engine(self.url, connect_args=arguments, hide_parameters=True, poolclass=NullPool)

    def require_fit(self, connection: Connection) -> None:
        """Return: every SQLite database fits."""

    def is_read_only(self, connection: Connection) -> bool:
        """Tell that it is not: whether a file can be written is known by writing."""
        connection.execute(text("SELECT 1"))
        return False

    def unusable(self, error: SQLAlchemyError | OSError) -> DatabaseUnusableError:
        """What an error on opening the database means."""
        reason = error.orig if isinstance(error, DBAPIError) else error
        # Extended names begin with the plain one: SQLITE_READONLY_DIRECTORY.
        name = getattr(reason, "sqlite_errorname", "")
        for start, (what, remedy) in _FAULTS.items():
            if name.startswith(start):
                return DatabaseUnusableError(self.url, f"{what} ({reason})", remedy)
        return DatabaseUnusableError(self.url, f"it cannot be opened ({reason})", _RIGHTS)

    def foreign(self, tables: str) -> DatabaseUnusableError:
        """The error for a file that belongs to another program."""
        what = f"it belongs to another program (its tables are {tables})"
        return DatabaseUnusableError(self.url, what, "name another file")

    def dispose(self) -> None:
        """Close every connection."""
        self._checkpointing.dispose()
        self.readers.dispose()
        self.writer.dispose()

    def lock_schema(self, connection: Connection) -> None:
        """Return: BEGIN IMMEDIATE has locked all of the file."""

    def lock_table(self, connection: Connection, table: Table) -> None:
        """Return: BEGIN IMMEDIATE has locked all of the file."""

    def append_alone(
        self, connection: Connection, entries: Sequence[Entry], outcomes: Sequence[OutcomeRow]
    ) -> bool:
        """Insert the entries in one statement, unless there are many, or outcomes besides."""
        if outcomes or len(entries) > ALONE_ROWS:
            return False
        try:
            self._insert(connection, entries, waits=True)
        except sqlite3.Error as error:
            raise DBAPIError.instance("INSERT", None, error, sqlite3.Error, hide_parameters=True) from error
        return True

    def append_at_once(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Insert the entries in one statement, unless another process is writing."""
        try:
            self._insert(connection, entries, waits=False)
        except (sqlite3.Error, ValueError, TypeError, OverflowError):
            # The driver's own errors, too, are for the writer's thread to tell of.
            return False
        return True

    def insert_if_absent(self, table: Table) -> Insert:
        """An INSERT that leaves an existing row of the same unique key as it is."""
        return sqlite.insert(table).on_conflict_do_nothing()

    def may_pass(self, error: DBAPIError) -> bool:
        """Tell that it will not: there is no connection to lose, and `patience` has been waited for locks."""
        return False

    def settled_below(self, connection: Connection) -> int:
        """The next id, more or less: with one writer at a time ids rise with commits."""
        return int(connection.execute(select(func.coalesce(func.max(journal.c.id), 0) + 1)).scalar_one())

    def checkpoint(self) -> int:
        """Copy the write-ahead log into the database, as far as no reader is in the way.

        Uses a connection of its own and never blocks the writer.

        Returns:
            Pages in the log.
        """
        with self._checkpointing.connect() as connection:
            return checkpoint(connection)

    def _insert(self, connection: Connection, entries: Sequence[Entry], *, waits: bool) -> None:
        driver = _driver(connection)
        self._wait_for_others(driver, waits)
        driver.execute(*_insertion(journal, entries))

    def _begin_immediate(self, connection: Connection) -> None:
        self._wait_for_others(_driver(connection), True)
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _wait_for_others(self, driver: sqlite3.Connection, waits: bool) -> None:
        if waits is not self._waits:
            driver.execute(f"PRAGMA busy_timeout={int(1000 * self._patience) if waits else 0}")
            self._waits = waits

    def _before_connecting(self, *_connecting: object) -> None:
        # A connection to another file would mix two databases, and one to none would make it.
        self.require_same_place()

    def _engine(self, *, connections: int) -> Engine:
        """An engine with this many connections."""
        pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
        arguments = {"timeout": self._patience, "check_same_thread": False}
        engine = create_engine(self.url, connect_args=arguments, hide_parameters=True, **pool)
        event.listen(engine, "do_connect", self._before_connecting)
        event.listen(engine, "connect", partial(_prepare, patience=self._patience))
        return engine


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows within a transaction; see `dialect.insert_rows`."""
    for start in range(0, len(rows), ALONE_ROWS):
        connection.exec_driver_sql(*_insertion(table, rows[start : start + ALONE_ROWS]))


def checkpoint(connection: Connection) -> int:
    """Copy the write-ahead log through this connection, outside any transaction; the pages in the log."""
    try:
        _busy, pages, _copied = _driver(connection).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        raise DBAPIError.instance("PRAGMA wal_checkpoint", None, error, sqlite3.Error) from error
    return int(pages)


def _file_at(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _insertion(table: Table, rows: Sequence[tuple[Any, ...]]) -> tuple[str, tuple[Any, ...]]:
    """One INSERT of at most `ALONE_ROWS` rows, and its parameters.

    The driver keeps the statements that it has met, and one of many rows takes 150 kB. So there are few of
    them: empty rows, beyond the statement's limit, make up the number.
    """
    count = len(rows)
    spare = -count % _STEP_ROWS if count > _STEP_ROWS else 0
    nothing = itertools.repeat(None, spare * len(rows[0]))
    return _insert_statement(table, count + spare), (*itertools.chain.from_iterable(rows), *nothing, count)


@lru_cache(maxsize=4 * ALONE_ROWS)
def _insert_statement(table: Table, count: int) -> str:
    names = [column.name for column in table.columns if column.name != "id"]
    row = f"({', '.join('?' * len(names))})"
    values = f"VALUES {', '.join([row] * count)}"
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM ({values}) LIMIT ?"


def _prepare(connection: sqlite3.Connection, _record: object, *, patience: float) -> None:
    # Without this the driver begins transactions by itself, and too late for IMMEDIATE.
    connection.isolation_level = None
    connection.execute(_PAGE_SIZE)
    _enter_wal(connection, patience)
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _enter_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch the file to a write-ahead log, or find that it has one.

    Where several connections switch a new file at the same time SQLite refuses all but one of them without
    waiting: each would wait for the others for ever.
    """
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute(_WAL)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= until:
                raise
        time.sleep(_SWITCH_SECONDS)
