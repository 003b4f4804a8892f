"""Series for charts and the fleet: what counts of a run, short, and as the decision records have it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tamiyo_leyline import AdaptationCommand
from tamiyo_service.runs.downsampling import kept
from tamiyo_service.runs.series import passages
from tamiyo_service.store import Store
from tamiyo_service.store.rows import Rewind

from bench.pretend import PretendTraining
from tests.service.conftest import Service, serving


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    async with serving(closed_store) as service:
        yield service


async def train(service: Service, run_id: str, epochs: int, **config: Any) -> list[dict[str, Any]]:
    """A pretended training that obeys; its replies."""
    await service.http.put(f"/runs/{run_id}", json=config)
    training, replies = PretendTraining(seed=1), []
    for epoch in range(epochs):
        response = await service.http.post(f"/runs/{run_id}/epoch", json=training.report(epoch))
        assert response.status_code == 200, response.text
        replies.append(response.json())
        for command in replies[-1]["commands"]:
            training.obey(AdaptationCommand.model_validate(command))
    return replies


def covered(periods: list[dict[str, Any]]) -> set[int]:
    """The epochs of some periods."""
    return {e for period in periods for e in range(period["first_epoch"], period["last_epoch"] + 1)}


async def test_a_series_says_what_the_decision_records_say(live: Service) -> None:
    replies = await train(live, "run", 60)
    series = await live.get("/runs/run/series")
    records = [await live.get(f"/runs/run/decisions/{epoch}") for epoch in range(60)]
    acting = [record for record in records if record["action"] != "WAIT"]
    assert [(mark["epoch"], mark["action"]) for mark in series["decisions"]] == [
        (record["epoch"], record["action"]) for record in acting
    ]
    assert {"CULL", "FOSSILIZE"} & {mark["action"] for mark in series["decisions"]}
    plateaus = {r["epoch"] for r in records if r["signals"]["metrics"]["plateau_epochs"] >= 3}
    assert covered(series["plateaus"]) == plateaus != set()
    embargoed = {r["epoch"] for r in records if r["embargo_until_epoch"] is not None}
    assert {epoch for epoch in covered(series["embargoes"]) if epoch < 60} == embargoed
    accuracies = [record["report"]["val_accuracy"] for record in records]
    line = series["lines"]["val_accuracy"]
    assert (line["epochs"], line["values"]) == (list(range(60)), accuracies)
    confidences = [reply["commands"][0]["confidence"] for reply in replies]
    assert series["lines"]["confidence"]["values"] == pytest.approx(confidences, rel=1e-6)
    assert "entropy" not in series["lines"]
    told = {
        (seed["seed_id"], stage["stage"], epoch)
        for seed in series["seeds"]
        for stage in seed["stages"]
        for epoch in range(stage["first_epoch"], stage["last_epoch"] + 1)
    }
    reported = {(s["seed_id"], s["stage"], r["epoch"]) for r in records for s in r["report"]["seeds"]}
    assert told == reported


async def test_embargoes_of_many_culls_are_those_of_the_records(service: Service) -> None:
    await train(service, "run", 150, heuristic={"embargo_epochs_after_cull": 4})
    series = await service.get("/runs/run/series")
    embargoed = set()
    for epoch in range(150):
        record = await service.get(f"/runs/run/decisions/{epoch}")
        if record["embargo_until_epoch"] is not None:
            embargoed.add(epoch)
    assert embargoed
    assert {epoch for epoch in covered(series["embargoes"]) if epoch < 150} == embargoed


async def test_a_learned_runs_entropy_and_value_are_those_of_its_records(service: Service) -> None:
    await train(service, "run", 30, policy={"name": "learned"})
    series = await service.get("/runs/run/series")
    entropies, values = series["lines"]["entropy"], series["lines"]["value"]
    assert entropies["epochs"]
    for epoch, entropy, value in zip(entropies["epochs"], entropies["values"], values["values"], strict=True):
        slots = (await service.get(f"/runs/run/decisions/{epoch}"))["slots"]
        asked = [slot for slot in slots if slot["entropy"] is not None]
        assert asked[0]["value"] == pytest.approx(value, abs=1e-5)
        assert asked[0]["entropy"] == pytest.approx(entropy, abs=1e-4)


async def test_holds_divergences_and_windows(live: Service) -> None:
    await live.reports("run", 0, 1)
    await live.http.put("/runs/run/hold", json={"reason": "a look"})
    await live.reports("run", 2, 3)
    await live.http.delete("/runs/run/hold")
    await live.reports("run", 4)
    await live.report("run", 5, val_loss="NaN")
    series = await live.get("/runs/run/series")
    assert series["holds"] == [{"first_epoch": 2, "last_epoch": 3, "reason": "a look"}]
    assert series["divergences"] == [5]
    assert series["lines"]["val_loss"]["epochs"] == [0, 1, 2, 3, 4]
    window = await live.get("/runs/run/series?since_epoch=2&until_epoch=4")
    assert (window["first_epoch"], window["last_epoch"], window["reports"]) == (2, 4, 3)
    assert not window["earlier"]


async def test_what_a_rewind_discarded_is_left_out_and_can_be_asked_for(live: Service) -> None:
    await live.reports("run", 0, 1, 2, 3, val_accuracy=40.0)
    await live.http.post("/runs/run/rewind", json={"to_epoch": 1, "attempt": 1})
    await live.reports("run", 2, 3, 4, attempt=1, val_accuracy=60.0)
    series = await live.get("/runs/run/series")
    assert series["lines"]["val_accuracy"] == {
        "epochs": [0, 1, 2, 3, 4],
        "values": [40.0, 40.0, 60.0, 60.0, 60.0],
    }
    assert (series["attempt"], series["rewinds"]) == (1, [1])
    before = await live.get("/runs/run/series?attempt=0")
    assert before["lines"]["val_accuracy"]["values"] == [40.0] * 4


async def test_a_rewind_beyond_the_last_report_goes_on_after_that_report(live: Service) -> None:
    await live.reports("run", *range(6), val_accuracy=40.0)
    await live.http.post("/runs/run/rewind", json={"to_epoch": 20, "attempt": 1})
    await live.reports("run", *range(6, 12), attempt=1, val_accuracy=60.0)
    series = await live.get("/runs/run/series")
    assert series["lines"]["val_accuracy"] == {
        "epochs": list(range(12)),
        "values": [40.0] * 6 + [60.0] * 6,
    }
    assert (series["last_epoch"], series["reports"], series["rewinds"]) == (11, 12, [5])


async def test_a_rewind_through_an_attempt_without_reports_goes_on_where_that_one_did(live: Service) -> None:
    await live.reports("run", *range(6), val_accuracy=40.0)
    for attempt, to_epoch in enumerate((2, 4), start=1):
        await live.http.post("/runs/run/rewind", json={"to_epoch": to_epoch, "attempt": attempt})
    await live.reports("run", 3, 4, attempt=2, val_accuracy=60.0)
    series = await live.get("/runs/run/series")
    assert series["lines"]["val_accuracy"] == {"epochs": [0, 1, 2, 3, 4], "values": [40.0] * 3 + [60.0] * 2}
    assert series["rewinds"] == [2, 2]


async def test_a_rewind_before_any_report_hides_nothing(live: Service) -> None:
    await live.http.put("/runs/run", json={})
    await live.http.post("/runs/run/rewind", json={"to_epoch": 20, "attempt": 1})
    await live.reports("run", 0, 1, attempt=1)
    series = await live.get("/runs/run/series")
    assert (series["first_epoch"], series["last_epoch"], series["rewinds"]) == (0, 1, [])


async def test_a_run_without_reports_has_an_empty_series(live: Service) -> None:
    await live.http.put("/runs/run", json={})
    series = await live.get("/runs/run/series")
    assert (series["first_epoch"], series["last_epoch"], series["reports"]) == (None, None, 0)
    assert (series["lines"], series["seeds"], series["decisions"]) == ({}, [], [])


async def test_a_line_is_short_and_keeps_its_peaks(service: Service) -> None:
    for epoch in range(300):
        await service.report("run", epoch, val_accuracy=99.0 if epoch == 123 else 50.0 + math.sin(epoch))
    line = (await service.get("/runs/run/series?points=40"))["lines"]["val_accuracy"]
    assert len(line["epochs"]) <= 40
    assert (123, 99.0) in zip(line["epochs"], line["values"], strict=True)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/runs/nobody/series", 404, "run_not_found"),
        ("/runs/run/series?points=3", 422, "invalid_query"),
        ("/runs/run/series?colour=red", 422, "invalid_query"),
        ("/fleet?action=EXPLODE", 422, "invalid_query"),
        ("/fleet?label=team", 422, "invalid_query"),
        ("/fleet?cursor=x", 422, "invalid_query"),
    ],
)
async def test_what_cannot_be_asked_is_refused(service: Service, path: str, status: int, code: str) -> None:
    await service.reports("run", 0)
    response = await service.http.get(path)
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_the_fleet_tells_of_every_run_at_a_glance(live: Service) -> None:
    await train(live, "grown", 40, labels={"team": "vision"}, max_epochs=80)
    await live.http.put("/runs/fresh", json={"objective": "val_loss"})
    fresh, grown = (await live.get("/fleet"))["items"]
    assert (fresh["run_id"], fresh["last_decision"], fresh["latest"]) == ("fresh", None, None)
    assert (fresh["measure"], fresh["sparkline"]) == ("val_loss", {"epochs": [], "values": []})
    acting = (await live.get("/runs/grown/decisions?action=GERMINATE&action=FOSSILIZE&action=CULL"))["items"]
    last = {**grown["last_decision"]}
    assert (last["epoch"], last["action"]) == (acting[0]["epoch"], acting[0]["action"])
    assert last["reason"] == acting[0]["commands"][0]["reason"]
    assert (grown["last_epoch"], grown["max_epochs"], grown["labels"]) == (39, 80, {"team": "vision"})
    line = grown["sparkline"]
    assert len(line["epochs"]) == 24
    assert (line["epochs"][0], line["epochs"][-1]) == (0, 39)
    record = await live.get("/runs/grown/decisions/39")
    assert line["values"][-1] == grown["latest"] == record["report"]["val_accuracy"]


async def test_the_fleet_tells_the_last_report_whatever_else_reached_the_run(live: Service) -> None:
    for epoch in range(1, 21):
        (reply,) = await live.reports("told", epoch, val_accuracy=50.0 + epoch)
        command = reply["commands"][0]["command_id"]
        done = await live.http.post(f"/runs/told/commands/{command}/outcome", json={"status": "EXECUTED"})
        assert done.status_code == 200
    await live.reports("noted", *range(10), val_accuracy=40.0)
    await live.report("noted", 10, val_accuracy=45.0)
    for number in range(12):
        await live.http.post("/runs/noted/notes", json={"text": f"note {number}"})
    await live.reports("over", 0, 1, val_accuracy=30.0)
    await live.http.post("/runs/over/complete", json={"result": "succeeded"})
    over, noted, told = (await live.get("/fleet"))["items"]
    assert [run["latest"] for run in (told, noted, over)] == [70.0, 45.0, 30.0]
    assert (noted["sparkline"]["epochs"][0], noted["sparkline"]["epochs"][-1]) == (0, 10)
    epochs = told["sparkline"]["epochs"]
    assert (epochs[0], epochs[-1]) == (1, 20)
    assert max(after - before for before, after in pairwise(epochs)) <= 2


async def test_a_curve_is_whole_where_every_place_it_would_take_is_no_report(service: Service) -> None:
    await service.http.put("/runs/run", json={})
    for epoch in range(1, 24):
        await service.http.post("/runs/run/notes", json={"text": "before"})
        await service.report("run", epoch, val_accuracy=50.0 + epoch)
    await service.http.post("/runs/run/notes", json={"text": "after"})
    (run,) = (await service.get("/fleet"))["items"]
    assert run["sparkline"]["epochs"] == list(range(1, 24))
    assert run["latest"] == 73.0


async def test_the_fleet_leaves_out_what_rewinds_discarded(live: Service) -> None:
    await live.reports("anew", 0, 1, 2, val_accuracy=40.0)
    await live.http.post("/runs/anew/rewind", json={"to_epoch": None, "attempt": 1})
    await live.reports("back", 0, 1, 2, 3, val_accuracy=40.0)
    await live.report("back", 4, val_accuracy=10.0)
    await live.http.post("/runs/back/rewind", json={"to_epoch": 2, "attempt": 1})
    for number in range(9):
        await live.http.post("/runs/back/notes", json={"text": f"note {number}"})
    back, anew = (await live.get("/fleet"))["items"]
    assert (anew["last_epoch"], anew["latest"], anew["sparkline"]["epochs"]) == (None, None, [])
    assert (back["last_epoch"], back["latest"]) == (2, 40.0)
    assert back["sparkline"]["epochs"] == [0, 1, 2]
    await live.reports("back", 3, attempt=1, val_accuracy=60.0)
    back, _ = (await live.get("/fleet"))["items"]
    assert back["sparkline"] == {"epochs": [0, 1, 2, 3], "values": [40.0, 40.0, 40.0, 60.0]}


async def test_the_fleet_is_searched_and_filtered_page_by_page(live: Service) -> None:
    for number in range(12):
        await live.reports(f"run-{number:02d}", 0)
    await live.germination("run-05", 1)
    assert [run["run_id"] for run in (await live.get("/fleet?search=N-0&action=GERMINATE"))["items"]] == [
        "run-05"
    ]
    assert [run["run_id"] for run in (await live.get("/fleet?search=RUN-1"))["items"]] == ["run-11", "run-10"]
    found, cursor = [], ""
    while True:
        page = await live.get(f"/fleet?limit=5&action=WAIT{cursor}")
        found += [run["run_id"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == [f"run-{number:02d}" for number in range(11, -1, -1) if number != 5]


async def test_runs_gone_silent_are_found(live: Service) -> None:
    await live.reports("quiet", 0, 1, 2)
    await live.reports("finished", 0)
    await live.http.post("/runs/finished/complete", json={"result": "succeeded"})
    live.clock.now += timedelta(hours=3)
    await live.reports("talking", 0, 1, 2)
    page = await live.get("/fleet?silent=true")
    assert [run["run_id"] for run in page["items"]] == ["quiet"]
    assert page["items"][0]["silent_after_seconds"] == 60.0


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300),
    gaps=st.lists(st.integers(1, 50), min_size=300, max_size=300),
    points=st.integers(4, 120),
)
def test_a_shortened_line_keeps_its_ends_and_extremes(
    values: list[float], gaps: list[int], points: int
) -> None:
    epochs = [sum(gaps[: index + 1]) for index in range(len(values))]
    chosen = kept(epochs, values, points)
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= max(points, 4)
    assert (chosen[0], chosen[-1]) == (0, len(values) - 1)
    remaining = [values[index] for index in chosen]
    assert (min(remaining), max(remaining)) == (min(values), max(values))


def test_passages_lead_through_the_attempts_that_still_count() -> None:
    rewinds = [Rewind(1, 10, 10), Rewind(2, 5, 5), Rewind(3, 20, 20)]
    assert passages(3, rewinds, range(0, 31)) == [(0, range(0, 6)), (2, range(6, 21)), (3, range(21, 31))]
    assert passages(1, rewinds[:1], range(3, 31)) == [(0, range(3, 11)), (1, range(11, 31))]
    assert passages(1, [Rewind(1, -1, None)], range(0, 4)) == [(1, range(0, 4))]
    beyond = [Rewind(1, 20, 5)]
    assert passages(1, beyond, range(0, 12)) == [(0, range(0, 6)), (1, range(6, 12))]
