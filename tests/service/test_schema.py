"""The database: migrations, durability settings, size."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from tamiyo_service.store import SqlStore, prepare_database
from tamiyo_service.store.dialect import Database, DatabaseUnusableError, DatabaseUrlError, database_at
from tamiyo_service.store.migrate import REVISION, upgrade
from tamiyo_service.store.rows import NewRun
from tamiyo_service.store.schema import metadata
from tamiyo_service.store.statements import (
    last_entry,
    latest_report,
    rewinds,
    version,
)

from tests.service.conftest import sql_store


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return database_at(f"sqlite:///{tmp_path / 'tamiyo.db'}")


def test_migrations_build_the_tables_that_the_statements_use(database: Database) -> None:
    upgrade(database)
    with database.writer.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.dispose()


def test_migrating_twice_changes_nothing(database: Database) -> None:
    upgrade(database)
    upgrade(database)
    with database.writer.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [(REVISION,)]
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


def test_the_revision_is_the_latest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "tamiyo_service:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def _no_database(folder: Path) -> Path:
    (folder / "tamiyo.db").write_bytes(b"not a database" * 1000)
    return folder / "tamiyo.db"


def _foreign(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "tamiyo.db")) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    return folder / "tamiyo.db"


def _newer(folder: Path) -> Path:
    prepare_database(f"sqlite:///{folder / 'tamiyo.db'}")
    with closing(sqlite3.connect(folder / "tamiyo.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return folder / "tamiyo.db"


def _damaged(folder: Path) -> Path:
    prepare_database(f"sqlite:///{folder / 'tamiyo.db'}")
    with (folder / "tamiyo.db").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 4000)
    return folder / "tamiyo.db"


def _file_as_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "tamiyo.db"


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no database": (_no_database, "no SQLite database.*; name another file"),
    "another program's": (
        _foreign,
        r"another program \(its tables are songs\); name another file",
    ),
    "a newer version's": (_newer, "a newer Tamiyo has written it.*; use that version, or a copy from before"),
    "damaged": (_damaged, "damaged.*; put a copy"),
    "a folder": (lambda folder: folder, "that is a folder; name a file in it"),
    "in no folder": (lambda folder: folder / "no" / "tamiyo.db", "there is no folder .*/no; create it"),
    "in a file": (_file_as_folder, "there is no folder .*/file; create it"),
    "where nothing can be written": (lambda _: Path("/proc/tamiyo.db"), "; make sure that the service may"),
    "too long": (lambda folder: folder / ("x" * 300), "File name too long"),
}


@pytest.mark.parametrize(("make", "message"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_database_that_cannot_be_used_is_told_of_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    url = f"sqlite:///{make(tmp_path)}"
    with pytest.raises(DatabaseUnusableError, match=message) as told:
        prepare_database(url)
    assert str(told.value).startswith(f"{url}: ")
    assert "\n" not in str(told.value)
    store = SqlStore(url)
    with pytest.raises(DatabaseUnusableError, match=message):
        await store.open()
    await store.close()


def test_a_database_of_another_program_is_left_as_it_was(tmp_path: Path) -> None:
    before = _foreign(tmp_path).read_bytes()
    with pytest.raises(DatabaseUnusableError):
        prepare_database(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_database_that_is_up_to_date_needs_no_migrations(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    prepare_database(url)
    program = f"from tamiyo_service.store import prepare_database; prepare_database({url!r})"
    program += "; import sys; sys.exit('alembic' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_service_that_cannot_use_its_database_does_not_start(tmp_path: Path) -> None:
    program = "from tamiyo_service import Settings, serve\n"
    program += f"serve(Settings(database_url='sqlite:///{tmp_path}', port=0))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"DatabaseUnusableError: sqlite:///{tmp_path}: that is a folder" in ended.stderr


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
    ],
)
def test_frequent_questions_use_an_index(database: Database, statement: object, index: str) -> None:
    upgrade(database)
    answer = plan(database, statement)
    assert index in answer
    assert "TEMP B-TREE" not in answer or "rewinds" in index
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
