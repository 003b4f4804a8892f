"""What the database says of itself is in the log, and in no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tamiyo_service.errors import InvalidRequestError, StoreUnavailableError, VersionConflictError
from tamiyo_service.live.hub import Pace
from tamiyo_service.store import SqlStore
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.rows import DecisionKey, Write

from tests.service.conftest import serving
from tests.service.following import following
from tests.service.postgres import PostgresServer
from tests.service.samples import report
from tests.service.test_store import append, create, entry, unheard

READ: Final = "the database does not answer; the service's log says why"
WRITE: Final = "the store did not take the write; the service's log says why; send the request again later"
TABLES: Final = ("runs", "journal", "api_keys")


@pytest.fixture(params=["sqlite", "postgresql"])
async def broken(
    request: pytest.FixtureRequest, tmp_path: Any
) -> AsyncIterator[tuple[SqlStore, Callable[[], None]]]:
    """A store, and what takes its tables away: whatever is asked then the database refuses at length."""
    if request.param == "sqlite":
        yield _with_its_end(f"sqlite:///{tmp_path / 'tamiyo.db'}")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database() as name:
        yield _with_its_end(server.url(name))


def _with_its_end(url: str) -> tuple[SqlStore, Callable[[], None]]:
    def take_away() -> None:
        database = database_at(url)
        with database.writer.begin() as connection:
            for table in TABLES:
                connection.execute(text(f"ALTER TABLE {table} RENAME TO secret_{table}"))
        database.dispose()

    return SqlStore(url, patience=0.3), take_away


Broken = tuple[SqlStore, Callable[[], None]]
Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
READS: Final[dict[str, Call]] = {
    path: lambda http, path=path: http.get(path)  # type: ignore[misc]  # a default binds it
    for path in (
        "/runs",
        "/runs/other",
        "/decisions",
        "/runs/other/decisions",
        "/runs/other/decisions/0",
        "/runs/other/series",
        "/events?since_id=0",
        "/runs/other/events",
    )
}
WRITES: Final[dict[str, Call]] = {
    "a report": lambda http: http.post("/runs/run/epoch", json=report(1)),
    "a hold": lambda http: http.put("/runs/run/hold", json={"reason": "look"}),
    "a note": lambda http: http.post("/runs/run/notes", json={"text": "odd", "by": "ada"}),
}


async def test_no_answer_says_what_the_database_says(broken: Broken) -> None:
    store, take_away = broken
    async with serving(store) as service:
        await service.reports("run", 0)
        take_away()
        with structlog.testing.capture_logs() as log:
            for name, call in (READS | WRITES).items():
                answer = await call(service.http)
                assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), name
                # Who writes may have to read first.
                assert answer.json()["detail"] in ({READ} if name in READS else {READ, WRITE}), name
            batch = {"reports": [{"run_id": run_id, "report": report(1)} for run_id in ("run", "other")]}
            answers = (await service.http.post("/epochs", json=batch)).json()["results"]
            assert {answer["problem"]["detail"] for answer in answers} <= {READ, WRITE}
            ready = await service.http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["detail"].startswith("the last write failed, and none has succeeded since")
    for event in ("read_failed", "write_failed"):
        assert "[SQL: " in str([line for line in log if line["event"] == event])


async def test_no_stream_says_what_the_database_says(broken: Broken) -> None:
    store, take_away = broken
    async with serving(store) as service:
        await service.reports("run", 0)
        service.app.state.services.live.pace = Pace(heartbeat=0.05)
        async with following(service.app, "/runs/run/events") as follower:
            await follower.wait(lambda: follower.comments > 0)
            take_away()
            last = await follower.until("closing")
            await follower.end()
    assert last.data["reason"] == READ


async def test_who_has_no_key_is_not_told_either(broken: Broken) -> None:
    store, take_away = broken
    async with serving(store, auth="required") as service:
        take_away()
        headers = {"authorization": "Bearer tamiyo_nonsense"}
        answer = await service.http.get("/runs", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (503, READ)


async def test_the_cause_stays_with_the_error(database_url: str) -> None:
    store = SqlStore(database_url)
    await store.open()
    run = await create(store)
    await append(store, entry(run, 1, 1))
    with pytest.raises(VersionConflictError, match=r"^the run was advanced by another process$") as conflict:
        await append(store, entry(run, 1, 2))
    with pytest.raises(InvalidRequestError, match=r"^the store cannot hold this: ") as refusal:
        await store.append(Write((entry(run, 2, 2)._replace(at=2**63),)), unheard)
    with pytest.raises(InvalidRequestError, match=r"as the one asked for$") as question:
        await store.report(DecisionKey(run.run_pk, 0, 2**64))
    for raised in (conflict, refusal, question):
        assert isinstance(raised.value.__cause__, SQLAlchemyError | OverflowError)
    await store.close()


async def test_a_question_that_fails_has_its_cause(broken: Broken) -> None:
    store, take_away = broken
    await store.open()
    take_away()
    with pytest.raises(StoreUnavailableError) as failure:
        await store.run("run")
    assert "runs" in str(failure.value.__cause__)
    await store.close()
