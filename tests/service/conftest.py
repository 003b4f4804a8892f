"""A service without sockets, over every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tamiyo_service import Settings
from tamiyo_service.store import MemoryStore, SqlStore, Store
from tamiyo_service.testing import open_app

from tests.service.clocks import SteppingClock
from tests.service.postgres import PostgresServer, postgres
from tests.service.samples import report


@dataclass
class Service:
    """A running service and a way to talk to it."""

    app: FastAPI
    http: httpx.AsyncClient
    store: Store
    clock: SteppingClock

    async def report(self, run_id: str, epoch: int, **fields: Any) -> httpx.Response:
        """Report an epoch."""
        return await self.http.post(f"/runs/{run_id}/epoch", json=report(epoch, **fields))

    async def reports(self, run_id: str, *epochs: int, **fields: Any) -> list[dict[str, Any]]:
        """Report epochs one after the other; the replies."""
        return [(await self.report(run_id, epoch, **fields)).json() for epoch in epochs]

    async def germination(self, run_id: str, first_epoch: int = 0) -> dict[str, Any]:
        """Report a standstill until the first GERMINATE; its reply."""
        for epoch in range(first_epoch, first_epoch + 20):
            (reply,) = await self.reports(run_id, epoch)
            if reply["commands"][0]["command_type"] == "GERMINATE":
                return reply
        raise AssertionError("no germination within 20 epochs")

    async def get(self, path: str) -> Any:
        """What a GET answers with, which must be 200."""
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def serving(store: Store, **settings: Any) -> AsyncIterator[Service]:
    """A service over this store."""
    clock = SteppingClock()
    async with (
        open_app(Settings(**settings), store=store, clock=clock) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tamiyo") as http,
    ):
        yield Service(app, http, store, clock)


def sql_store(folder: Path, **options: Any) -> SqlStore:
    """A store on an SQLite file in this folder."""
    return SqlStore(f"sqlite:///{folder / 'tamiyo.db'}", **options)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that no test stops."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def shared_database(postgres_server: PostgresServer) -> str:
    """A database that one test uses after the other."""
    postgres_server.create("shared")
    return "shared"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, shared_database: str) -> str:
    """The URL of an empty PostgreSQL database with all tables."""
    postgres_server.empty(shared_database)
    return postgres_server.url(shared_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tamiyo.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def closed_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, empty, for a service to open."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return sql_store(tmp_path)
    return SqlStore(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(closed_store: Store) -> AsyncIterator[Store]:
    """An open store of each kind, empty."""
    await closed_store.open()
    yield closed_store
    await closed_store.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that keeps everything in memory."""
    async with serving(MemoryStore()) as running:
        yield running


@pytest.fixture(params=["memory", "sqlite"])
async def any_service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    store: Store = MemoryStore() if request.param == "memory" else sql_store(tmp_path)
    async with serving(store) as running:
        yield running
