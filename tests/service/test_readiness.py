"""`/readyz` says 503 from the first write that fails until one succeeds, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, cast

import httpx
import pytest
from psycopg import sql
from sqlalchemy import func, select
from tamiyo_cli.findings import Verdict
from tamiyo_cli.place_checks import store_findings
from tamiyo_service.store import SqlStore, prepare_database
from tamiyo_service.store import sql as sql_store_module
from tamiyo_service.store.dialect import DatabaseUnusableError
from tamiyo_service.store.rows import RunFilter
from tamiyo_service.store.schema import journal, runs
from tamiyo_service.store.trial import try_to_write

from tests.service.conftest import Service, serving, sql_store
from tests.service.postgres import PostgresServer

READ_ONLY: Final = "takes no writes: its server is a standby, or set to read-only"


@pytest.fixture
def at_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check tries a write while writes fail."""
    monkeypatch.setattr(sql_store_module, "_TRIAL_SECONDS", 0.0)


@pytest.fixture
def only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks try a write but once."""
    monkeypatch.setattr(sql_store_module, "_TRIAL_SECONDS", math.inf)


def failures(store: SqlStore) -> int:
    """How many writes have failed."""
    return store.tally.failures["write"]


def limit_pages(store: SqlStore, pages: int) -> None:
    """Let the file grow up to so many pages: SQLite says of its end what it says of the disk's."""
    assert store._transactions.connection is not None
    driver = cast(sqlite3.Connection, store._transactions.connection.connection.dbapi_connection)
    driver.execute(f"PRAGMA max_page_count={pages}")


async def refused(service: Service, first_epoch: int) -> httpx.Response:
    """Report until one is refused."""
    for epoch in range(first_epoch, first_epoch + 100):
        response = await service.report("run", epoch)
        if response.status_code != 200:
            return response
    raise AssertionError("nothing was refused")


@asynccontextmanager
async def full(folder: Path) -> AsyncIterator[tuple[SqlStore, Service]]:
    """A store whose file has no room left, which its service has met."""
    store = sql_store(folder)
    async with serving(store) as service:
        await service.reports("run", 0)
        limit_pages(store, 1)
        assert (await refused(service, 1)).json()["code"] == "store_unavailable"
        yield store, service


async def readiness(service: Service) -> tuple[int, str]:
    """The status of `/readyz`, and its reason."""
    response = await service.http.get("/readyz")
    return response.status_code, response.json().get("detail", "")


@pytest.mark.usefixtures("at_every_check")
async def test_a_full_file_is_not_ready_until_a_write_succeeds(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, service):
        failed = failures(store)
        for _ in range(5):
            status, reason = await readiness(service)
            assert (status, reason.partition(",")[0]) == (503, "the last write failed")
        assert failures(store) == failed + 5
        assert (await service.http.get("/runs/run")).status_code == 200
        limit_pages(store, 1_000_000)
        # No trainer has to come by.
        assert await readiness(service) == (200, "")
        assert failures(store) == failed + 5
        found = await store.runs(RunFilter(), 10)
        assert [run.run_id for run in found.rows] == ["run"]


@pytest.mark.usefixtures("only_once")
async def test_a_write_is_tried_now_and_then_however_many_ask(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, service):
        failed = failures(store)
        for _ in range(2):
            answers = await asyncio.gather(*(readiness(service) for _ in range(10)))
            assert {status for status, _ in answers} == {503}
        assert failures(store) == failed + 1


@pytest.mark.usefixtures("only_once")
async def test_a_write_that_succeeds_is_believed_without_a_trial(tmp_path: Path) -> None:
    async with full(tmp_path) as (store, service):
        assert (await readiness(service))[0] == 503
        limit_pages(store, 1_000_000)
        assert (await readiness(service))[0] == 503
        assert (await service.report("run", 200)).status_code == 200
        assert (await readiness(service))[0] == 200


async def test_a_trial_leaves_nothing_behind(database_url: str) -> None:
    store = SqlStore(database_url)
    async with serving(store) as service:
        await service.reports("run", 0)
        for _ in range(3):
            await store._do(try_to_write)
        counts = [select(func.count()).select_from(table) for table in (runs, journal)]
        assert [(await store._all(count))[0][0] for count in counts] == [1, 1]
        await service.reports("run", 1)
        decided = (await service.get("/runs/run/decisions"))["items"]
        assert [item["epoch"] for item in decided] == [1, 0]


_FULL: Final = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON journal EXECUTE FUNCTION refuse()
"""


@pytest.mark.usefixtures("at_every_check")
async def test_a_server_whose_disk_is_full_is_not_ready_until_a_write_succeeds(
    postgres_server: PostgresServer,
) -> None:
    with postgres_server.database() as name, postgres_server.connect(name) as connection:
        async with serving(SqlStore(postgres_server.url(name))) as service:
            await service.reports("run", 0)
            connection.execute(_FULL)
            await refused(service, 1)
            assert [(await readiness(service))[0] for _ in range(3)] == [503] * 3
            connection.execute("DROP TRIGGER full_disk ON journal")
            assert await readiness(service) == (200, "")


@contextmanager
def read_only(server: PostgresServer, name: str) -> Iterator[None]:
    """A database whose new sessions may only ask questions; there are no old ones."""
    setting = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
    with server.connect() as connection:
        connection.execute(setting.format(sql.Identifier(name), sql.SQL("on")))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(ended, (name,))
        try:
            yield
        finally:
            # Sessions that have begun meanwhile keep it.
            connection.execute(setting.format(sql.Identifier(name), sql.SQL("off")))


async def test_a_server_that_takes_no_writes_is_found_out_before_the_first_one_fails(
    postgres_server: PostgresServer,
) -> None:
    with postgres_server.database() as name:
        async with serving(SqlStore(postgres_server.url(name), patience=0.3)) as service:
            await service.reports("run", 0)
            with read_only(postgres_server, name):
                # The first answers only tell that old sessions were ended.
                for _ in range(10):
                    status, reason = await readiness(service)
                    assert status == 503
                assert READ_ONLY in reason
            assert [await readiness(service) for _ in range(10)] == [(200, "")] * 10
            assert (await service.report("run", 1)).status_code == 200


def test_a_service_does_not_start_on_a_server_that_takes_no_writes_and_doctor_says_so(
    postgres_server: PostgresServer,
) -> None:
    with postgres_server.database() as name:
        url = postgres_server.url(name)
        with read_only(postgres_server, name):
            with pytest.raises(DatabaseUnusableError, match=f"{READ_ONLY}; name the primary server"):
                prepare_database(url)
            (finding,) = store_findings(url)
        assert finding.verdict is Verdict.FAILED
        assert READ_ONLY in finding.detail
        assert "primary" in finding.remedy
        prepare_database(url)
