"""`tamiyo migrate`: a database is up to date before anybody starts on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tamiyo_cli.app import app
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.migrate import REVISION, schema_revision
from typer.testing import CliRunner

FIXTURE = Path(__file__).parents[1] / "fixtures" / "tamiyo-0.1.0.db"
STEPS = [f"{number:04}" for number in range(1, int(REVISION) + 1)]


def migrate(database: Path, *options: str) -> tuple[int, str]:
    """The status, and what was said."""
    url = f"sqlite:///{database}"
    result = CliRunner().invoke(app, ["migrate", "--database-url", url, *options])
    return result.exit_code, result.output


def revision_of(database: Path) -> str | None:
    opened = database_at(f"sqlite:///{database}")
    try:
        return schema_revision(opened)
    finally:
        opened.dispose()


def test_a_database_is_made_and_then_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "new.db"
    code, output = migrate(database, "--json")
    assert (code, json.loads(output)) == (0, {"before": None, "after": REVISION, "applied": STEPS})
    code, output = migrate(database, "--json")
    assert (code, json.loads(output)) == (0, {"before": REVISION, "after": REVISION, "applied": []})


def test_an_older_database_is_brought_up_to_date_and_the_steps_are_told(tmp_path: Path) -> None:
    database = Path(shutil.copy(FIXTURE, tmp_path))
    code, output = migrate(database)
    assert code == 0
    assert [line.split(": ")[0] for line in output.splitlines()[:-1]] == STEPS[1:]
    assert revision_of(database) == REVISION


def test_what_is_no_database_of_tamiyo_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "notes.db"
    database.write_text(
        "not a database, and long enough to be told from an empty file" * 100, encoding="utf-8"
    )
    code, output = migrate(database)
    assert code == 1
    assert output.startswith("tamiyo migrate: ")
