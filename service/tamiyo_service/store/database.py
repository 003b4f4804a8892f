"""What the store asks of a database, and what can be wrong with one. Each kind has a module of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, Insert, Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tamiyo_service.store.rows import Entry, OutcomeRow

READ_CONNECTIONS: Final = 4
PATIENCE_SECONDS: Final = 5.0
READ_ONLY: Final = "it takes no writes: its server is a standby, or set to read-only"
WRITABLE_REMEDY: Final = "name the primary server, or see to its default_transaction_read_only"


class DatabaseUrlError(ValueError):
    """The database URL cannot be used; the message says what would be right."""


class DatabaseUnusableError(Exception):
    """The database cannot be used as it is; the message says what is wrong and what to do.

    Args:
        url: of the database; its password is left out.
        what: is wrong with it.
        remedy: what to do.

    Attributes:
        finding: which database it is, and what is wrong with it.
    """

    def __init__(self, url: URL, what: str, remedy: str) -> None:
        self.finding = f"{shown(url)}: {what}"
        super().__init__(f"{self.finding}; {remedy}")


class DatabaseLostError(SQLAlchemyError):
    """The file that was opened is not where it was: what is written to it now nobody finds again."""


class Database(Protocol):
    """One database, through engines: `writer` for one connection at a time, `readers` for a few."""

    url: URL
    writer: Engine
    readers: Engine

    def require_place(self) -> None:
        """Return if there may be a database where the URL says.

        Raises:
            DatabaseUnusableError: if there cannot be one.
            OSError: if the place cannot be looked at.
        """

    def note_place(self) -> None:
        """Take note of what is where the URL says: the database, which was just opened."""

    def require_same_place(self) -> None:
        """Return if the same is still there, or nothing was noted.

        Raises:
            DatabaseLostError: if it was removed, or something else is in its place.
        """

    def untouched(self) -> Engine:
        """An engine that only looks: it keeps no connection and leaves the database as it is."""

    def require_fit(self, connection: Connection) -> None:
        """Return if the database can hold what the service writes.

        Raises:
            DatabaseUnusableError: if it cannot.
        """

    def is_read_only(self, connection: Connection) -> bool:
        """Ask the database whether it only answers questions at present, be it a standby or set so.

        The connection is outside any transaction.
        """

    def unusable(self, error: SQLAlchemyError | OSError) -> DatabaseUnusableError:
        """What an error on opening the database means."""

    def foreign(self, tables: str) -> DatabaseUnusableError:
        """The error for a database that belongs to another program, whose tables these are."""

    def dispose(self) -> None:
        """Close every connection."""

    def lock_schema(self, connection: Connection) -> None:
        """Within a transaction: be the only one who changes the schema until its end."""

    def lock_table(self, connection: Connection, table: Table) -> None:
        """Within a transaction: be the only one who writes to a table until its end."""

    def append_alone(
        self, connection: Connection, entries: Sequence[Entry], outcomes: Sequence[OutcomeRow]
    ) -> bool:
        """Insert in a single statement that is its own transaction, durable on return.

        Saves the statements that begin and end a transaction, and most of what SQLAlchemy does around them.

        Returns:
            Whether it was done; if not, a transaction of several statements has to do it.

        Raises:
            DBAPIError: of the kind that SQLAlchemy would raise.
        """

    def append_at_once(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Do the same without waiting for anybody, in the time that the disk takes.

        Returns:
            Whether it was done; if not, nothing was, for whatever reason.
        """

    def insert_if_absent(self, table: Table) -> Insert:
        """An INSERT that leaves an existing row of the same unique key as it is."""

    def may_pass(self, error: DBAPIError) -> bool:
        """Whether the same may succeed on a new connection: this one is lost, or a deadlock was resolved."""

    def settled_below(self, connection: Connection) -> int:
        """No entry that cannot be seen yet has or will have an id below this.

        Call it before the statement that reads the rows, outside any transaction.
        """


def shown(url: URL) -> str:
    """The URL for people to read: without a password."""
    secret = [key for key in url.query if "password" in key.lower()]
    return url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True)
