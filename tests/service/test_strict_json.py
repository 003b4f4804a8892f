"""JSON is taken strictly: numbers that are none, names that come twice, depth, sizes nobody can hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel
from tamiyo_leyline import EpochReport
from tamiyo_leyline.report import SeedMetrics

from tests.service.conftest import Service
from tests.service.samples import report, seed
from tests.service.test_refusals import problem

LOSSES = ["train_loss", "val_loss"]
FINITE = [
    "train_accuracy",
    "val_accuracy",
    "grad_norm_host",
    "gpu_memory_gb",
    "gpu_utilization",
    "epoch_duration_ms",
]
WHOLE = ["epoch", "attempt", "global_step", "available_slots"]
SEED_LOSSES = ["initial_val_loss", "current_val_loss", "loss_at_stage_start", "counterfactual_val_loss"]
SEED_FINITE = [
    "initial_val_accuracy", "current_val_accuracy", "best_val_accuracy", "accuracy_at_stage_start",
    "total_improvement", "improvement_since_stage_start", "counterfactual_val_accuracy",
    "gradient_norm_avg", "current_alpha",
]  # fmt: skip
NOT_FINITE = ["NaN", "Infinity", "-Infinity"]
NO_NUMBERS = ["true", "false", '"1"', "[1]", '{"a":1}', '"NaN "', '"inf"']


def body(epoch: int, name: str, literal: str, *, of_seed: bool = False) -> bytes:
    """A report in which one number is written as `literal`."""
    marked = seed() | {"metrics": {name: "MARK"}}
    fields = {"seeds": [marked]} if of_seed else {name: "MARK"}
    return json.dumps(report(epoch) | fields).replace('"MARK"', literal).encode()


def numbers_of(schema: type[BaseModel]) -> set[str]:
    """The fields that are numbers with a fraction, or losses."""
    properties = schema.model_json_schema()["properties"]
    return {name for name, kind in properties.items() if '"number"' in json.dumps(kind)}


def test_the_lists_have_every_number() -> None:
    assert numbers_of(EpochReport) == {*LOSSES, *FINITE}
    assert numbers_of(SeedMetrics) == {*SEED_LOSSES, *SEED_FINITE}


@pytest.mark.parametrize("literal", [*NOT_FINITE, *(f'"{word}"' for word in NOT_FINITE), "1e999", "9" * 400])
@pytest.mark.parametrize("name", LOSSES)
async def test_a_loss_may_be_anything_but_a_word(service: Service, name: str, literal: str) -> None:
    response = await service.http.post("/runs/run/epoch", content=body(1, name, literal))
    assert response.status_code == 200
    stored = (await service.get("/runs/run/decisions/1"))["report"][name]
    assert stored == (literal.strip('"') if "N" in literal or "I" in literal else "Infinity")


@pytest.mark.parametrize(
    "literal", [*NOT_FINITE, *(f'"{word}"' for word in NOT_FINITE), "1e999", "-1e999", *NO_NUMBERS]
)
@pytest.mark.parametrize("name", FINITE)
async def test_every_other_number_is_finite_and_a_number(service: Service, name: str, literal: str) -> None:
    response = await service.http.post("/runs/run/epoch", content=body(1, name, literal))
    problem(response, 422, "invalid_report", name)


@pytest.mark.parametrize("literal", NO_NUMBERS)
@pytest.mark.parametrize("name", LOSSES)
async def test_a_loss_is_no_truth_and_no_text(service: Service, name: str, literal: str) -> None:
    problem(
        await service.http.post("/runs/run/epoch", content=body(1, name, literal)),
        422,
        "invalid_report",
        name,
    )


@pytest.mark.parametrize(
    "literal", [*NOT_FINITE, "1.0", "1.5", "1e2", "1e999", "9" * 30, *NO_NUMBERS, "null"]
)
@pytest.mark.parametrize("name", WHOLE)
async def test_a_count_is_written_as_a_whole_number(service: Service, name: str, literal: str) -> None:
    problem(
        await service.http.post("/runs/run/epoch", content=body(1, name, literal)),
        422,
        "invalid_report",
        name,
    )


@pytest.mark.parametrize("name", SEED_FINITE)
async def test_the_numbers_of_a_seed_are_finite(service: Service, name: str) -> None:
    for literal in (*NOT_FINITE, '"NaN"', "1e999", "true"):
        response = await service.http.post("/runs/run/epoch", content=body(1, name, literal, of_seed=True))
        problem(response, 422, "invalid_report", f"seeds.0.metrics.{name}")


@pytest.mark.parametrize("name", SEED_LOSSES)
async def test_the_losses_of_a_seed_may_be_anything(service: Service, name: str) -> None:
    for epoch, literal in enumerate((*NOT_FINITE, '"NaN"', "1e999")):
        response = await service.http.post(
            "/runs/run/epoch", content=body(epoch, name, literal, of_seed=True)
        )
        assert response.status_code == 200


@pytest.mark.parametrize("literal", NOT_FINITE)
async def test_no_number_of_a_configuration_may_be_other_than_finite(service: Service, literal: str) -> None:
    for section, name in (
        ("heuristic", "min_improvement_to_fossilize"),
        ("heuristic", "cull_if_accuracy_drops_by"),
        ("learned", "temperature"),
        ("tracker", "plateau_threshold"),
    ):
        content = f'{{"{section}": {{"{name}": {literal}}}}}'.encode()
        problem(
            await service.http.put("/runs/new", content=content), 422, "invalid_config", f"{section}.{name}"
        )


async def test_of_a_name_that_comes_twice_the_last_value_counts(service: Service) -> None:
    twice = b'{"epoch": 1, "available_slots": 1, "val_accuracy": 10, "epoch": 2, "val_accuracy": 20}'
    reply = await service.http.post("/runs/run/epoch", content=twice)
    assert reply.json()["epoch"] == 2
    once = report(2, val_accuracy=20.0, val_loss=None)
    again = await service.http.post("/runs/run/epoch", json=once)
    assert again.headers["tamiyo-replayed"] == "true"
    batch = b'{"reports": [{"run_id": "other", "report": {}, "run_id": "run", "report": %s}]}' % twice
    results = (await service.http.post("/epochs", content=batch)).json()["results"]
    assert results[0]["replayed"] is True


DEEP: list[tuple[str, str, bytes]] = [
    ("POST", "/runs/run/epoch", b'{"epoch": 2, "available_slots": 1, "seeds": %s}'),
    ("PUT", "/runs/run", b'{"labels": %s}'),
    ("PUT", "/runs/run/labels", b'{"labels": %s}'),
    ("POST", "/runs/run/rewind", b'{"attempt": %s}'),
    ("POST", "/runs/run/client-decisions", b'[{"epoch": 1, "reason": "r", "commands": [{"x": %s}]}]'),
    ("POST", "/models/m/1/activate", b'{"reason": %s}'),
]


@pytest.mark.parametrize(("method", "path", "around"), DEEP, ids=[path for _, path, _ in DEEP])
async def test_a_body_as_deep_as_a_mebibyte_allows_is_refused(
    service: Service, method: str, path: str, around: bytes
) -> None:
    await service.report("run", 1)
    for depth in (150, 1_000, 500_000):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            times = min(depth, 1_000_000 // len(opening + closing))
            content = around % (opening * times + b"1" + closing * times)
            response = await service.http.request(method, path, content=content)
            assert response.status_code == 422, response.text
            assert len(response.content) < 10_000


COMMAND: dict[str, Any] = {
    "command_id": "run@0.1.1", "issued_at": "2026-01-01T00:00:00Z", "command_type": "REQUEST_STATE",
    "reason": "alone", "confidence": 1.0, "risk_level": "GREEN", "expires_after_epoch": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issued_at", 1.5),
        ("confidence", True),
        ("confidence", "1"),
        ("expires_after_epoch", 2.0),
        ("expires_after_epoch", "2"),
        ("expires_after_epoch", True),
        ("command_id", 7),
        ("annotations", {"a": 1}),
    ],
)
async def test_commands_that_are_sent_are_taken_exactly(service: Service, name: str, value: object) -> None:
    await service.report("run", 1)
    for command, status in ((COMMAND, 200), (COMMAND | {name: value}, 422)):
        decision = {"epoch": 1, "commands": [command], "reason": "alone"}
        response = await service.http.post("/runs/run/client-decisions", json=[decision])
        assert response.status_code == status, response.text


@pytest.mark.parametrize("moment", ["0", "1767225600", "0.5", "1e9", "2026-01-01", "20260101T000000Z"])
async def test_a_moment_is_written_out(service: Service, moment: str) -> None:
    for path in ("/decisions", "/export"):
        problem(await service.http.get(f"{path}?since={moment}"), 422, "invalid_query", "since")


@pytest.mark.parametrize(
    ("path", "most", "field"),
    [
        ("/runs?label=a:{}", 32, "label"),
        ("/fleet?label=a:{}", 32, "label"),
        ("/decisions?action=GERMINATE_A{}", 70, "action"),
        ("/export?action=GERMINATE_A{}", 70, "action"),
    ],
)
async def test_what_may_be_repeated_is_repeated_so_often(
    service: Service, path: str, most: int, field: str
) -> None:
    before, _, repeated = path.partition("?")
    allowed = "&".join(repeated.format(number) for number in range(most))
    assert (await service.http.get(f"{before}?{allowed}")).status_code == 200
    one_more = f"{before}?{allowed}&{repeated.format(most)}"
    assert f"at most {most}" in problem(await service.http.get(one_more), 422, "invalid_query", field).detail


async def test_events_are_asked_for_in_bounds(service: Service) -> None:
    labels = "&".join(f"label=a:{number}" for number in range(33))
    problem(await service.http.get(f"/events?{labels}"), 422, "invalid_query", "label")
    types = "&".join(["type=decision"] * 100)
    problem(await service.http.get(f"/runs/none/events?{types}"), 422, "invalid_query", "type")
