"""Two processes get reports of one run, in turn and at once: it is told what one alone would have told it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests.faults.services import Service, running, starting
from tests.faults.trainers import (
    Trainers,
    alone,
    essence,
    lively,
    require_exact,
    require_numbered,
    require_undisturbed,
)
from tests.service.processes import free_port

RUN = "/runs/run/epoch"
EPOCHS = 30


@pytest.fixture
def pair(database_url: str) -> Iterator[tuple[Service, Service]]:
    """Two services that started at the same time on one empty database."""
    with starting(database_url) as one, starting(database_url) as two:
        one.await_ready()
        two.await_ready()
        yield one, two


@asynccontextmanager
async def clients(pair: tuple[Service, Service]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each."""
    async with AsyncExitStack() as stack:
        made = [httpx.AsyncClient(base_url=service.url, timeout=30) for service in pair]
        yield [await stack.enter_async_context(client) for client in made]


async def test_replicas_that_take_turns_tell_what_one_alone_would_tell(
    pair: tuple[Service, Service], database_url: str
) -> None:
    trainers = Trainers(*(service.url for service in pair), run_ids=["a", "b", "c"])
    trainers.start()
    await trainers.progress(4 * EPOCHS)
    await trainers.finish()
    assert trainers.refused == []
    for service in pair:
        require_exact(service.url, trainers.told)
    require_numbered(database_url, trainers.told)
    await require_undisturbed(trainers.told)


async def test_replicas_that_get_the_same_report_at_once_decide_it_once(
    pair: tuple[Service, Service], database_url: str
) -> None:
    replies = []
    async with clients(pair) as (one, two):
        for epoch in range(EPOCHS):
            posts = [http.post(RUN, json=lively(epoch)) for http in (one, two, one, two)]
            answers = await asyncio.gather(*posts)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            assert sum("tamiyo-replayed" not in answer.headers for answer in answers) == 1
            replies.append(answers[0].content)
    require_exact(pair[0].url, {"run": replies})
    require_numbered(database_url, {"run": replies})
    await require_undisturbed({"run": replies})


async def test_replicas_that_get_successive_reports_at_once_decide_them_in_an_order_that_one_alone_could_have(
    pair: tuple[Service, Service], database_url: str
) -> None:
    decided: dict[int, bytes] = {}
    async with clients(pair) as (one, two):
        for epoch in range(0, EPOCHS, 2):
            earlier, later = await asyncio.gather(
                one.post(RUN, json=lively(epoch)), two.post(RUN, json=lively(epoch + 1))
            )
            assert later.status_code == 200
            decided[epoch + 1] = later.content
            if earlier.status_code == 200:
                decided[epoch] = earlier.content
            else:
                assert (earlier.status_code, earlier.json()["code"]) == (409, "stale_epoch")
        for http in (one, two):
            for epoch, reply in decided.items():
                again = await http.post(RUN, json=lively(epoch))
                assert (again.content, again.headers["tamiyo-replayed"]) == (reply, "true")
        listed = (await one.get("/runs/run/decisions?limit=1000&order=asc")).json()["items"]
    epochs = sorted(decided)
    assert [item["epoch"] for item in listed] == epochs
    assert [essence(decided[epoch]) for epoch in epochs] == await alone("run", epochs)


async def test_a_replica_that_is_killed_leaves_nothing_half_done_for_the_other(database_url: str) -> None:
    ports = [free_port(), free_port()]
    trainers = Trainers(*(f"http://127.0.0.1:{port}" for port in ports), run_ids=["a", "b", "c", "d"])
    with running(database_url, ports[0]) as one:
        trainers.start()
        for _ in range(2):
            with running(database_url, ports[1]) as two:
                await trainers.progress(40)
                two.kill()
        with running(database_url, ports[1]):
            await trainers.progress(40)
            await trainers.finish()
        require_exact(one.url, trainers.told)
    require_numbered(database_url, trainers.told)
    await require_undisturbed(trainers.told)
