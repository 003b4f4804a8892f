"""PostgreSQL goes away: who waits is served when it is back, and nothing is lost or there twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import httpx
import pytest
import structlog
from psycopg import sql
from tamiyo_service.store import SqlStore
from tamiyo_service.store.rows import NewRun

from tests.service.conftest import Service, serving
from tests.service.postgres import PASSWORD, PostgresServer, postgres
from tests.service.proxy import COMMIT, wire_to
from tests.service.samples import report
from tests.service.test_store import append, create, entry

TRAINERS = 8
END_ALL: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tamiyo'"
Told = dict[str, dict[int, httpx.Response]]


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that the tests of this file may stop; they leave it running."""
    with postgres() as server:
        yield server


@pytest.fixture
def url(own_server: PostgresServer) -> Iterator[str]:
    with own_server.database() as name:
        yield own_server.url(name)


async def train(service: Service, run_id: str, replies: dict[int, httpx.Response], epochs: int) -> None:
    """Report epoch after epoch, each until it is acknowledged."""
    while len(replies) < epochs:
        epoch = len(replies)
        response = await service.report(run_id, epoch, val_accuracy=50.0 + (epoch * 7 % 5))
        if response.status_code == 200:
            replies[epoch] = response
        else:
            assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
            assert int(response.headers["retry-after"]) >= 1


async def trained(service: Service, epochs: int, meanwhile: Callable[[Told], Awaitable[Any]]) -> Told:
    """What many trainers at once were told, while something happens."""
    told: Told = {f"run-{number}": {} for number in range(TRAINERS)}
    trainers = (train(service, run_id, replies, epochs) for run_id, replies in told.items())
    await asyncio.gather(meanwhile(told), *trainers)
    return told


async def progress(told: Told, decisions: int) -> None:
    """Wait until so many decisions have been made."""
    while sum(map(len, told.values())) < decisions:
        await asyncio.sleep(0)


async def require_kept(service: Service, told: Told) -> None:
    """Return if every acknowledged decision is stored as it was told, once, and none besides."""
    for run_id, replies in told.items():
        items = (await service.get(f"/runs/{run_id}/decisions?limit=1000"))["items"]
        assert [item["epoch"] for item in items] == sorted(replies, reverse=True)
        for item in items:
            reply = replies[item["epoch"]].json()
            assert {name: item[name] for name in reply} == reply
        await service.get(f"/runs/{run_id}/decisions/{len(replies) - 1}")


async def test_a_server_that_stops_and_starts_under_load_loses_nothing_and_nobody_notices(
    own_server: PostgresServer, url: str
) -> None:
    async def restart(told: Told) -> None:
        for decisions in (40, 160):
            await progress(told, decisions)
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)

    async with serving(SqlStore(url, patience=30.0)) as service:
        told = await trained(service, 40, restart)
        assert {reply.status_code for replies in told.values() for reply in replies.values()} == {200}
        await require_kept(service, told)


async def test_a_server_that_stays_away_is_told_of_and_the_service_recovers_by_itself(
    own_server: PostgresServer, url: str
) -> None:
    async def away(told: Told) -> None:
        await progress(told, 40)
        await asyncio.to_thread(own_server.stop)
        while (ready := await service.http.get("/readyz")).status_code == 200:
            await asyncio.sleep(0)
        assert ready.json()["code"] == "store_unavailable"
        refused = await service.report("another", 0)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        read = await service.http.get("/runs")
        assert (read.status_code, read.json()["code"]) == (503, "store_unavailable")
        for answer in (ready, refused, read):
            for secret in (PASSWORD, "127.0.0.1", str(own_server.port), "connection", "sqlalche"):
                assert secret not in answer.text
        await asyncio.to_thread(own_server.start)

    async with serving(SqlStore(url, patience=0.3)) as service:
        with structlog.testing.capture_logs() as log:
            told = await trained(service, 40, away)
        assert {"write_failed", "read_failed"} <= {line["event"] for line in log}
        assert str(own_server.port) in str([line for line in log if line["event"] == "read_failed"])
        assert PASSWORD not in str(log)
        assert (await service.http.get("/readyz")).status_code == 200
        await require_kept(service, told)


async def test_connections_that_are_ended_in_the_middle_are_made_anew_unnoticed(
    own_server: PostgresServer, url: str
) -> None:
    ended = 0

    async def end_all(told: Told) -> None:
        nonlocal ended
        with own_server.connect() as connection:
            for decisions in range(20, 300, 20):
                await progress(told, decisions)
                ended += len(connection.execute(END_ALL).fetchall())

    async with serving(SqlStore(url, patience=30.0)) as service:
        told = await trained(service, 40, end_all)
        assert ended > 0
        await require_kept(service, told)


async def test_a_commit_whose_answer_is_lost_counts_as_done(own_server: PostgresServer, url: str) -> None:
    async with wire_to(own_server.port) as wire:
        database = url.rpartition("/")[2]
        async with serving(SqlStore(own_server.url(database, port=wire.port))) as service:
            for epoch in range(0, 6, 2):
                await asyncio.gather(*(service.report(f"run-{number}", epoch) for number in range(10)))
                wire.lose = 1
                answers = await asyncio.gather(
                    *(service.report(f"run-{number}", epoch + 1) for number in range(10))
                )
                assert wire.lose == 0
                assert {answer.status_code for answer in answers} == {200}
                assert all("tamiyo-replayed" not in answer.headers for answer in answers)
            for number in range(10):
                items = (await service.get(f"/runs/run-{number}/decisions"))["items"]
                assert [item["epoch"] for item in items] == [5, 4, 3, 2, 1, 0]


async def test_a_lost_answer_does_not_hide_that_another_process_was_faster(
    own_server: PostgresServer, url: str
) -> None:
    async with wire_to(own_server.port) as wire:
        database = url.rpartition("/")[2]
        async with (
            serving(SqlStore(own_server.url(database, port=wire.port))) as one,
            serving(SqlStore(url)) as two,
        ):
            await one.reports("run", 0)
            assert (await two.report("run", 1, val_accuracy=70.0)).status_code == 200
            wire.lose = 1
            assert (await one.report("run", 1, val_accuracy=60.0)).json()["code"] == "epoch_conflict"
            assert wire.lose == 0
            assert (await one.report("run", 1, val_accuracy=70.0)).headers["tamiyo-replayed"] == "true"


async def test_a_server_that_only_answers_questions_is_told_of_until_it_takes_writes_again(
    own_server: PostgresServer, url: str
) -> None:
    def only_questions(on: bool) -> None:
        with own_server.connect() as connection:
            name = sql.Identifier(url.rpartition("/")[2])
            state = sql.SQL("on" if on else "off")
            setting = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
            connection.execute(setting.format(name, state))
            connection.execute(END_ALL)

    async with serving(SqlStore(url, patience=0.3)) as service:
        await service.reports("run", 0)
        only_questions(True)
        refusal = asyncio.ensure_future(service.report("run", 1))
        while not refusal.done():
            await service.get("/runs/run/decisions")
        assert ((await refusal).status_code, (await refusal).json()["code"]) == (503, "store_unavailable")
        assert (await service.http.get("/readyz")).status_code == 503
        only_questions(False)
        assert (await service.report("run", 1)).status_code == 200
        assert (await service.http.get("/readyz")).status_code == 200


async def test_what_waits_for_the_lock_of_another_waits_no_longer_than_the_patience(url: str) -> None:
    store, other = SqlStore(url, patience=0.2), SqlStore(url)
    async with serving(store) as service:
        await service.reports("run", 0)
        with other._database.writer.begin() as transaction:
            transaction.exec_driver_sql("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
            answer = await service.report("run", 1)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert (await service.report("run", 1)).status_code == 200
    other._database.dispose()


async def test_a_run_that_is_created_while_connections_are_cut_is_created_once(
    own_server: PostgresServer, url: str
) -> None:
    store = SqlStore(url, patience=30.0)
    await store.open()
    for number in range(5):
        creating = asyncio.ensure_future(store.create_run(NewRun(f"run-{number}", "{}", "1", "p", 0)))
        with own_server.connect() as connection:
            connection.execute(END_ALL)
        run, _ = await creating
        await append(store, entry(run, 1, 1))
    assert len({(await create(store, "last")).run_pk}) == 1
    await store.close()


async def test_a_batch_survives_the_loss_of_its_answer(own_server: PostgresServer, url: str) -> None:
    async with wire_to(own_server.port) as wire:
        database = url.rpartition("/")[2]
        async with serving(SqlStore(own_server.url(database, port=wire.port))) as service:
            items = [{"run_id": "run", "report": report(epoch)} for epoch in range(100)]
            await service.http.put("/runs/run")
            wire.word, wire.lose = COMMIT, 1
            results = (await service.http.post("/epochs", json={"reports": items})).json()["results"]
            assert wire.lose == 0
            assert [result["status"] for result in results] == [200] * 100
            found = (await service.get("/runs/run/decisions?limit=1000"))["items"]
            assert [item["epoch"] for item in found] == list(range(99, -1, -1))
