"""A database written by an earlier version is opened, migrated, understood and continued."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from tamiyo_cli.local_service import local_service
from tamiyo_client import TamiyoClient

from tests.fixtures.story import continue_growing, history

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.stem.removeprefix("tamiyo-") for path in FIXTURES.glob("tamiyo-*.db"))


@dataclass(frozen=True)
class Earlier:
    """A copy of an earlier version's database, served by today's service.

    Attributes:
        path: the copy.
        client: talks to today's service.
        answers: what the earlier version answered.
    """

    path: Path
    client: TamiyoClient
    answers: dict[str, Any]


@pytest.fixture(params=VERSIONS)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Earlier]:
    """Each earlier database in turn."""
    kept = FIXTURES / f"tamiyo-{request.param}.db"
    path = Path(shutil.copy(kept, tmp_path))
    answers = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
    with local_service(path) as url, TamiyoClient(url, deadline=30.0, strict=True) as client:
        yield Earlier(path, client, answers)


def kept_in(today: Any, earlier: Any) -> Any:
    """What today's answer has of an earlier one: fields that came later are left out."""
    if isinstance(earlier, dict) and isinstance(today, dict):
        return {name: kept_in(today[name], value) for name, value in earlier.items() if name in today}
    if isinstance(earlier, list) and isinstance(today, list) and len(today) == len(earlier):
        return [kept_in(new, old) for new, old in zip(today, earlier, strict=True)]
    return today


def test_there_is_a_database_of_the_first_version() -> None:
    assert "0.1.0" in VERSIONS


def test_database_is_brought_to_the_newest_schema(earlier: Earlier) -> None:
    config = Config()
    config.set_main_option("script_location", "tamiyo_service:migrations")
    newest = ScriptDirectory.from_config(config).get_current_head()
    with sqlite3.connect(earlier.path) as connection:
        [(found,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    assert found == newest


def test_history_is_answered_as_it_was(earlier: Earlier) -> None:
    told = earlier.answers["history"]
    assert kept_in(history(earlier.client), told) == told


def test_run_is_continued_with_the_decisions_it_would_have_had(earlier: Earlier) -> None:
    assert continue_growing(earlier.client) == earlier.answers["continuation"]
