"""As much as a request may carry costs the service little for long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tamiyo_leyline import RunConfig
from tamiyo_leyline.api import MAX_BODY_BYTES
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.session import KEPT_CHARACTERS, Last, Session, Standing

from tests.service.conftest import Service
from tests.service.samples import report, seed


def largest(epoch: int) -> dict[str, Any]:
    """A report of nearly a mebibyte, every part of it allowed."""
    seeds = [
        seed(
            seed_id=f"s{number}",
            slot_id=f"l{number}",
            annotations={f"k{key}": "x" * 480 for key in range(32)},
        )
        for number in range(64)
    ]
    made = report(epoch, seeds=seeds)
    assert 0.9 * MAX_BODY_BYTES < len(json.dumps(made)) <= MAX_BODY_BYTES
    return made


async def test_the_largest_report_is_decided_and_answered_again_with_the_same_bytes(
    any_service: Service,
) -> None:
    first = await any_service.http.post("/runs/run/epoch", json=largest(1))
    again = await any_service.http.post("/runs/run/epoch", json=largest(1))
    assert first.status_code == 200
    assert (again.content, again.headers["tamiyo-replayed"]) == (first.content, "true")


async def test_the_largest_report_may_come_twice_in_a_batch(any_service: Service) -> None:
    item = {"run_id": "run", "report": largest(1)}
    results = (await any_service.http.post("/epochs", json={"reports": [item, item]})).json()["results"]
    assert [result["replayed"] for result in results] == [False, True]
    assert results[0]["reply"] == results[1]["reply"]


@pytest.mark.parametrize(("length", "kept"), [(KEPT_CHARACTERS - 2, True), (KEPT_CHARACTERS - 1, False)])
def test_an_idle_run_keeps_its_last_report_only_if_it_is_short(length: int, kept: bool) -> None:
    engine = Engines().of(RunConfig())
    session = Session(1, "run", Standing(engine, engine.initial(), last=Last(1, "x" * length, "{}")))
    session.let_go()
    assert (session.standing.last is not None) is kept
