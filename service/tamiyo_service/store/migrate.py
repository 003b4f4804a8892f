"""Bringing a database's schema up to date with Alembic."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from tamiyo_service.store.database import READ_ONLY, WRITABLE_REMEDY
from tamiyo_service.store.dialect import PATIENCE_SECONDS, Database, DatabaseUnusableError, database_at
from tamiyo_service.store.schema import journal
from tamiyo_service.store.sqlite import SqliteDatabase

REVISION: Final = "0006"
"""The schema this version works with: the latest migration."""
_VERSION_TABLE: Final = "alembic_version"
_SCRIPTS: Final = "tamiyo_service:migrations"
_NAME_IT: Final = "name it with --database-url"


class DatabaseAbsentError(DatabaseUnusableError):
    """There is no database of Tamiyo where one should be."""


class Migration(NamedTuple):
    """A step from one schema to the next.

    Attributes:
        revision: the schema it leads to.
        what: what it does, in a sentence.
    """

    revision: str
    what: str


def prepare_database(url: str) -> None:
    """Make a database ready for use: create it, or bring its schema up to date; quick if it is.

    Args:
        url: an SQLAlchemy URL.

    Raises:
        DatabaseUrlError: if the URL cannot be used.
        DatabaseUnusableError: if the database cannot be used.
    """
    database = database_at(url)
    try:
        prepare(database)
    finally:
        database.dispose()


def prepare(database: Database) -> None:
    """The same for a database at hand.

    Raises:
        DatabaseUnusableError: if it cannot be used.
    """
    try:
        if _look_up_revision(database, to_write=True) != REVISION:
            _upgrade(database)
    except (SQLAlchemyError, OSError) as error:
        raise database.unusable(error) from error


def is_file_missing(database: Database) -> bool:
    """Whether a database is a file that is not there yet, and may be made. Nothing is changed.

    Raises:
        DatabaseUnusableError: if it cannot be made, or its place cannot be looked at.
    """
    try:
        if not isinstance(database, SqliteDatabase) or database.path.exists():
            return False
        database.require_place()
    except OSError as error:
        raise database.unusable(error) from error
    return True


def schema_revision(database: Database, *, to_write: bool = False) -> str | None:
    """The revision a database's schema has; None: there is none yet. Nothing is changed.

    Args:
        database: to look at.
        to_write: whether it is of no use if it only answers questions.

    Raises:
        DatabaseUnusableError: if it cannot be used.
    """
    try:
        return _look_up_revision(database, to_write=to_write)
    except (SQLAlchemyError, OSError) as error:
        raise database.unusable(error) from error


def require_current(url: str, *, patience: float = PATIENCE_SECONDS) -> None:
    """Return if a database has the tables that this version works with. Nothing is changed.

    Args:
        url: an SQLAlchemy URL.
        patience: seconds to wait for others who use it.

    Raises:
        DatabaseUrlError: if the URL cannot be used.
        DatabaseAbsentError: if there is no such database, or nothing in it.
        DatabaseUnusableError: if its tables are another's, or of another version; if it cannot be used.
    """
    database = database_at(url, patience=patience)
    try:
        if is_file_missing(database):
            raise DatabaseAbsentError(database.url, "there is no such database", _NAME_IT)
        revision = schema_revision(database)
        if revision is None:
            raise DatabaseAbsentError(database.url, "it has no tables of Tamiyo", _NAME_IT)
        if revision != REVISION:
            what = f"it has the tables of another version of Tamiyo ({revision}, not {REVISION})"
            remedy = "use that version"
            if revision < REVISION:
                remedy += ", or bring them up to date with `tamiyo migrate`"
            raise DatabaseUnusableError(database.url, what, remedy)
    finally:
        database.dispose()


def pending(revision: str | None) -> tuple[Migration, ...]:
    """The migrations that a database of this revision lacks, in the order they are applied.

    Args:
        revision: one that this version knows; None: an empty database.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    steps = ScriptDirectory.from_config(config).walk_revisions(revision or "base", "head")
    found = [Migration(step.revision, step.doc) for step in steps if step.revision != revision]
    return tuple(reversed(found))


def upgrade(database: Database) -> None:
    """Apply every migration the database lacks, all in one transaction; one process at a time."""
    # Alembic brings a templating engine along; only a new or older database needs it.
    from alembic import command
    from alembic.config import Config

    with database.writer.begin() as connection:
        database.lock_schema(connection)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", _SCRIPTS)
        command.upgrade(config, "head")


def _upgrade(database: Database) -> None:
    from alembic.util import CommandError

    try:
        upgrade(database)
    except CommandError as error:
        raise DatabaseUnusableError(
            database.url,
            f"a newer Tamiyo has written it ({error})",
            "use that version, or a copy from before",
        ) from error


def _look_up_revision(database: Database, *, to_write: bool) -> str | None:
    database.require_place()
    with database.untouched().connect() as connection:
        database.require_fit(connection)
        if to_write and database.is_read_only(connection):
            raise DatabaseUnusableError(database.url, READ_ONLY, WRITABLE_REMEDY)
        return _revision(connection, database)


def _revision(connection: Connection, database: Database) -> str | None:
    """The revision of the schema; None for an empty database.

    Raises:
        DatabaseUnusableError: if the tables are somebody else's.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if not tables >= {_VERSION_TABLE, journal.name}:
        some = ", ".join(sorted(tables)[:3])
        raise database.foreign(f"{some}{' …' if len(tables) > 3 else ''}")
    revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()
    return revision
