"""Pruning a database by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url
from tamiyo_service.pruning import PruneError, pruning, vacuum
from tamiyo_service.retention.rules import Rules
from tamiyo_service.store import SqlStore, prepare_database
from tamiyo_service.store.dialect import DatabaseUnusableError

from tests.service.clocks import SteppingClock
from tests.service.conftest import sql_store
from tests.service.processes import free_port
from tests.service.retained import make_run

SILENT = Rules(silent_for=timedelta(days=30))


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
async def url(tmp_path: Path, clock: SteppingClock) -> str:
    """A database with a large old run and a small young one."""
    store = sql_store(tmp_path)
    await store.open()
    await make_run(store, clock, "old", epochs=2_000)
    clock.advance(31 * 86_400)
    await make_run(store, clock, "young")
    await store.close()
    return f"sqlite:///{tmp_path / 'tamiyo.db'}"


async def test_space_of_pruned_runs_is_used_again_and_given_back_by_a_vacuum(
    url: str, tmp_path: Path, clock: SteppingClock
) -> None:
    before = (tmp_path / "tamiyo.db").stat().st_size
    async with pruning(url, SILENT, clock=clock) as sweep:
        assert (await sweep.run()).runs == 1
    assert (tmp_path / "tamiyo.db").stat().st_size == before
    store = sql_store(tmp_path)
    await store.open()
    await make_run(store, clock, "next", epochs=1_500)
    await store.close()
    assert (tmp_path / "tamiyo.db").stat().st_size <= before * 1.1
    async with pruning(url, Rules(silent_for=timedelta(microseconds=1)), clock=clock) as sweep:
        assert (await sweep.run()).runs == 2
    vacuumed = vacuum(url)
    assert vacuumed.bytes_before >= before
    assert vacuumed.bytes_after == (tmp_path / "tamiyo.db").stat().st_size < before / 2


async def test_a_database_of_another_version_is_left_as_it_is(url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tamiyo.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(DatabaseUnusableError, match=r"another version of Tamiyo \(0000, .*`tamiyo migrate`"):
        async with pruning(url, SILENT):
            raise AssertionError("it began")
    with closing(sqlite3.connect(tmp_path / "tamiyo.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0000",)


async def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusableError, match="there is no such database"):
        async with pruning(f"sqlite:///{tmp_path / 'none.db'}", SILENT):
            raise AssertionError("it began")
    assert list(tmp_path.iterdir()) == []


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "songs.db")) as connection:
        connection.execute("CREATE TABLE runs (title TEXT)")
    with pytest.raises(DatabaseUnusableError, match="belongs to another program"):
        async with pruning(f"sqlite:///{tmp_path / 'songs.db'}", SILENT):
            raise AssertionError("it began")


def test_a_vacuum_that_cannot_be_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="PostgreSQL reuses the space by itself"):
        vacuum("postgresql://db/tamiyo")
    (tmp_path / "notes.db").write_text("these are notes, no database " * 50)
    with pytest.raises(PruneError, match="could not be vacuumed"):
        vacuum(f"sqlite:///{tmp_path / 'notes.db'}")


def test_an_empty_database_is_vacuumed_too(tmp_path: Path) -> None:
    prepare_database(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    assert vacuum(f"sqlite:///{tmp_path / 'tamiyo.db'}").bytes_after > 0


async def test_every_kind_of_database_is_pruned(database_url: str, clock: SteppingClock) -> None:
    store = SqlStore(database_url)
    await store.open()
    await make_run(store, clock, "old")
    clock.advance(31 * 86_400)
    await make_run(store, clock, "young")
    async with pruning(database_url, SILENT, clock=clock) as sweep:
        assert (await sweep.run()).runs == 1
    assert [await store.run(name) is not None for name in ("old", "young")] == [False, True]
    await store.close()


async def test_a_server_that_is_away_is_told_of(postgres_url: str) -> None:
    away = make_url(postgres_url).update_query_dict({"host": "127.0.0.1", "port": str(free_port())})
    with pytest.raises(DatabaseUnusableError, match="cannot be reached"):
        async with pruning(away.render_as_string(hide_password=False), SILENT):
            raise AssertionError("it began")
