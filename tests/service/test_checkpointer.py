"""The write-ahead log stays short under writes that never pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tamiyo_service.store.checkpointer import Checkpointer
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.sqlite import SqliteDatabase, checkpoint

from tests.service.conftest import serving, sql_store

TEXT = "x" * 8192


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = database_at(f"sqlite:///{tmp_path / 'log.db'}")
    assert isinstance(database, SqliteDatabase)
    with database.writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE filler (text TEXT)")
    yield database
    database.dispose()


def starts_of(database: SqliteDatabase) -> int:
    """How often the log has started over: a counter in the head of its file."""
    with database.path.with_name("log.db-wal").open("rb") as log:
        head = log.read(16)
    return int.from_bytes(head[12:16], "big")


def write(connection: Connection) -> None:
    with connection.begin():
        connection.exec_driver_sql("INSERT INTO filler VALUES (?)", (TEXT,))


def starts_over(database: SqliteDatabase, checkpointer: Checkpointer, writes: int) -> bool:
    """Whether the log starts over within this many writes that follow each other without a pause."""
    checkpointer.start()
    with database.writer.connect() as connection:
        write(connection)
        first = starts_of(database)
        for _ in range(writes):
            write(connection)
            checkpointer.wrote(connection, 1)
            if starts_of(database) > first:
                return True
    return False


def test_a_log_that_is_never_copied_only_grows(database: SqliteDatabase) -> None:
    checkpointer = Checkpointer(database, entries_between=1_000_000)
    assert not starts_over(database, checkpointer, 300)
    checkpointer.close()


def test_a_log_that_is_copied_starts_over_although_writes_never_pause(database: SqliteDatabase) -> None:
    checkpointer = Checkpointer(database, entries_between=1, long_log=20)
    assert starts_over(database, checkpointer, 10_000)
    checkpointer.close()


def test_copying_does_not_wait_for_a_transaction_under_way(database: SqliteDatabase) -> None:
    with database.writer.begin() as connection:
        connection.exec_driver_sql("INSERT INTO filler VALUES ('x')")
        assert database.checkpoint() > 0


def test_the_writers_own_copy_leaves_no_transaction_behind(database: SqliteDatabase) -> None:
    with database.writer.connect() as connection:
        write(connection)
        assert checkpoint(connection) > 0
        write(connection)
    with database.readers.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM filler").scalar() == 2


async def test_a_store_copies_its_log_while_it_serves(tmp_path: Path) -> None:
    store = sql_store(tmp_path)
    # Reaching inside: four thousand reports would only show the same more slowly.
    assert store._checkpointer is not None
    store._checkpointer._entries_between = 5
    async with serving(store) as service:
        before = (tmp_path / "tamiyo.db").stat().st_size
        for epoch in range(1000):
            await service.report("run", epoch)
            if (tmp_path / "tamiyo.db").stat().st_size > before:
                break
            await asyncio.sleep(0)
        assert (tmp_path / "tamiyo.db").stat().st_size > before
