"""SQLite, written in the event loop: whatever cannot be done there is left to the writer's thread."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Connection
from tamiyo_leyline import RunStatus
from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.migrate import upgrade
from tamiyo_service.store.outage import Outage
from tamiyo_service.store.rows import Entry, InputKind, StatusRow, Write
from tamiyo_service.store.schema import runs
from tamiyo_service.store.sqlite import ALONE_ROWS, SqliteDatabase
from tamiyo_service.store.transactions import AT_ONCE_CHARACTERS, AT_ONCE_ROWS, Transactions

GOOD = Entry(
    run_pk=1,
    seq=1,
    kind=InputKind.REPORT,
    attempt=0,
    epoch=1,
    at=0,
    action="WAIT",
    risk=1,
    policy="heuristic",
    backfill=False,
    hold=None,
    warnings=None,
    events=None,
    payload="{}",
    reply="{}",
    state="[]",
)
_RUN = (
    "INSERT INTO runs (run_id, config, rules_version, policy, created_at, status) "
    "VALUES ('run', '{}', '1', 'heuristic', 0, 'ACTIVE')"
)
BAD = {
    "a number too large": GOOD._replace(at=2**63),
    "half a character": GOOD._replace(payload="\ud800"),
    "a type unknown to SQLite": GOOD._replace(payload={}),  # type: ignore[arg-type]  # that is the point
    "a run that is not there": GOOD._replace(run_pk=2),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = database_at(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    assert isinstance(database, SqliteDatabase)
    upgrade(database)
    yield database
    database.dispose()


@pytest.fixture
def connection(database: SqliteDatabase) -> Iterator[Connection]:
    with database.writer.connect() as connection:
        with connection.begin():
            run = {"run_id": "run", "config": "{}", "rules_version": "1", "policy": "heuristic"}
            connection.execute(runs.insert().values(run | {"created_at": 0, "status": "ACTIVE"}))
        yield connection


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_cannot_be_stored_is_not_told_of_there(
    database: SqliteDatabase, connection: Connection, bad: Entry
) -> None:
    assert not database.append_at_once(connection, [GOOD._replace(seq=2, epoch=2), bad])
    assert database.append_at_once(connection, [GOOD])


def test_rows_of_any_number_are_stored_in_order_by_few_statements(
    database: SqliteDatabase, connection: Connection
) -> None:
    driver = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    statements: set[str] = set()
    rows = itertools.count(1)
    for count in range(1, ALONE_ROWS + 1):
        entries = [GOOD._replace(seq=row, epoch=row) for row in itertools.islice(rows, count)]
        driver.set_trace_callback(lambda sql: statements.add(re.sub(r"\(.*?\)", "()", sql)))
        assert database.append_at_once(connection, entries)
        driver.set_trace_callback(None)
    stored = connection.exec_driver_sql("SELECT seq, payload FROM journal ORDER BY id").all()
    assert stored == [(row, GOOD.payload) for row in range(1, next(rows))]
    assert len({statement.count("()") for statement in statements}) < ALONE_ROWS / 2


def test_nobody_else_is_waited_for(database: SqliteDatabase, connection: Connection) -> None:
    other = SqliteDatabase(database.url, patience=0.0)
    with other.writer.begin():
        assert not database.append_at_once(connection, [GOOD])
    assert database.append_at_once(connection, [GOOD])
    other.dispose()


def test_only_few_and_short_rows_are_written_there(database: SqliteDatabase) -> None:
    transactions = Transactions(database, Outage(0.0), None, StoreTally())
    long = GOOD._replace(payload="x" * AT_ONCE_CHARACTERS)
    try:
        assert transactions.execute([lambda connection: connection.exec_driver_sql(_RUN).rowcount]) == [1]
        assert transactions.execute_at_once([Write((long,))]) is None
        assert transactions.execute_at_once([Write((GOOD,) * (AT_ONCE_ROWS + 1))]) is None
        assert (
            transactions.execute_at_once([Write((GOOD,), status=StatusRow(1, RunStatus.HELD, None))]) is None
        )
        assert transactions.execute_at_once([Write((GOOD,))]) == [None]
    finally:
        transactions.close()
