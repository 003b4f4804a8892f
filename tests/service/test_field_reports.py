"""Field reports: one for each seed that is over, also after rewinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tamiyo_leyline import FieldReport
from tamiyo_service.runs.lives import Life, Moment, passages
from tamiyo_service.store import SqlStore, Store
from tamiyo_service.store.rows import Rewind

from tests.service.conftest import Service, serving
from tests.service.samples import seed

START = 51.0


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    async with serving(closed_store) as service:
        yield service


def grown(stage: str, accuracy: float, **fields: Any) -> dict[str, Any]:
    """A seed with what was measured of it."""
    metrics = {
        "initial_val_accuracy": START,
        "accuracy_at_stage_start": START,
        "current_val_accuracy": accuracy,
        "parameters": 120,
    }
    return seed(stage, metrics=metrics, **fields)


async def tell(service: Service, epoch: int, *seeds: dict[str, Any], attempt: int = 0, **fields: Any) -> Any:
    """Report an epoch with these seeds; the reply."""
    response = await service.report(
        "run", epoch, seeds=list(seeds), attempt=attempt, available_slots=1 - len(seeds), **fields
    )
    assert response.status_code == 200, response.text
    return response.json()


async def field_reports(service: Service, query: str = "") -> list[FieldReport]:
    """The latest end first."""
    page = await service.get(f"/runs/run/field-reports{query}")
    return [FieldReport.model_validate(item) for item in page["items"]]


async def executed(service: Service, reply: Any) -> str:
    """Say that the reply's first command was carried out; its id."""
    command_id: str = reply["commands"][0]["command_id"]
    path = f"/runs/run/commands/{command_id}/outcome"
    assert (await service.http.post(path, json={"status": "EXECUTED"})).status_code == 200
    return command_id


async def germinated(service: Service) -> tuple[int, str, dict[str, Any]]:
    """A run whose policy has asked for a seed: the epoch, the command's id, the reply."""
    await service.http.put("/runs/run", json={"heuristic": {"blueprint_rotation": ["norm"]}})
    reply = await service.germination("run")
    return reply["epoch"], await executed(service, reply), reply


async def failing(service: Service, epoch: int) -> dict[str, Any]:
    """Report a seed that is worse than nothing, from this epoch on; the reply that culls it."""
    await tell(service, epoch, grown("GERMINATED", 51.0))
    await tell(service, epoch + 1, grown("TRAINING", 58.5))
    for number in range(epoch + 2, epoch + 40):
        reply: dict[str, Any] = await tell(service, number, grown("TRAINING", 45.0))
        if reply["commands"][0]["command_type"] == "CULL":
            return reply
    raise AssertionError("no cull within 40 epochs")


async def test_a_seed_that_is_culled_is_told_of_from_beginning_to_end(live: Service) -> None:
    epoch, asked, reply = await germinated(live)
    answer = await failing(live, epoch + 1)
    last, ended = answer["epoch"], await executed(live, answer)
    assert await field_reports(live) == []
    await tell(live, last + 1, grown("CULLED", 44.0))
    (told,) = await field_reports(live)
    assert (told.seed_id, told.slot_id, told.blueprint_id) == ("seed-1", "slot-1", "norm")
    assert (told.success, told.vanished, told.superseded) == (False, False, False)
    assert (told.final_stage.name, told.failure_stage) == ("CULLED", 3)
    assert (told.germinated_epoch, told.completed_epoch) == (epoch + 1, last + 1)
    assert told.epochs_per_stage == {"GERMINATED": 1, "TRAINING": last - epoch - 1}
    assert (told.accuracy_at_germination, told.accuracy_at_completion, told.best_accuracy) == (
        51.0,
        44.0,
        58.5,
    )
    assert told.total_improvement == pytest.approx(44.0 - START)
    assert told.attributed_improvement is not None
    assert told.parameters == 120
    assert told.command_ids == (asked, ended)
    assert told.signals_at_germination.metrics.epoch == epoch
    assert told.germinated_by is not None
    assert (told.germinated_by.command_id, told.germinated_by.action) == (asked, "GERMINATE_NORM")
    assert told.germinated_by.policy.model_dump() == reply["policy"]
    assert told.ended_by is not None
    assert (told.ended_by.command_id, told.ended_by.action, told.ended_by.epoch) == (ended, "CULL", last)
    assert told.failure_reason == answer["commands"][0]["reason"]


async def test_a_seed_that_is_fossilised_succeeded(live: Service) -> None:
    epoch, asked, _ = await germinated(live)
    for number, stage in enumerate(("GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY"), 1):
        await tell(live, epoch + number, grown(stage, 50.0 + number, alpha=1.0))
    await tell(live, epoch + 8, grown("FOSSILIZED", 57.0, alpha=1.0))
    await tell(live, epoch + 9)
    (told,) = await field_reports(live)
    assert (told.success, told.final_stage.name) == (True, "FOSSILIZED")
    assert (told.failure_stage, told.failure_reason, told.ended_by) == (None, None, None)
    assert told.epochs_per_stage["PROBATIONARY"] == 3
    assert told.command_ids[0] == asked


async def test_a_seed_that_is_reported_no_more_has_vanished(live: Service) -> None:
    await tell(live, 0)
    await tell(live, 1, grown("TRAINING", 53.0))
    await tell(live, 4)
    (told,) = await field_reports(live)
    assert (told.vanished, told.success, told.final_stage.name) == (True, False, "CULLED")
    assert (told.germinated_epoch, told.completed_epoch) == (1, 4)
    assert (told.accuracy_at_completion, told.epochs_per_stage) == (53.0, {"TRAINING": 3})
    assert (told.germinated_by, told.ended_by, told.command_ids) == (None, None, ())
    assert told.failure_reason == "the trainer reported it no more"
    assert told.signals_at_germination.metrics.epoch == 1


async def test_a_seed_under_an_old_id_is_another_seed(live: Service) -> None:
    for epoch, accuracy in ((1, 60.0), (4, 55.0)):
        await tell(live, epoch, grown("GERMINATED", accuracy))
        await tell(live, epoch + 1, grown("CULLED", accuracy))
        await tell(live, epoch + 2)
    later, first = await field_reports(live)
    assert [told.germinated_epoch for told in (first, later)] == [1, 4]
    assert [told.best_accuracy for told in (first, later)] == [60.0, 55.0]
    assert first.report_id != later.report_id


async def rewind(service: Service, to_epoch: int | None, attempt: int) -> None:
    body = {"to_epoch": to_epoch, "attempt": attempt}
    assert (await service.http.post("/runs/run/rewind", json=body)).status_code == 200


async def culled_at_the_end(service: Service) -> tuple[int, str]:
    """A run that is over, whose last command, a cull, was carried out: its last epoch, the command's id."""
    epoch, _, _ = await germinated(service)
    answer = await failing(service, epoch + 1)
    ended = await executed(service, answer)
    assert await field_reports(service) == []
    body = {"result": "succeeded"}
    assert (await service.http.post("/runs/run/complete", json=body)).status_code == 200
    return answer["epoch"], ended


async def test_what_became_of_the_last_command_counts_once_the_run_is_over(live: Service) -> None:
    last, ended = await culled_at_the_end(live)
    (told,) = await field_reports(live)
    assert told.ended_by is not None
    assert (told.ended_by.command_id, told.completed_epoch, told.superseded) == (ended, last + 1, False)
    assert (await live.get("/runs/run"))["seeds"] == []
    decision = await live.get(f"/runs/run/decisions/{last}")
    assert [(o["status"], o["epoch"]) for o in decision["outcomes"]] == [("EXECUTED", last + 1)]


@pytest.mark.parametrize("beyond", [0, 10])
async def test_a_run_that_is_reopened_has_the_seeds_of_its_last_report(live: Service, beyond: int) -> None:
    last, _ = await culled_at_the_end(live)
    await rewind(live, last + beyond, attempt=1)
    assert [seed["seed_id"] for seed in (await live.get("/runs/run"))["seeds"]] == ["seed-1"]
    (discarded,) = await field_reports(live)
    assert discarded.superseded
    assert (await live.get(f"/runs/run/decisions/{last}"))["outcomes"] == []
    await tell(live, last + 1, attempt=1)
    again, _ = await field_reports(live)
    assert (again.attempt, again.completed_epoch, again.superseded) == (1, last + 1, False)


async def test_what_an_attempt_knew_is_not_rewritten_by_the_next(live: Service) -> None:
    epoch, asked, _ = await germinated(live)
    await tell(live, epoch + 1, grown("TRAINING", 53.0))
    await tell(live, epoch + 2)
    await rewind(live, epoch, attempt=1)
    refused = {"command_id": asked, "status": "REFUSED"}
    await tell(live, epoch + 1, attempt=1, outcomes=[refused])
    (told,) = await field_reports(live)
    assert told.germinated_by is not None
    assert told.germinated_by.command_id == asked
    decision = await live.get(f"/runs/run/decisions/{epoch}")
    assert [outcome["status"] for outcome in decision["outcomes"]] == ["REFUSED"]
    for attempt, known in enumerate(("EXECUTED", "REFUSED")):
        replay = await live.http.post("/runs/run/replay", json={"attempt": attempt, "items": "all"})
        (item,) = [item for item in replay.json()["items"] if item["epoch"] == epoch]
        assert known in replay.text, item


async def test_a_seed_came_of_the_germination_of_its_own_blueprint(live: Service) -> None:
    epoch, asked, _ = await germinated(live)
    own = grown("TRAINING", 53.0, seed_id="own", blueprint_id="attention")
    ordered = grown("TRAINING", 53.0, seed_id="ordered", slot_id="slot-2")
    assert (await live.report("run", epoch + 1, seeds=[own, ordered])).status_code == 200
    assert (await live.report("run", epoch + 2)).status_code == 200
    told = {report.seed_id: report.germinated_by for report in await field_reports(live)}
    assert told["own"] is None
    assert told["ordered"] is not None
    assert told["ordered"].command_id == asked


async def test_an_end_that_a_rewind_discarded_is_told_beside_the_one_that_counts(live: Service) -> None:
    await tell(live, 1, grown("TRAINING", 52.0))
    await tell(live, 2, grown("TRAINING", 53.0))
    await tell(live, 3, grown("TRAINING", 90.0))
    await tell(live, 4, grown("CULLED", 40.0))
    await rewind(live, 2, 1)
    assert [told.superseded for told in await field_reports(live)] == [True]
    await tell(live, 3, grown("BLENDING", 55.0), attempt=1)
    await tell(live, 6, grown("CULLED", 54.0), attempt=1)
    counts, discarded = await field_reports(live)
    assert (counts.superseded, discarded.superseded) == (False, True)
    assert (counts.attempt, counts.germinated_epoch, counts.completed_epoch) == (1, 1, 6)
    assert (counts.best_accuracy, discarded.best_accuracy) == (55.0, 90.0)
    assert counts.epochs_per_stage == {"TRAINING": 2, "BLENDING": 3}
    assert discarded.epochs_per_stage == {"TRAINING": 3}


async def test_a_seed_that_a_rewind_undid_was_never_there(live: Service) -> None:
    await tell(live, 1)
    await tell(live, 2, grown("TRAINING", 52.0))
    await rewind(live, 1, 1)
    await tell(live, 2, attempt=1)
    await tell(live, 3, attempt=1)
    assert await field_reports(live) == []
    await rewind(live, None, 2)
    await tell(live, 0, grown("TRAINING", 52.0), attempt=2)
    await tell(live, 1, attempt=2)
    assert [(told.attempt, told.germinated_epoch) for told in await field_reports(live)] == [(2, 0)]


async def test_reports_come_in_pages_the_latest_end_first(live: Service) -> None:
    for number in range(5):
        one = grown("TRAINING", 52.0, seed_id=f"seed-{number}")
        await tell(live, 2 * number, one)
    await tell(live, 10)
    whole = await live.get("/runs/run/field-reports")
    names = [item["seed_id"] for item in whole["items"]]
    assert names == [f"seed-{number}" for number in (4, 3, 2, 1, 0)]
    paged: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await live.get(f"/runs/run/field-reports?limit=2{cursor and f'&cursor={cursor}'}")
        paged += page["items"]
        cursor = page["next_cursor"]
    assert paged == whole["items"]


async def test_fractions_are_told_in_percent(live: Service) -> None:
    await live.http.put("/runs/run", json={"accuracy_unit": "fraction"})
    metrics = {"initial_val_accuracy": 0.5, "current_val_accuracy": 0.625}
    await tell(live, 1, seed("TRAINING", metrics=metrics), val_accuracy=0.5)
    await tell(live, 2, val_accuracy=0.5)
    (told,) = await field_reports(live)
    assert (told.accuracy_at_germination, told.best_accuracy) == (50.0, 62.5)


async def test_another_replica_tells_the_same(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        await tell(one, 1, grown("TRAINING", 52.0))
        await tell(two, 2, grown("CULLED", 51.0))
        assert await field_reports(one) == await field_reports(two) != []


async def test_an_unknown_run_has_none(service: Service) -> None:
    response = await service.http.get("/runs/none/field-reports")
    assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


def test_a_life_leads_through_the_attempts_that_no_rewind_discarded() -> None:
    life = Life("seed", "slot", Moment(0, 3, 0), None, Moment(3, 20, 0))
    rewinds = [Rewind(1, 8, 8), Rewind(2, 5, 5), Rewind(3, 9, 9)]
    assert passages(life, rewinds) == [
        (0, range(3, 6)), (1, range(6)), (2, range(10)), (3, range(21)),
    ]  # fmt: skip
