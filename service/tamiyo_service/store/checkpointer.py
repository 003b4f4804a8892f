"""Keeps the write-ahead log short without standing in the way of the writes.

A thread copies the log into the database while the writer goes on. What the writer adds meanwhile keeps the
log from starting over, so once the log is long the writer itself copies that last bit between two groups.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from tamiyo_service.store.database import Database
from tamiyo_service.store.sqlite import SqliteDatabase, checkpoint

ENTRIES_BETWEEN: Final = 1_000
"""At about 16 KiB of log for each entry, some 16 MiB."""
LONG_LOG_PAGES: Final = 4_096
"""32 MiB. From then on the log's file is written over again, and a flush, which no longer has to note how
long the file is, takes half the time."""

_LOG: Final = structlog.get_logger(__name__)


class Checkpointer:
    """Copies a database's write-ahead log on a thread of its own.

    Args:
        database: whose log it is.
        entries_between: entries written between two copies.
        long_log: from this many pages on the writer helps.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        *,
        entries_between: int = ENTRIES_BETWEEN,
        long_log: int = LONG_LOG_PAGES,
    ) -> None:
        self._database = database
        self._entries_between = entries_between
        self._long_log = long_log
        self._due = threading.Event()
        self._long = threading.Event()
        self._stopping = False
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="tamiyo-checkpointer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def wants_help(self) -> bool:
        """Whether the writer's next transaction is the place to copy."""
        return self._long.is_set()

    def wrote(self, connection: Connection, entries: int) -> None:
        """Tell of a finished transaction; called by the writer, in its thread."""
        self.changed(entries)
        if self._long.is_set():
            self._long.clear()
            self._copy(connection)

    def changed(self, entries: int) -> None:
        """Tell of entries that a transaction wrote or deleted; from any thread."""
        # Deleting a row touches about as many pages as writing it. A lost update only delays a copy.
        self._written += entries
        if self._written >= self._entries_between:
            self._written = 0
            self._due.set()

    def close(self) -> None:
        """Stop the thread."""
        self._stopping = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._due.wait():
            self._due.clear()
            if self._stopping:
                return
            self._copy(None)

    def _copy(self, connection: Connection | None) -> None:
        try:
            pages = self._database.checkpoint() if connection is None else checkpoint(connection)
        except SQLAlchemyError as error:
            # The log only grows meanwhile; writes tell their callers themselves when the disk is at its end.
            _LOG.warning("checkpoint_failed", error=str(error))
            return
        if connection is None and pages >= self._long_log:
            self._long.set()


def checkpointer_of(database: Database) -> Checkpointer | None:
    """A checkpointer, if the database leaves its log to its users."""
    return Checkpointer(database) if isinstance(database, SqliteDatabase) else None
