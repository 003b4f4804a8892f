"""Keys that are confined to runs with certain prefixes: the others are not there for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, Text, create_engine, insert, select
from sqlalchemy.dialects import postgresql
from tamiyo_service.auth.access import ROUTES, Reach
from tamiyo_service.auth.caller import Scope
from tamiyo_service.errors import OverloadedError
from tamiyo_service.live.hub import Pace
from tamiyo_service.live.stream import Stream
from tamiyo_service.live.subscription import Wanted
from tamiyo_service.store import Store
from tamiyo_service.store.prefixes import begins_with

from tests.service.conftest import Service
from tests.service.following import following
from tests.service.keyholders import Holders, asking_for_keys, given_key
from tests.service.samples import report

OURS = ("team-a.one", "team-a.two")
THEIRS = ("team-b.one", "team-a", "team-a-one", "team-aa.one", "team-A.one", "a", "z.team-a.one")
SECRETS = ("team-b", "team-aa", "team-A", "z.team")


@pytest.fixture
async def holders(closed_store: Store) -> AsyncIterator[Holders]:
    """A service over each kind of store, with runs of two teams and others."""
    async with asking_for_keys(closed_store) as opened:
        admin = await opened.holder(Scope.ADMIN)
        for pair in zip(THEIRS, (*OURS, *OURS, *OURS, *OURS), strict=False):
            for run_id in dict.fromkeys(pair):
                for epoch in range(2):
                    await admin.post(f"/runs/{run_id}/epoch", json=report(epoch))
        yield opened


async def pages(client: httpx.AsyncClient, path: str, **parameters: str) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items, cursor = list[dict[str, Any]](), None
    while True:
        given_parameters = parameters | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get(path, params=given_parameters)).json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


async def test_lists_hold_the_callers_own_runs(holders: Holders) -> None:
    client = await holders.holder(Scope.OPERATOR, "team-a.")
    for path, parameters in (
        ("/runs", {"limit": "1"}),
        ("/runs", {"status": "ACTIVE"}),
        ("/fleet", {"limit": "1"}),
        ("/fleet", {"search": "one"}),
        ("/decisions", {"limit": "1"}),
        ("/decisions", {"limit": "3", "order": "asc"}),
        ("/decisions", {"action": "WAIT"}),
    ):
        found = {item["run_id"] for item in await pages(client, path, **parameters)}
        assert found == ({"team-a.one"} if "search" in parameters else set(OURS)), (path, parameters)


async def test_several_prefixes_add_up(holders: Holders) -> None:
    client = await holders.holder(Scope.TRAINER, "team-b.", "z")
    found = {item["run_id"] for item in await pages(client, "/runs")}
    assert found == {"team-b.one", "z.team-a.one"}


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
async def test_exports_hold_the_callers_own_runs(holders: Holders, kind: str) -> None:
    client = await holders.holder(Scope.OPERATOR, "team-a.")
    text = (await client.get("/export", params={"format": kind})).text
    assert text.count("team-a.") >= 4
    assert not any(secret in text for secret in SECRETS)


async def test_labels_of_others_find_nothing(holders: Holders) -> None:
    admin = await holders.holder(Scope.ADMIN)
    for run_id in (OURS[0], THEIRS[0]):
        await admin.put(f"/runs/{run_id}/labels", json={"labels": {"team": "vision"}})
    client = await holders.holder(Scope.TRAINER, "team-a.")
    found = await pages(client, "/runs", label="team:vision")
    assert [item["run_id"] for item in found] == [OURS[0]]


async def test_anothers_run_is_as_one_that_does_not_exist(holders: Holders) -> None:
    client = await holders.holder(Scope.ADMIN, "team-a.", name="a")
    bodies: tuple[Any, ...] = (None, {}, {"reason": "why"}, report(5))
    for (method, path), access in ROUTES.items():
        if "{run_id}" not in path:
            continue
        for body in bodies:
            told = []
            for run_id in ("team-b.one", "team-b.absent"):
                place = path.format(run_id=run_id, epoch="1", command_id="c")
                response = await client.request(method, place, json=body)
                told.append((response.status_code, response.text.replace(run_id, "")))
            assert told[0] == told[1], (method, path, body)
            if access.reach is Reach.CREATES:
                assert told[0][0] == 403
                assert "runs that begin with team-a." in told[0][1]
            else:
                assert told[0][0] == 404, (method, path, body)
                assert '"code":"run_not_found"' in told[0][1]
    assert await holders.store.run("team-b.absent") is None


async def test_ones_own_absent_run_gets_the_same_words(holders: Holders) -> None:
    client = await holders.holder(Scope.TRAINER, "team-a.")
    answers = [
        (await client.get(f"/runs/{run_id}")).text.replace(run_id, "")
        for run_id in ("team-a.absent", "team-b.one")
    ]
    assert answers[0] == answers[1]


async def test_what_is_no_run_id_is_told_so(holders: Holders) -> None:
    client = await holders.holder(Scope.TRAINER, "team-a.")
    assert (await client.get("/runs/team b")).json()["code"] == "invalid_run_id"


async def test_reports_of_a_batch_are_for_own_runs(holders: Holders) -> None:
    client = await holders.holder(Scope.TRAINER, "team-a.")
    batch = [{"run_id": run_id, "report": report(7)} for run_id in ("team-a.one", "team-b.one", "team-b.new")]
    results = (await client.post("/epochs", json={"reports": batch})).json()["results"]
    assert [result["status"] for result in results] == [200, 404, 404]
    assert {result["problem"]["code"] for result in results[1:]} == {"run_not_found"}
    assert await holders.store.run("team-b.new") is None


async def test_what_is_about_all_runs_is_refused_with_the_own_prefixes_only(holders: Holders) -> None:
    client = await holders.holder(Scope.ADMIN, "team-a.", "team-c.")
    for method, path in (("GET", "/metrics"), ("POST", "/models/n/1/activate")):
        response = await client.request(method, path, json={"reason": "why"})
        assert response.status_code == 403
        assert "team-a. or team-c." in response.json()["detail"]


@pytest.mark.parametrize("since", ["", "?since_id=0"])
async def test_events_tell_of_own_runs_also_of_the_past(holders: Holders, since: str) -> None:
    made = await given_key(holders.store, Scope.OPERATOR, "team-a.", created=holders.service.clock())
    admin = await holders.holder(Scope.ADMIN)
    async with following(holders.service.app, f"/events{since}", key=made.key) as follower:
        await follower.wait(lambda: follower.comments > 0)
        for run_id in ("team-b.one", "team-a.one"):
            await admin.post(f"/runs/{run_id}/epoch", json=report(9))
        while (event := await follower.next()).data["epoch"] != 9:
            assert event.data["run_id"] in OURS
        assert event.data["run_id"] == "team-a.one"
        middle = event.id
    assert not any(secret.encode() in follower.body for secret in SECRETS)
    async with following(holders.service.app, "/events", last_event_id=middle, key=made.key) as follower:
        await follower.wait(lambda: follower.comments > 0)
        for run_id in ("team-b.one", "team-a.two"):
            await admin.post(f"/runs/{run_id}/epoch", json=report(10))
        while (event := await follower.next()).data["epoch"] != 10:
            assert event.data["run_id"] == "team-a.one"
        assert event.data["run_id"] == "team-a.two"


async def test_a_stream_ends_with_its_key(holders: Holders) -> None:
    made = await given_key(holders.store, Scope.OPERATOR, "team-a.", created=holders.service.clock())
    admin = await holders.holder(Scope.ADMIN)
    services = holders.service.app.state.services
    services.live.pace = Pace(admission=0.0)
    async with following(holders.service.app, "/events", key=made.key) as follower:
        await follower.wait(lambda: follower.comments > 0)
        await admin.post("/runs/team-a.one/epoch", json=report(9))
        assert (await follower.next()).type == "EPOCH_COMPLETED"
        await holders.store.keys.revoke(made.row.key_id, 0)
        await services.ring.reread()
        await admin.post("/runs/team-a.one/epoch", json=report(10))
        last = await follower.until("closing")
        await follower.end()
    assert "key or session has ended" in last.data["reason"]
    assert b'"epoch":10' not in follower.body


async def test_a_stream_whose_key_cannot_be_asked_for_ends_in_words(service: Service) -> None:
    async def exists() -> bool:
        return True

    async def admitted() -> bool:
        raise OverloadedError("too many unknown keys are being tried")

    hub = service.app.state.services.live
    hub.pace = Pace(heartbeat=0.01, admission=0.0)
    stream = Stream(hub, Wanted(), await hub.reader.start(None), exists, admitted)
    frames = [frame async for frame in stream.frames()]
    assert b"event: closing" in frames[-1]


async def test_following_and_reporting_at_once_keep_apart(holders: Holders) -> None:
    one = await holders.holder(Scope.TRAINER, "team-a.")
    other = await holders.holder(Scope.TRAINER, "team-b.")
    answers = await asyncio.gather(
        *(client.post("/runs/team-a.one/epoch", json=report(20)) for client in (one, other) for _ in range(5))
    )
    assert [answer.status_code for answer in answers] == [200] * 5 + [404] * 5


CHARACTERS = "aZ9._:-"
IDS = st.text(CHARACTERS, min_size=1, max_size=6)


@given(st.lists(IDS, max_size=12, unique=True), st.lists(IDS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_the_ranges_are_those_of_the_prefixes(run_ids: list[str], prefixes: list[str]) -> None:
    names = Table("names", MetaData(), Column("name", Text, primary_key=True))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        names.create(connection)
        if run_ids:
            connection.execute(insert(names), [{"name": run_id} for run_id in run_ids])
        wanted = select(names.c.name).where(begins_with(names.c.name, tuple(prefixes)))
        found = set(connection.execute(wanted).scalars())
    engine.dispose()
    assert found == {run_id for run_id in run_ids if run_id.startswith(tuple(prefixes))}


def test_ranges_need_no_pattern() -> None:
    names = Table("names", MetaData(), Column("name", Text))
    condition = begins_with(names.c.name, ("a_", "b%"))
    text = str(condition.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # untyped there
    assert "LIKE" not in text
