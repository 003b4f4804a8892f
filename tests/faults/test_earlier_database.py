"""A database of version 0.1.0 is migrated and served by services that start on it at the same moment."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from tamiyo_client import TamiyoClient
from tamiyo_service.store.migrate import REVISION

from tests.contract.test_earlier_databases import kept_in
from tests.faults.services import Service, running, starting
from tests.fixtures.story import continue_growing, history

FIXTURE: Final = Path(__file__).parents[1] / "fixtures" / "tamiyo-0.1.0.db"
AT_ONCE: Final = 3


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A copy of the earlier version's database."""
    return Path(shutil.copy(FIXTURE, tmp_path))


@pytest.fixture
def answers() -> dict[str, Any]:
    """What the earlier version answered."""
    told: dict[str, Any] = json.loads(FIXTURE.with_suffix(".json").read_text(encoding="utf-8"))
    return told


@pytest.fixture
def services(database: Path) -> Iterator[list[Service]]:
    """Several services that start on it at the same moment, and are all ready."""
    with ExitStack() as stack:
        started = [stack.enter_context(starting(f"sqlite:///{database}")) for _ in range(AT_ONCE)]
        for service in started:
            service.await_ready()
        yield started


def client_of(service: Service) -> TamiyoClient:
    return TamiyoClient(service.url, deadline=30.0, strict=True)


def revisions(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    found = [revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]
    connection.close()
    return found


def test_services_that_start_at_once_migrate_it_once_and_answer_as_it_was(
    services: list[Service], database: Path, answers: dict[str, Any]
) -> None:
    assert revisions(database) == [REVISION]
    for service in services:
        with client_of(service) as client:
            assert kept_in(history(client), answers["history"]) == answers["history"]


def test_what_one_of_them_goes_on_with_the_others_know(
    services: list[Service], answers: dict[str, Any]
) -> None:
    one, two, _ = services
    with client_of(one) as client:
        assert continue_growing(client) == answers["continuation"]
        known = history(client)
    with client_of(two) as client:
        assert history(client) == known


def test_a_service_that_is_killed_while_it_migrates_leaves_it_for_the_next_to_migrate(
    database: Path, answers: dict[str, Any]
) -> None:
    log = database.with_name(database.name + "-wal")
    for _ in range(3):
        for file in database.parent.iterdir():
            file.unlink()
        shutil.copy(FIXTURE, database)
        with starting(f"sqlite:///{database}") as service:
            # The first sign of its having touched the file.
            while not log.exists():
                assert service.is_alive()
            service.kill()
    assert revisions(database)
    with running(f"sqlite:///{database}") as service, client_of(service) as client:
        assert kept_in(history(client), answers["history"]) == answers["history"]
        assert continue_growing(client) == answers["continuation"]
    assert revisions(database) == [REVISION]
