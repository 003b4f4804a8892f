"""``tamiyo migrate``: a database brought up to date before the services that need it start."""

from __future__ import annotations

import json

import typer
from tamiyo_service.store.dialect import DatabaseUnusableError, DatabaseUrlError, database_at
from tamiyo_service.store.migrate import REVISION, pending, prepare, schema_revision

from tamiyo_cli.environment import settings_for
from tamiyo_cli.terminal import harmless


def migrate_database(database_url: str | None, *, as_json: bool) -> None:
    """Apply the migrations that the database lacks, and tell which.

    Raises:
        typer.Exit: with status 1, after saying why, if it cannot be done.
    """
    url = settings_for("migrate").database_url if database_url is None else database_url
    try:
        before = _brought_up_to_date(url)
    except (DatabaseUrlError, DatabaseUnusableError) as error:
        typer.echo(f"tamiyo migrate: {harmless(str(error))}", err=True)
        raise typer.Exit(1) from error
    applied = pending(before)
    if as_json:
        revisions = [migration.revision for migration in applied]
        typer.echo(json.dumps({"before": before, "after": REVISION, "applied": revisions}))
        return
    for migration in applied:
        typer.echo(f"{migration.revision}: {migration.what}")
    typer.echo(f"the database has schema {REVISION}")


def _brought_up_to_date(url: str) -> str | None:
    """The revision it had before."""
    database = database_at(url)
    try:
        before = schema_revision(database)
        prepare(database)
    finally:
        database.dispose()
    return before
