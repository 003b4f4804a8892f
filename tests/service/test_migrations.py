"""Migrations expand: services of the version before go on writing and reading while they are replaced."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory

CONTRACTING: dict[str, str] = {}
"""Migrations that take something away, and why no service that is still running needs it.

What a version stops using, the version after it may take away, and says so here and in CHANGELOG.md: to
upgrade past it then means to stop everything that is older.
"""
ADDING = re.compile(r"CREATE TABLE |CREATE INDEX |DROP INDEX |ALTER TABLE \S+ ADD COLUMN ")
FORBIDDEN_WITHOUT_DEFAULT = re.compile(r"ADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b")


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", "tamiyo_service:migrations")
    return made


def migrations() -> list[Script]:
    """All but the first, which finds nothing to break, in order."""
    return list(reversed(list(ScriptDirectory.from_config(config()).walk_revisions())))[1:]


def statements(migration: Script, dialect: str) -> list[str]:
    """What a migration tells a database."""
    told = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": told})
    with Operations.context(context):
        migration.module.upgrade()
    return [" ".join(statement.split()) for statement in told.getvalue().split(";") if statement.strip()]


def takes_away(statement: str) -> bool:
    """Whether a service that does not know of the statement may fail because of it."""
    return ADDING.match(statement) is None or FORBIDDEN_WITHOUT_DEFAULT.search(statement) is not None


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("migration", migrations(), ids=lambda migration: migration.revision)
def test_a_migration_only_adds_or_is_known_to_take_away(migration: Script, dialect: str) -> None:
    found = statements(migration, dialect)
    assert found
    if migration.revision not in CONTRACTING:
        assert [statement for statement in found if takes_away(statement)] == []


def test_what_takes_away_is_told_from_what_adds() -> None:
    adds = ["CREATE TABLE a (b TEXT NOT NULL)", "DROP INDEX x", "ALTER TABLE a ADD COLUMN c TEXT"]
    adds += ["ALTER TABLE a ADD COLUMN c INTEGER DEFAULT '0' NOT NULL", "CREATE INDEX x ON a (b)"]
    takes = ["DROP TABLE a", "ALTER TABLE a DROP COLUMN b", "ALTER TABLE a RENAME TO b", "DELETE FROM a"]
    takes += ["ALTER TABLE a ADD COLUMN c TEXT NOT NULL", "ALTER TABLE a ALTER COLUMN b TYPE BIGINT"]
    takes += [
        "CREATE UNIQUE INDEX x ON a (b)",
        "UPDATE a SET b = 1",
        "ALTER TABLE a ADD CONSTRAINT c CHECK (1)",
    ]
    assert not any(map(takes_away, adds))
    assert all(map(takes_away, takes))


@contextmanager
def database_at_revision(folder: Path, revision: str) -> Iterator[sa.Connection]:
    """An SQLite database as the version of that revision made it."""
    engine = sa.create_engine(f"sqlite:///{folder / 'tamiyo.db'}")
    with engine.connect() as connection:
        migrate(connection, revision)
        yield connection
    engine.dispose()


def migrate(connection: sa.Connection, revision: str) -> None:
    with connection.begin():
        settings = Config(attributes={"connection": connection})
        settings.set_main_option("script_location", "tamiyo_service:migrations")
        command.upgrade(settings, revision)


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """The tables there are, those that others refer to first."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def row_for(table: sa.Table, number: int) -> dict[str, Any]:
    """A row as somebody writes it who knows these columns and no others."""
    return {column.name: _value(column, number) for column in table.columns if not column.nullable}


def _value(column: sa.Column[Any], number: int) -> object:
    if isinstance(column.type, sa.Boolean):
        return number == 1
    return f"{column.name}-{number}" if isinstance(column.type, sa.String) else number


@pytest.mark.parametrize(
    "revision", [str(migration.down_revision) for migration in migrations()], ids="from {}".format
)
def test_what_an_earlier_version_writes_is_taken_and_read_after_the_migration(
    tmp_path: Path, revision: str
) -> None:
    with database_at_revision(tmp_path, revision) as connection:
        tables = tables_of(connection)
        assert tables
        rows = [{table.name: row_for(table, number) for table in tables} for number in (1, 2)]
        _insert(connection, tables, rows[0])
        migrate(connection, "head")
        _insert(connection, tables, rows[1])
        for table in tables:
            found = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for written in rows:
                assert any(written[table.name].items() <= row.items() for row in found), table.name


def _insert(connection: sa.Connection, tables: list[sa.Table], rows: dict[str, dict[str, Any]]) -> None:
    for table in tables:
        connection.execute(sa.insert(table).values(rows[table.name]))
    connection.commit()
