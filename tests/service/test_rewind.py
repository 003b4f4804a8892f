"""Rewinds: a trainer went back to a checkpoint, and goes on as if nothing after it had been."""

from __future__ import annotations

from typing import Any

import httpx

from tests.service.conftest import Service
from tests.service.samples import report, seed


async def rewind(service: Service, to_epoch: int | None, attempt: int, run_id: str = "run") -> httpx.Response:
    body = {"to_epoch": to_epoch, "attempt": attempt}
    return await service.http.post(f"/runs/{run_id}/rewind", json=body)


async def state(service: Service, epoch: int, attempt: int = 0, run_id: str = "run", **fields: Any) -> Any:
    body = report(epoch, attempt=attempt, **fields)
    response = await service.http.post(f"/runs/{run_id}/epoch?snapshot=true", json=body)
    assert response.status_code == 200, response.text
    return response.json()["state"]


async def test_a_rewound_run_goes_on_as_if_the_rest_had_not_been(any_service: Service) -> None:
    for epoch in range(12):
        await any_service.report("run", epoch, val_accuracy=50.0 if epoch < 6 else 90.0)
        if epoch < 6:
            await any_service.report("straight", epoch)
    answer = await rewind(any_service, 5, 1)
    assert answer.json() == {"run_id": "run", "attempt": 1, "resumed_epoch": 5}
    for epoch in range(6, 12):
        tracker = (await state(any_service, epoch, 1))[1]
        assert tracker == (await state(any_service, epoch, run_id="straight"))[1]
    rewound = await any_service.get("/runs/run/decisions?order=asc&since_epoch=6")
    straight = await any_service.get("/runs/straight/decisions?order=asc&since_epoch=6")
    told = [[c["reason"] for c in i["commands"]] for i in rewound["items"] if i["attempt"] == 1]
    assert told == [[c["reason"] for c in i["commands"]] for i in straight["items"]]


async def test_a_rewind_resumes_the_last_report_up_to_the_epoch(any_service: Service) -> None:
    await any_service.reports("run", 2, 4, 8)
    assert (await rewind(any_service, 7, 1)).json()["resumed_epoch"] == 4
    assert (await any_service.get("/runs/run"))["last_epoch"] == 4


async def test_a_rewind_to_nothing_starts_over(any_service: Service) -> None:
    first = await state(any_service, 0)
    await any_service.reports("run", 1, 2)
    assert (await rewind(any_service, None, 1)).json() == {
        "run_id": "run",
        "attempt": 1,
        "resumed_epoch": None,
    }
    assert (await state(any_service, 0, 1))[1] == first[1]


async def test_a_rewind_before_the_first_report_starts_over(any_service: Service) -> None:
    await any_service.reports("run", 5, 6)
    assert (await rewind(any_service, 4, 1)).json()["resumed_epoch"] is None
    assert (await any_service.report("run", 1, attempt=1)).status_code == 200


async def test_repeating_a_rewind_answers_the_same_and_changes_nothing(any_service: Service) -> None:
    await any_service.reports("run", 0, 1, 2)
    first = await rewind(any_service, 1, 1)
    await any_service.report("run", 2, attempt=1)
    await rewind(any_service, 2, 2)
    before = await any_service.get("/runs/run")
    assert (await rewind(any_service, 1, 1)).json() == first.json()
    assert (await rewind(any_service, 2, 2)).status_code == 200
    assert await any_service.get("/runs/run") == before


async def test_an_attempt_must_be_the_next_one(any_service: Service) -> None:
    await any_service.reports("run", 0, 1)
    await rewind(any_service, 0, 1)
    for to_epoch, attempt in ((0, 3), (1, 1), (None, 1)):
        refused = await rewind(any_service, to_epoch, attempt)
        assert (refused.status_code, refused.json()["code"]) == (409, "attempt_conflict")
        assert "next attempt is 2" in refused.json()["detail"]


async def test_discarded_decisions_stay_and_are_marked(any_service: Service) -> None:
    await any_service.reports("run", 0, 1, 2, 3)
    await rewind(any_service, 1, 1)
    await any_service.reports("run", 2, 3, attempt=1)
    await rewind(any_service, 2, 2)
    items = (await any_service.get("/runs/run/decisions?order=asc"))["items"]
    assert [(i["attempt"], i["epoch"], i["superseded"]) for i in items] == [
        (0, 0, False),
        (0, 1, False),
        (0, 2, True),
        (0, 3, True),
        (1, 2, False),
        (1, 3, True),
    ]


async def test_a_rewind_looks_past_discarded_decisions(any_service: Service) -> None:
    await any_service.reports("run", 0, 1, 2, 3)
    await rewind(any_service, 0, 1)
    await any_service.reports("run", 5, attempt=1)
    assert (await rewind(any_service, 4, 2)).json()["resumed_epoch"] == 0
    assert (await rewind(any_service, None, 3)).json()["resumed_epoch"] is None
    assert (await rewind(any_service, 9, 4)).json()["resumed_epoch"] is None


async def test_a_rewind_reopens_a_completed_run(any_service: Service) -> None:
    await any_service.reports("run", 0, 1)
    await any_service.http.post("/runs/run/complete", json={"result": "failed"})
    await rewind(any_service, 1, 1)
    run = await any_service.get("/runs/run")
    assert (run["status"], run["result"], run["attempt"]) == ("ACTIVE", None, 1)
    assert (await any_service.report("run", 2, attempt=1)).status_code == 200


async def test_a_rewind_leaves_a_hold_in_force(any_service: Service) -> None:
    await any_service.reports("run", 0, 1)
    await any_service.http.put("/runs/run/hold", json={"reason": "r"})
    await any_service.http.post("/runs/run/complete", json={"result": "failed"})
    await rewind(any_service, 1, 1)
    assert (await any_service.get("/runs/run"))["status"] == "HELD"
    (reply,) = await any_service.reports("run", 2, attempt=1)
    assert reply["commands"][0]["reason"].startswith("held by operator")


async def test_reports_of_an_older_attempt(any_service: Service) -> None:
    (first, *_) = [await any_service.report("run", epoch) for epoch in (1, 3)]
    await rewind(any_service, 1, 1)
    again = await any_service.report("run", 1)
    assert (again.content, again.headers["tamiyo-replayed"]) == (first.content, "true")
    assert (await any_service.report("run", 3)).headers["tamiyo-replayed"] == "true"
    for epoch in (0, 2, 4):
        assert (await any_service.report("run", epoch)).json()["code"] == "stale_epoch"
    assert (await any_service.report("run", 3, val_accuracy=1.0)).json()["code"] == "epoch_conflict"


async def test_the_resumed_epoch_is_not_reported_again(any_service: Service) -> None:
    await any_service.reports("run", 1, 3)
    await rewind(any_service, 2, 1)
    assert (await any_service.report("run", 1, attempt=1)).json()["code"] == "stale_epoch"
    assert (await any_service.report("run", 2, attempt=1)).status_code == 200


async def test_outcomes_told_after_the_checkpoint_are_forgotten(any_service: Service) -> None:
    issued = await any_service.germination("run")
    command_id = issued["commands"][0]["command_id"]
    before = await state(any_service, issued["epoch"])
    await any_service.http.post(f"/runs/run/commands/{command_id}/outcome", json={"status": "REFUSED"})
    await rewind(any_service, issued["epoch"], 1)
    run = await any_service.http.post(
        "/runs/run/epoch?snapshot=true",
        json=report(issued["epoch"] + 1, attempt=1, seeds=[seed("GERMINATED")]),
    )
    assert run.status_code == 200
    record = await any_service.get(f"/runs/run/decisions/{issued['epoch']}")
    assert [outcome["status"] for outcome in record["outcomes"]] == ["EXECUTED"]
    assert await state(any_service, issued["epoch"]) == before


async def test_the_latest_attempt_of_an_epoch_is_shown_unless_asked_otherwise(any_service: Service) -> None:
    await any_service.reports("run", 1, 2)
    await rewind(any_service, 1, 1)
    await any_service.reports("run", 2, attempt=1)
    assert (await any_service.get("/runs/run/decisions/2"))["attempt"] == 1
    assert (await any_service.get("/runs/run/decisions/2?attempt=0"))["superseded"] is True
    assert (await any_service.get("/runs/run/decisions/1"))["attempt"] == 0


async def test_a_stale_epoch_after_a_rewind_to_nothing_is_told_what_to_report(any_service: Service) -> None:
    await any_service.reports("run", 1, 3)
    await rewind(any_service, None, 1)
    refused = (await any_service.report("run", 2)).json()
    assert refused["code"] == "stale_epoch"
    assert "attempt 0 is over; report under attempt 1" in refused["detail"]


async def test_an_attempt_of_a_run_that_does_not_exist(any_service: Service) -> None:
    refused = (await any_service.report("run", 2, attempt=1)).json()
    assert refused["code"] == "attempt_conflict"
    assert "there is no run run yet" in refused["detail"]


async def test_client_decisions_belong_to_attempts_that_were_opened(any_service: Service) -> None:
    await any_service.reports("run", 1)
    await rewind(any_service, 1, 1)
    decisions: list[dict[str, Any]] = [
        {"epoch": 5, "attempt": n, "reason": "no answer", "commands": []} for n in (0, 1, 2)
    ]
    refused = await any_service.http.post("/runs/run/client-decisions", json=decisions)
    assert (refused.status_code, refused.json()["code"]) == (409, "attempt_conflict")
    assert refused.json()["errors"][0]["field"] == "2.attempt"
    accepted = await any_service.http.post("/runs/run/client-decisions", json=decisions[:2])
    assert accepted.json()["recorded"] == 2
