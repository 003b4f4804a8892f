"""PostgreSQL, through psycopg."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from tamiyo_service.store.database import (
    READ_CONNECTIONS,
    READ_ONLY,
    WRITABLE_REMEDY,
    DatabaseUnusableError,
    DatabaseUrlError,
)
from tamiyo_service.store.libpq import ALONE_ROWS, NEXT_ID, insert_journal
from tamiyo_service.store.rows import Entry, OutcomeRow
from tamiyo_service.store.schema import journal

_OLDEST: Final = 130_000
"""PostgreSQL 13, as the server tells it."""
_SCHEMA_LOCK: Final = 0x74616D69796F
"""Of the advisory locks: who changes the schema has it. ``tamiyo`` in ASCII."""

_SESSION: Final = text(
    "SELECT set_config('synchronous_commit', 'on', false), set_config('lock_timeout', :patience, false), "
    "set_config('default_transaction_isolation', 'read committed', false)"
)
# The next id is read first, then the locks, which the condition on it sees to: who takes a lock after that
# takes higher ids.
_SETTLED: Final = text(
    f"WITH next AS MATERIALIZED ({NEXT_ID}) "
    "SELECT least(next.id, (SELECT min(next.id - ((next.id - l.objid::bigint) & 4294967295)) FROM pg_locks l "
    "WHERE next.id > 0 AND l.locktype = 'advisory' AND l.objsubid = 2 "
    "AND l.classid = 'journal_id_seq'::regclass::oid "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))) FROM next"
)

_RETRIED: Final = re.compile("08|57P0[1-5]|40001|40P01|53300|25006|26000")
"""SQLSTATEs that another attempt may not meet: connection lost, server stopping or starting, deadlock,
too many connections, a server that has become a standby, a prepared statement that a pooler has lost."""
_FAULTS: Final = (
    ("database .* does not exist", "there is no such database", "create it (createdb), or name another"),
    (
        "authentication failed|no password supplied|role .* does not exist|no pg_hba.conf entry",
        "the server does not let this user in",
        "correct user and password in the URL, or the server's pg_hba.conf",
    ),
    ("permission denied", "the user has not the rights", "let the user create and use tables in its schema"),
    ("read-only transaction", READ_ONLY, WRITABLE_REMEDY),
    ("", "it cannot be reached", "start the server, or correct host and port"),
)


class PostgresqlDatabase:
    """A `Database` on a PostgreSQL server.

    Args:
        url: names user, server and database.
        patience: seconds to wait for others' locks, and for a network that gives no answer.

    Raises:
        DatabaseUrlError: if it names no database.
    """

    def __init__(self, url: URL, *, patience: float) -> None:
        if not url.database:
            raise DatabaseUrlError(
                "name a database, such as postgresql://USER:PASSWORD@HOST/tamiyo, or use sqlite:///tamiyo.db"
            )
        self.url = url
        self._patience = patience
        self.writer = self._engine(poolclass=NullPool)
        event.listen(self.writer, "connect", self._prepare_writer)
        event.listen(self.writer, "begin", _begin)
        pool = {"poolclass": QueuePool, "pool_size": READ_CONNECTIONS, "max_overflow": 0}
        self.readers = self._engine(isolation_level="AUTOCOMMIT", **pool)

    def require_place(self) -> None:
        """Return: the server tells, once it is asked."""

    def note_place(self) -> None:
        """Return: a server looks after its files itself."""

    def require_same_place(self) -> None:
        """Return: a connection is to a server, wherever that keeps its files."""

    def untouched(self) -> Engine:
        """An engine that keeps no connection."""
        return self._engine(poolclass=NullPool)

    def require_fit(self, connection: Connection) -> None:
        """Return if the server is young enough and the database holds every character.

        Raises:
            DatabaseUnusableError: if not.
        """
        version, encoding = connection.execute(
            text("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')")
        ).one()
        if version < _OLDEST:
            what = f"its server is PostgreSQL {version // 10_000}"
            raise DatabaseUnusableError(self.url, what, f"use PostgreSQL {_OLDEST // 10_000} or later")
        if encoding != "UTF8":
            what = f"its encoding is {encoding}"
            raise DatabaseUnusableError(self.url, what, "create one with ENCODING 'UTF8'")

    def is_read_only(self, connection: Connection) -> bool:
        """Whether a new session could not write."""
        if not _refuses_writes(connection):
            return False
        with self.untouched().connect() as fresh:
            refuses = _refuses_writes(fresh)
        if not refuses:
            # A session keeps the setting that it began with.
            connection.invalidate()
        return refuses

    def unusable(self, error: SQLAlchemyError | OSError) -> DatabaseUnusableError:
        """What an error on opening the database means."""
        reason = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        # The driver has no codes for what happens before there is a connection.
        what, remedy = next((what, remedy) for sign, what, remedy in _FAULTS if re.search(sign, reason))
        return DatabaseUnusableError(self.url, f"{what} ({reason})", remedy)

    def foreign(self, tables: str) -> DatabaseUnusableError:
        """The error for a schema that belongs to another program."""
        what = f"its schema belongs to another program (its tables are {tables})"
        return DatabaseUnusableError(self.url, what, "name another database")

    def dispose(self) -> None:
        """Close every connection."""
        self.readers.dispose()
        self.writer.dispose()

    def lock_schema(self, connection: Connection) -> None:
        """Wait until nobody else changes the schema, and keep them away until the transaction ends."""
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})

    def lock_table(self, connection: Connection, table: Table) -> None:
        """Wait until nobody else writes to the table, and keep them away until the transaction ends."""
        connection.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))

    def append_alone(
        self, connection: Connection, entries: Sequence[Entry], outcomes: Sequence[OutcomeRow]
    ) -> bool:
        """Insert all in one statement, unless there are many entries."""
        if not 0 < len(entries) <= ALONE_ROWS:
            return False
        insert_journal(connection, entries, outcomes)
        return True

    def append_at_once(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Tell that it was not done: a server has to be waited for."""
        return False

    def insert_if_absent(self, table: Table) -> Insert:
        """An INSERT that leaves an existing row of the same unique key as it is."""
        return postgresql.insert(table).on_conflict_do_nothing()

    def may_pass(self, error: DBAPIError) -> bool:
        """Whether the same may succeed on a new connection."""
        reason = error.orig
        if error.connection_invalidated or not isinstance(reason, psycopg.Error):
            return error.connection_invalidated
        if reason.sqlstate is None:
            # No connection came about, or it broke without a word.
            return isinstance(reason, psycopg.OperationalError)
        return _RETRIED.match(reason.sqlstate) is not None

    def settled_below(self, connection: Connection) -> int:
        """No entry that cannot be seen yet has or will have an id below this."""
        return cast(int, connection.execute(_SETTLED).scalar_one())

    def _engine(self, **options: Any) -> Engine:
        arguments = {
            "client_encoding": "utf8",
            "application_name": "tamiyo",
            # libpq takes whole seconds, and one for two.
            "connect_timeout": max(2, math.ceil(self._patience)),
            "tcp_user_timeout": max(1, round(self._patience * 1000)),
            "keepalives_idle": max(1, math.ceil(self._patience)),
        }
        chosen = {key: value for key, value in arguments.items() if key not in self.url.query}
        return create_engine(self.url, connect_args=chosen, hide_parameters=True, **options)

    def _prepare_writer(self, connection: psycopg.Connection[Any], _record: object) -> None:
        # A statement by itself is a transaction by itself; `_begin` begins the longer ones.
        connection.autocommit = True
        # Else psycopg drops the statements prepared here together with its own.
        connection.prepare_threshold = None
        patience = f"{max(1, round(self._patience * 1000))}ms"
        connection.execute(_SESSION.text.replace(":patience", "%s"), (patience,))


def _refuses_writes(connection: Connection) -> bool:
    return bool(connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on")


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows within a transaction; see `dialect.insert_rows`."""
    for start in range(0, len(rows), ALONE_ROWS):
        chunk = rows[start : start + ALONE_ROWS]
        if table is journal:
            insert_journal(connection, cast(Sequence[Entry], chunk), ())
        else:
            statement = _insert_statement(table, len(chunk))
            connection.exec_driver_sql(statement, tuple(itertools.chain.from_iterable(chunk)))


@lru_cache(maxsize=4 * ALONE_ROWS)
def _insert_statement(table: Table, count: int) -> str:
    columns = [column for column in table.columns if column.name != "id"]
    names = ", ".join(column.name for column in columns)
    row = f"({', '.join(['%s'] * len(columns))})"
    return f"INSERT INTO {table.name} ({names}) VALUES {', '.join([row] * count)}"


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
