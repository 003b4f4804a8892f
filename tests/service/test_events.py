"""Live streams: everything that happens, once, in order, from where the follower left off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from tamiyo_leyline import DecisionItem, TelemetryEvent
from tamiyo_leyline.api import LiveEvent
from tamiyo_service.api.border import Gate
from tamiyo_service.live.hub import Hub, Pace
from tamiyo_service.live.marks import Mark, parse_mark
from tamiyo_service.live.stream import Stream
from tamiyo_service.live.subscription import Wanted
from tamiyo_service.store import MemoryStore, SqlStore, Store

from tests.service.conftest import Service, serving
from tests.service.following import PATIENCE_SECONDS, Event, Follower, following

PATHS = ("/events", "/runs/run/events")


@asynccontextmanager
async def follow(
    service: Service, path: str, *, last_event_id: str | None = None, reading: bool = True
) -> AsyncIterator[Follower]:
    """A follower of a service, once the service has begun to answer if it reads."""
    async with following(service.app, path, last_event_id=last_event_id, reading=reading) as follower:
        if reading:
            await follower.wait(lambda: follower.comments > 0 or follower.ended)
        yield follower


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    async with serving(closed_store) as service:
        yield service


def outline(events: list[Event]) -> list[tuple[str, int | None]]:
    return [(event.type, event.data["epoch"]) for event in events]


@pytest.mark.parametrize("path", PATHS)
async def test_a_report_is_told_while_it_is_answered(live: Service, path: str) -> None:
    await live.reports("run", 0)
    async with follow(live, path) as follower:
        await live.reports("run", 1)
        events = await follower.take(2)
    assert follower.status == 200
    assert follower.headers[b"content-type"].startswith(b"text/event-stream")
    assert outline(events) == [("EPOCH_COMPLETED", 1), ("decision", 1)]
    telemetry, decision = (LiveEvent.model_validate(event.data) for event in events)
    assert TelemetryEvent.model_validate(telemetry.data).epoch == 1
    (item,) = (await live.get("/runs/run/decisions?since_epoch=1"))["items"]
    assert DecisionItem.model_validate(decision.data) == DecisionItem.model_validate(item)
    assert [event.id for event in events] == [event.data["id"] for event in events]


async def test_what_operators_and_trainers_do_besides_is_told(live: Service) -> None:
    await live.reports("run", 0, 1)
    async with follow(live, "/runs/run/events") as follower:
        await live.http.put("/runs/run/hold", json={"reason": "look"})
        await live.http.delete("/runs/run/hold")
        await live.http.post("/runs/run/notes", json={"text": "odd", "by": "ada"})
        await live.http.put("/runs/run/labels", json={"labels": {"team": "a"}})
        await live.http.post("/runs/run/rewind", json={"to_epoch": 0, "attempt": 1})
        await live.http.post("/runs/run/complete", json={"result": "failed"})
        events = await follower.take(6)
    assert [event.type for event in events] == ["hold", "release", "note", "labels", "rewind", "complete"]
    assert events[0].data["data"] == {"reason": "look"}
    assert events[2].data["data"] == {"text": "odd", "by": "ada", "last_epoch": 1}
    assert events[4].data["attempt"] == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", range(5))
async def test_a_stream_goes_on_after_the_last_event_received(live: Service, path: str, known: int) -> None:
    await live.reports("run", 0, 1)
    async with follow(live, f"{path}?since_id=0") as follower:
        whole = await follower.take(4)
    last = whole[known - 1].id if known else "0"
    async with follow(live, path, last_event_id=last) as follower:
        again = await follower.take(4 - known)
        await live.reports("run", 2)
        later = await follower.take(2)
    assert again == whole[known:]
    assert outline(later) == [("EPOCH_COMPLETED", 2), ("decision", 2)]


async def test_nothing_is_missed_or_repeated_while_many_report_and_followers_come_and_go(
    live: Service,
) -> None:
    runs, epochs = [f"run-{number}" for number in range(6)], range(15)

    async def train(run_id: str) -> None:
        for epoch in epochs:
            await live.reports(run_id, epoch)

    got: list[tuple[str, int]] = []
    training = asyncio.gather(*map(train, runs))
    mark = "0"
    while len(got) < len(runs) * len(epochs):
        async with follow(live, "/events?type=decision", last_event_id=mark) as follower:
            for event in await follower.take(min(7, len(runs) * len(epochs) - len(got))):
                got.append((event.data["run_id"], event.data["epoch"]))
                mark = event.id
    await training
    assert sorted(got) == sorted((run_id, epoch) for run_id in runs for epoch in epochs)
    for run_id in runs:
        assert [epoch for name, epoch in got if name == run_id] == list(epochs)


async def test_one_run_is_followed_alone(live: Service) -> None:
    await live.reports("run", 0)
    await live.reports("other", 0)
    async with follow(live, "/runs/run/events?since_id=0&type=decision") as follower:
        await live.reports("other", 1)
        await live.reports("run", 1)
        events = await follower.take(2)
    assert [(event.data["run_id"], event.data["epoch"]) for event in events] == [("run", 0), ("run", 1)]


async def test_events_are_chosen_by_type_and_label(live: Service) -> None:
    await live.http.put("/runs/run", json={"labels": {"team": "a", "site": "x"}})
    await live.http.put("/runs/other", json={"labels": {"team": "b", "site": "x"}})
    path = "/events?type=decision&type=hold&label=team:a&label=site:x"
    async with follow(live, path) as follower:
        await live.reports("other", 0)
        await live.reports("run", 0)
        await live.http.put("/runs/run/hold", json={"reason": "look"})
        events = await follower.take(2)
    assert [(event.data["run_id"], event.type) for event in events] == [("run", "decision"), ("run", "hold")]


async def test_changed_labels_count_from_then_on(live: Service) -> None:
    await live.reports("run", 0)
    await live.reports("other", 0)
    await live.http.put("/runs/other/labels", json={"labels": {"team": "a"}})
    async with follow(live, "/events?type=decision&label=team:a") as follower:
        await live.reports("run", 1)
        await live.reports("other", 1)
        # By then it is past what the run did without the label.
        assert (await follower.next()).data["run_id"] == "other"
        await live.http.put("/runs/run/labels", json={"labels": {"team": "a"}})
        await live.reports("run", 2)
        seen = await follower.next()
        assert (seen.data["run_id"], seen.data["epoch"]) == ("run", 2)


async def test_a_mark_holds_across_restarts_and_replicas(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as one:
        await one.reports("run", 0, 1)
        async with follow(one, "/events?since_id=0&type=decision") as follower:
            mark = (await follower.next()).id
    async with (
        serving(SqlStore(database_url)) as one,
        serving(SqlStore(database_url)) as two,
        follow(two, "/events?type=decision", last_event_id=mark) as follower,
    ):
        await one.reports("run", 2)
        assert [event.data["epoch"] for event in await follower.take(2)] == [1, 2]


@pytest.mark.parametrize("path", PATHS)
async def test_a_mark_from_beyond_the_end_says_that_something_is_left_out(live: Service, path: str) -> None:
    await live.reports("run", 0)
    async with follow(live, path, last_event_id="999999.0.abc") as follower:
        skipped = await follower.next()
        await live.reports("run", 1)
        assert outline(await follower.take(2)) == [("EPOCH_COMPLETED", 1), ("decision", 1)]
    assert skipped.type == "skipped"
    assert "not of this database" in skipped.data["reason"]


async def test_a_mark_of_another_database_says_that_something_is_left_out(live: Service) -> None:
    await live.reports("run", 0, 1)
    async with follow(live, "/events", last_event_id="1.0.abc") as follower:
        assert "another database" in (await follower.next()).data["reason"]


async def test_a_mark_of_a_deleted_run_says_that_something_is_left_out(live: Service) -> None:
    await live.reports("gone", 0)
    async with follow(live, "/events?since_id=0&type=decision") as follower:
        mark = (await follower.next()).id
    await live.http.delete("/runs/gone")
    await live.reports("run", 0)
    async with follow(live, "/events?type=decision", last_event_id=mark) as follower:
        skipped, decision = await follower.take(2)
    assert (skipped.type, decision.data["run_id"]) == ("skipped", "run")
    assert "deleted" in skipped.data["reason"]


@pytest.mark.parametrize("mark", ["abc", "1.2", "-1", "1.2.xyz", "1" * 30, "١"])
async def test_a_mark_that_is_none_is_refused(service: Service, mark: str) -> None:
    for field, response in (
        ("since_id", await service.http.get("/events", params={"since_id": mark})),
        ("last-event-id", await service.http.get("/events", headers={b"last-event-id": mark.encode()})),
    ):
        assert (response.status_code, response.json()["code"]) == (422, "invalid_query")
        assert response.json()["detail"].startswith(f'{field} is no id of an event, got "')


async def test_what_cannot_be_chosen_is_refused_with_what_can(service: Service) -> None:
    for query, told in (
        ("type=plateau", "decision, SEED_GERMINATED"),
        ("label=team", "key:value"),
        ("color=red", "color"),
    ):
        response = await service.http.get(f"/events?{query}")
        assert (response.status_code, response.json()["code"]) == (422, "invalid_query")
        assert told in response.json()["detail"]
    response = await service.http.get("/runs/none/events")
    assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


async def test_there_are_only_so_many_seats_and_they_become_free() -> None:
    async with serving(MemoryStore(), subscribers=1) as service:
        for _ in range(3):
            async with follow(service, "/events"):
                response = await service.http.get("/events")
                assert (response.status_code, response.json()["code"]) == (503, "overloaded")
                assert response.headers["retry-after"]


def paced(service: Service, **options: int | Pace) -> Hub:
    """Give the service a hub of another pace or size."""
    services = service.app.state.services
    hub = Hub(service.store, lambda: services.gate.ending, seats=10, **options)  # type: ignore[arg-type]  # mixed options
    object.__setattr__(services, "live", hub)
    return hub


async def test_a_slow_follower_is_dropped_and_told_where_to_go_on() -> None:
    async with serving(MemoryStore()) as service:
        paced(service, queue=5)
        async with follow(service, "/events") as follower:
            await service.reports("run", 0)
            await follower.take(2)
            follower.reads.clear()
            await service.reports("run", *range(1, 30))
            follower.reads.set()
            dropped = await follower.until("dropped")
            await follower.end()
        assert follower.complete
        assert "too many events" in dropped.data["reason"]
        mark = dropped.data["last_event_id"]
        async with follow(service, "/events?type=decision", last_event_id=mark) as again:
            first = await again.next()
            rest = await again.take(29 - first.data["epoch"])
        assert [event.data["epoch"] for event in [first, *rest]] == list(range(first.data["epoch"], 30))
        assert first.data["epoch"] < 29


async def test_a_follower_who_takes_nothing_keeps_nobody_waiting() -> None:
    async with serving(MemoryStore()) as service:
        paced(service, queue=5)
        async with follow(service, "/events", reading=False), follow(service, "/events") as quick:
            for epoch in range(40):
                await service.reports("run", epoch)
                await quick.until("decision")
        assert quick.status == 200


async def test_a_quiet_stream_shows_that_it_lives_and_moves_the_mark_on() -> None:
    async with serving(MemoryStore()) as service:
        paced(service, pace=Pace(heartbeat=0.01))
        await service.reports("run", 0)
        async with follow(service, "/events?type=hold") as follower:
            before = follower.last_id
            await service.reports("run", 1)
            await follower.wait(lambda: follower.last_id != before)
        assert follower.comments > 1
        assert parse_mark(follower.last_id) == Mark(2)


async def exists() -> bool:
    return True


async def told_after(hub: Hub, mark: str) -> list[str]:
    """What somebody is told who comes back with a mark."""
    passage = await hub.reader.passage((await hub.reader.start(parse_mark(mark))).position)
    return [happening.type for happening in passage.happenings]


async def test_a_heartbeat_names_nothing_that_was_not_sent(live: Service) -> None:
    await live.reports("run", 0)
    hub = paced(live, pace=Pace(heartbeat=0.01, admission=0.0))
    witness, _ = await hub.follow(Wanted())
    reported = False

    async def admitted() -> bool:
        """Takes its time: meanwhile there is a report, and every follower is told of it."""
        nonlocal reported
        if hub.followers == 2 and not reported:
            reported = True
            await live.reports("run", 1)
            assert await witness.take(PATIENCE_SECONDS)
        return True

    stream = Stream(hub, Wanted(), await hub.reader.start(None), exists, admitted)
    async with aclosing(stream.frames()) as frames:
        heartbeat = (await anext(frame async for frame in frames if b"alive" in frame)).decode()
    hub.unfollow(witness)
    assert reported
    (mark,) = (line.removeprefix("id: ") for line in heartbeat.splitlines() if line.startswith("id: "))
    assert await told_after(hub, mark) == ["EPOCH_COMPLETED", "decision"]


async def test_who_is_sent_away_comes_back_for_what_was_not_sent(live: Service) -> None:
    await live.reports("run", 0, 1)
    hub = paced(live, pace=Pace(admission=0.0))

    async def admitted() -> bool:
        return False

    stream = Stream(hub, Wanted(), await hub.reader.start(Mark(0)), exists, admitted)
    _, closing = [frame.decode() async for frame in stream.frames()]
    data = next(line for line in closing.splitlines() if line.startswith("data: "))
    mark = json.loads(data.removeprefix("data: "))["last_event_id"]
    assert await told_after(hub, mark) == ["EPOCH_COMPLETED", "decision"] * 2


async def test_the_stream_of_a_run_ends_with_the_run(live: Service) -> None:
    paced(live, pace=Pace(heartbeat=0.05))
    await live.reports("run", 0)
    async with follow(live, "/runs/run/events") as follower:
        await live.http.delete("/runs/run")
        gone = await follower.until("gone")
        await follower.end()
    assert "deleted" in gone.data["reason"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("told", [Gate.close, Gate.end])
async def test_streams_end_when_the_service_stops(
    live: Service, path: str, told: Callable[[Gate], None]
) -> None:
    await live.reports("run", 0)
    async with follow(live, path) as follower:
        told(live.app.state.services.gate)
        closing = await follower.until("closing")
        await follower.end()
    assert follower.complete
    assert closing.data["last_event_id"] == follower.last_id


async def test_nobody_reads_the_journal_when_nobody_follows(service: Service) -> None:
    hub: Hub = service.app.state.services.live
    await service.reports("run", 0)
    async with follow(service, "/events") as follower:
        await service.reports("run", 1)
        await follower.take(2)
        assert hub.followers == 1
    assert (hub.followers, hub.told_below) == (0, 0)


def test_marks_are_read_back_as_they_were_written() -> None:
    for mark in (Mark(0), Mark(17), Mark(17, 0, 0), Mark(2**53, 12, 1_700_000_000_000_000)):
        assert parse_mark(str(mark)) == mark
