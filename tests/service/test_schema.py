"""The database: migrations, durability settings, size."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.store import SqlStore
from tamiyo_service.store.dialect import Database, DatabaseUrlError
from tamiyo_service.store.migrate import upgrade
from tamiyo_service.store.rows import DecisionFilter, NewRun, RunFilter
from tamiyo_service.store.schema import metadata
from tamiyo_service.store.statements import (
    decisions,
    last_entry,
    latest_report,
    list_runs,
    rewinds,
    version,
)

from tests.service.conftest import sql_store


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'tamiyo.db'}")


def test_migrations_build_the_tables_that_the_statements_use(database: Database) -> None:
    upgrade(database.writer)
    with database.writer.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.dispose()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    upgrade(database.writer)
    upgrade(database.writer)
    with database.writer.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [("0001",)]
    database.dispose()


async def test_opening_keeps_what_is_there(tmp_path: Path) -> None:
    for created in (True, False):
        store = sql_store(tmp_path)
        await store.open()
        assert (await store.create_run(NewRun("a", "{}", "1", "heuristic", 0)))[1] is created
        await store.close()


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
def test_connections_are_durable_and_patient(database: Database, pragma: str, expected: object) -> None:
    for engine in (database.writer, database.readers):
        with engine.connect() as connection:
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == expected
    database.dispose()


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://localhost/tamiyo", "sqlite://", "sqlite:///:memory:", ""]
)
def test_an_unusable_url_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="sqlite"):
        SqlStore(url)


async def test_a_folder_that_does_not_exist_is_told_of(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'missing' / 'tamiyo.db'}")
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        await store.open()
    await store.close()


async def test_a_file_that_is_no_database_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "tamiyo.db").write_bytes(b"not a database" * 1000)
    store = sql_store(tmp_path)
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        await store.open()
    await store.close()


def plan(database: Database, statement: object) -> str:
    """SQLite's own words on how it would answer."""
    with database.readers.connect() as connection:
        text = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]  # any Select
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
    return " | ".join(row[3] for row in rows)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        # SQLite names the index of a unique constraint by its place: 1 is by seq, 2 by epoch.
        (last_entry(1), "sqlite_autoindex_journal_1 (run_pk=?)"),
        (version(1), "sqlite_autoindex_journal_1 (run_pk=?)"),
        (latest_report(1, 5), "sqlite_autoindex_journal_2 (run_pk=? AND epoch=?)"),
        (rewinds([1]), "ix_journal_rewinds"),
        (decisions(DecisionFilter(run_pk=1), 10), "sqlite_autoindex_journal_1 (run_pk=?)"),
        (decisions(DecisionFilter(actions=frozenset({"CULL"})), 10), "ix_journal_actions"),
        (list_runs(RunFilter(labels=(("team", "vision"),)), 10), "ix_run_labels_value"),
    ],
)
def test_frequent_questions_use_an_index(database: Database, statement: object, index: str) -> None:
    upgrade(database.writer)
    answer = plan(database, statement)
    assert index in answer
    assert "TEMP B-TREE" not in answer or "rewinds" in index
    database.dispose()


def test_the_history_of_all_runs_is_read_in_the_order_of_its_key(database: Database) -> None:
    upgrade(database.writer)
    answer = plan(database, decisions(DecisionFilter(after=100), 10))
    assert "INTEGER PRIMARY KEY" in answer
    assert "TEMP B-TREE" not in answer
    database.dispose()


async def test_a_stopped_store_leaves_one_file(tmp_path: Path) -> None:
    store = sql_store(tmp_path)
    await store.open()
    await store.create_run(NewRun("a", "{}", "1", "heuristic", 0))
    await store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tamiyo.db"]
    connection = sqlite3.connect(tmp_path / "tamiyo.db")
    assert connection.execute("SELECT run_id FROM runs").fetchall() == [("a",)]
    connection.close()
