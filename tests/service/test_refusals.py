"""Everything that is refused: with a problem document, naming field and remedy, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tamiyo_leyline import Problem
from tamiyo_leyline.api import MAX_BATCH_REPORTS, MAX_BODY_BYTES

from tests.service.conftest import Service
from tests.service.samples import report, seed


@pytest.fixture(autouse=True)
async def nothing_changes(service: Service) -> AsyncIterator[None]:
    """One run with one report is there before every test; afterwards it stands as it stood."""
    await service.report("run", 1)
    before = await service.get("/runs"), await service.get("/decisions")
    yield
    assert (await service.get("/runs"), await service.get("/decisions")) == before


def problem(response: Any, status: int, code: str, field: str | None = None) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = Problem.model_validate_json(response.content)
    assert document.status == status
    assert document.code == code
    assert document.detail
    assert document.title
    if field is not None:
        assert field in [error.field for error in document.errors]
    return document


CONTRADICTION = {"initial_val_accuracy": 10, "current_val_accuracy": 20, "total_improvement": 5}
BAD_REPORTS: list[tuple[str, dict[str, Any], str]] = [
    ("accuracy out of range", {"val_accuracy": 250}, "val_accuracy"),
    ("accuracy below zero", {"train_accuracy": -1}, "train_accuracy"),
    ("accuracy not finite", {"val_accuracy": "NaN"}, "val_accuracy"),
    ("negative steps", {"global_step": -1}, "global_step"),
    ("negative epoch", {"epoch": -1}, "epoch"),
    ("epoch as text", {"epoch": "2"}, "epoch"),
    ("epoch as fraction", {"epoch": 1.5}, "epoch"),
    ("epoch as truth", {"epoch": True}, "epoch"),
    ("epoch too large for JSON readers", {"epoch": 2**53}, "epoch"),
    ("loss as words", {"val_loss": "a lot"}, "val_loss"),
    ("unknown field", {"val_acuracy": 50}, "val_acuracy"),
    ("negative slots", {"available_slots": -1}, "available_slots"),
    ("negative norm", {"grad_norm_host": -1.0}, "grad_norm_host"),
    ("utilization beyond one", {"gpu_utilization": 1.5}, "gpu_utilization"),
    ("seeds no list", {"seeds": {"a": 1}}, "seeds"),
    ("65 seeds", {"seeds": [seed(seed_id=str(n), slot_id=str(n)) for n in range(65)]}, "seeds"),
    ("seed without stage", {"seeds": [seed() | {"stage": None}]}, "seeds.0.stage"),
    ("unknown stage", {"seeds": [seed("ASLEEP")]}, "seeds.0.stage"),
    ("stage out of range", {"seeds": [seed() | {"stage": 11}]}, "seeds.0.stage"),
    ("alpha beyond one", {"seeds": [seed(alpha=1.1)]}, "seeds.0.alpha"),
    ("empty seed id", {"seeds": [seed(seed_id="")]}, "seeds.0.seed_id"),
    ("control character in slot id", {"seeds": [seed(slot_id="a\x00b")]}, "seeds.0.slot_id"),
    ("unknown field of a seed", {"seeds": [seed(colour="red")]}, "seeds.0.colour"),
    ("gradient health beyond one", {"seeds": [seed(telemetry={"gradient_health": 2})]},
     "seeds.0.telemetry.gradient_health"),
    ("contradictory improvement",
     {"seeds": [seed(metrics=CONTRADICTION)]},
     "seeds.0.metrics.total_improvement"),
    ("outcome ISSUED", {"outcomes": [{"command_id": "run@0.1.1", "status": "ISSUED"}]}, "outcomes.0.status"),
    ("outcome without status", {"outcomes": [{"command_id": "run@0.1.1"}]}, "outcomes.0.status"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field"), [row[1:] for row in BAD_REPORTS], ids=[r[0] for r in BAD_REPORTS]
)
async def test_a_malformed_report(service: Service, fields: dict[str, Any], field: str) -> None:
    body = json.dumps(report(2) | fields)
    response = await service.http.post("/runs/run/epoch", content=body)
    problem(response, 422, "invalid_report", field)


async def test_duplicate_seeds_and_slots(service: Service) -> None:
    twins = [seed(), seed(slot_id="slot-2")]
    document = problem(await service.report("run", 2, seeds=twins), 422, "invalid_report")
    assert "seed-1" in document.detail
    neighbours = [seed(), seed(seed_id="seed-2")]
    document = problem(await service.report("run", 2, seeds=neighbours), 422, "invalid_report")
    assert "slot-1" in document.detail


@pytest.mark.parametrize("field", ["epoch", "available_slots"])
async def test_a_report_without_what_is_required(service: Service, field: str) -> None:
    body = report(2)
    del body[field]
    problem(await service.http.post("/runs/run/epoch", json=body), 422, "invalid_report", field)


NO_REPORTS = {
    "empty": b"",
    "brace": b"{",
    "truncated": b'{"epoch": 2, "available_slots"',
    "list": b"[]",
    "null": b"null",
    "no unicode": b"\xff\xfe",
    "word": b"nonsense",
    "trailing comma": b'{"epoch": 2,}',
    "deep": b'{"a":' * 5000,
}


@pytest.mark.parametrize("content", NO_REPORTS.values(), ids=NO_REPORTS)
async def test_a_body_that_is_no_report(service: Service, content: bytes) -> None:
    problem(await service.http.post("/runs/run/epoch", content=content), 422, "invalid_report")


async def test_an_unknown_blueprint_is_named_with_the_valid_ones(service: Service) -> None:
    response = await service.report(
        "run", 2, seeds=[seed(), seed(seed_id="b", slot_id="b", blueprint_id="mlp")]
    )
    document = problem(response, 422, "unknown_blueprint", "seeds.1.blueprint_id")
    assert "mlp" in document.detail
    for name in ("norm", "attention", "depthwise", "conv_enhance"):
        assert name in document.detail


async def test_a_body_of_ten_megabytes(service: Service) -> None:
    response = await service.http.post("/runs/run/epoch", content=b"x" * 10_000_000)
    document = problem(response, 413, "payload_too_large")
    assert "1 MiB" in document.detail


async def test_a_large_body_of_unannounced_length(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (MAX_BODY_BYTES // 10)

    for path in ("/runs/run/epoch", "/runs/run/rewind"):
        problem(await service.http.post(path, content=chunks()), 413, "payload_too_large")


async def test_a_body_of_just_the_limit_is_read(service: Service) -> None:
    body = json.dumps(report(1)).encode()
    response = await service.http.post("/runs/run/epoch", content=body.ljust(MAX_BODY_BYTES))
    assert response.status_code == 200


async def test_another_media_type(service: Service) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        response = await service.http.post(
            "/runs/run/epoch", content=b"{}", headers={"content-type": media_type}
        )
        assert "application/json" in problem(response, 415, "unsupported_media_type").detail


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
)
async def test_other_ways_to_say_json_are_understood(service: Service, media_type: str) -> None:
    headers = {"content-type": media_type}
    for path, body in (("/runs/run/epoch", report(1)), ("/runs/run/complete", {})):
        response = await service.http.post(path, content=json.dumps(body), headers=headers)
        assert response.status_code != 415


BAD_RUN_IDS = ["a" * 129, "a%20b", "a%00b", "a%0ab", "%C3%A4", "a@b", "a%2Fb", "a%25b"]


@pytest.mark.parametrize("run_id", BAD_RUN_IDS)
async def test_a_run_id_with_forbidden_characters(service: Service, run_id: str) -> None:
    bodies = {"PUT": {}, "POST": report(1), "GET": None, "DELETE": None}
    for method, path in (("PUT", ""), ("POST", "/epoch"), ("GET", ""), ("DELETE", ""), ("GET", "/decisions")):
        response = await service.http.request(method, f"/runs/{run_id}{path}", json=bodies[method])
        problem(response, 422, "invalid_run_id")


async def test_every_allowed_character_of_a_run_id(service: Service) -> None:
    run_id = "Az09._:-" * 16
    assert (await service.report(run_id, 1)).status_code == 200
    assert (await service.http.delete(f"/runs/{run_id}")).status_code == 204


BAD_CONFIGS: list[tuple[dict[str, Any], str, str]] = [
    ({"topology": "vision"}, "unknown_topology", "topology"),
    ({"topology": {"name": "mine", "blueprints": []}}, "invalid_config", "topology.blueprints"),
    ({"heuristic": {"blueprint_rotation": []}}, "unknown_blueprint", "heuristic.blueprint_rotation"),
    ({"heuristic": {"blueprint_rotation": ["mlp"]}}, "unknown_blueprint", "heuristic.blueprint_rotation"),
    ({"topology": "transformer", "policy": {"name": "learned"}}, "no_artifact", "policy.name"),
    ({"policy": {"name": "learned", "version": "mine-1"}}, "no_artifact", "policy.version"),
    ({"policy": {"name": "oracle"}}, "invalid_config", "policy.name"),
    ({"policy": {"name": "heuristic", "version": "999"}}, "invalid_config", "policy.version"),
    ({"heuristic": {"plateau_epochs": 3}}, "invalid_config", "heuristic.plateau_epochs"),
    ({"tracker": {"history_window": 0}}, "invalid_config", "tracker.history_window"),
    ({"accuracy_unit": "per mille"}, "invalid_config", "accuracy_unit"),
    ({"max_epochs": 0}, "invalid_config", "max_epochs"),
    ({"labels": {"a": 1}}, "invalid_config", "labels.a"),
    ({"nonsense": 1}, "invalid_config", "nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "code", "field"), BAD_CONFIGS)
async def test_a_malformed_configuration(
    service: Service, config: dict[str, Any], code: str, field: str
) -> None:
    problem(await service.http.put("/runs/new", json=config), 422, code, field)
    assert (await service.http.get("/runs/new")).status_code == 404


async def test_unknown_names_are_answered_with_the_valid_ones(service: Service) -> None:
    topology = await service.http.put("/runs/new", json={"topology": "vision"})
    assert "transformer" in problem(topology, 422, "unknown_topology").detail
    policy = await service.http.put("/runs/new", json={"policy": {"name": "oracle"}})
    assert "heuristic" in problem(policy, 422, "invalid_config").detail
    rotation = await service.http.put("/runs/new", json={"heuristic": {"blueprint_rotation": ["mlp"]}})
    assert "depthwise" in problem(rotation, 422, "unknown_blueprint").detail


async def test_a_configuration_that_is_no_json(service: Service) -> None:
    problem(await service.http.put("/runs/new", content=b"{"), 422, "invalid_config")


BAD_BODIES: list[tuple[str, str, Any, str]] = [
    ("POST", "/runs/run/rewind", {"attempt": 0, "to_epoch": 1}, "attempt"),
    ("POST", "/runs/run/rewind", {"to_epoch": 1}, "attempt"),
    ("POST", "/runs/run/rewind", {"attempt": 1}, "to_epoch"),
    ("POST", "/runs/run/rewind", {"attempt": 1, "to_epoch": -1}, "to_epoch"),
    ("POST", "/runs/run/complete", {"result": "won"}, "result"),
    ("POST", "/runs/run/complete", {}, "result"),
    ("POST", "/runs/run/commands/run@0.1.1/outcome", {"status": "ISSUED"}, "status"),
    ("POST", "/runs/run/commands/run@0.1.1/outcome", {"status": "DONE"}, "status"),
    ("POST", "/runs/run/client-decisions", [{"epoch": 1}], "0.reason"),
    ("POST", "/runs/run/client-decisions", {}, ""),
    ("PUT", "/runs/run/hold", {"reason": ""}, "reason"),
    ("PUT", "/runs/run/hold", {}, "reason"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "field"), BAD_BODIES)
async def test_a_malformed_body(service: Service, method: str, path: str, body: Any, field: str) -> None:
    response = await service.http.request(method, path, json=body)
    problem(response, 422, "invalid_request", field)


BAD_QUERIES: list[tuple[str, str]] = [
    ("/runs?status=SLEEPING", "status"),
    ("/runs?policy=oracle", "policy"),
    ("/runs?label=novalue", "label.0"),
    ("/runs?silent_for=-1", "silent_for"),
    ("/runs?limit=0", "limit"),
    ("/runs?limit=1001", "limit"),
    ("/runs?cursor=nonsense", "cursor"),
    ("/runs?colour=red", "colour"),
    ("/decisions?action=EXPLODE", "action"),
    ("/decisions?risk=PURPLE", "risk"),
    ("/decisions?policy=oracle", "policy"),
    ("/decisions?since_epoch=-1", "since_epoch"),
    ("/decisions?since=yesterday", "since"),
    ("/decisions?until=2026-01-01T00:00:00", "until"),
    ("/decisions?order=random", "order"),
    ("/decisions?cursor=Zm9v", "cursor"),
    ("/decisions?cursor=ä", "cursor"),
    ("/decisions?cursor=", "cursor"),
    ("/decisions?epoch=1", "epoch"),
    ("/runs/run/decisions?action=GERMINATE_MLP", "action"),
    ("/runs/run/decisions?limit=many", "limit"),
    ("/runs/run/decisions/1?attempt=-1", "attempt"),
    ("/runs/run/decisions/1?try=1", "try"),
]


@pytest.mark.parametrize(("path", "field"), BAD_QUERIES)
async def test_a_query_with_unknown_names_or_values(service: Service, path: str, field: str) -> None:
    problem(await service.http.get(path), 422, "invalid_query", field)


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        ("/runs?status=SLEEPING", ["ACTIVE", "HELD", "COMPLETED"]),
        ("/runs?policy=oracle", ["heuristic"]),
        ("/decisions?risk=PURPLE", ["GREEN", "CRITICAL"]),
        ("/runs/run/decisions?action=EXPLODE", ["WAIT", "GERMINATE", "GERMINATE_NORM", "FOSSILIZE", "CULL"]),
    ],
)
async def test_an_unknown_filter_value_is_answered_with_the_valid_ones(
    service: Service, path: str, valid: list[str]
) -> None:
    detail = problem(await service.http.get(path), 422, "invalid_query").detail
    for name in valid:
        assert name in detail


@pytest.mark.parametrize(
    "query", ["create=perhaps", "colour=red", "snapshot=2", "explain=", "create=true&create=false", "=1"]
)
async def test_a_report_with_an_unknown_option(service: Service, query: str) -> None:
    response = await service.http.post(f"/runs/run/epoch?{query}", json=report(2))
    assert "snapshot" in problem(response, 422, "invalid_query").detail


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/runs/run"), ("DELETE", "/runs/none"), ("POST", "/runs/run/complete"), ("POST", "/epochs")],
)
async def test_a_parameter_where_there_are_none(service: Service, method: str, path: str) -> None:
    body = {"result": "failed"} if method == "POST" else None
    response = await service.http.request(method, f"{path}?colour=red", json=body)
    problem(response, 422, "invalid_query", "colour")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/runs/none", None),
        ("DELETE", "/runs/none", None),
        ("GET", "/runs/none/decisions", None),
        ("GET", "/runs/none/decisions/1", None),
        ("POST", "/runs/none/rewind", {"to_epoch": None, "attempt": 1}),
        ("POST", "/runs/none/complete", {"result": "failed"}),
        ("POST", "/runs/none/commands/none@0.1.1/outcome", {"status": "EXECUTED"}),
        ("POST", "/runs/none/client-decisions", []),
        ("PUT", "/runs/none/hold", {"reason": "r"}),
        ("DELETE", "/runs/none/hold", None),
        ("POST", "/runs/none/epoch?create=false", report(1)),
    ],
)
async def test_a_run_that_does_not_exist(service: Service, method: str, path: str, body: Any) -> None:
    document = problem(await service.http.request(method, path, json=body), 404, "run_not_found")
    assert "PUT /runs/none" in document.detail


async def test_a_decision_that_does_not_exist(service: Service) -> None:
    problem(await service.http.get("/runs/run/decisions/2"), 404, "decision_not_found")
    problem(await service.http.get("/runs/run/decisions/1?attempt=1"), 404, "decision_not_found")


@pytest.mark.parametrize(
    "path", ["/nonsense", "/runs/", "/runs/run/nonsense", "/runs/run/epoch/1", "/page/nonsense"]
)
async def test_a_path_that_leads_nowhere(service: Service, path: str) -> None:
    document = problem(await service.http.get(path), 404, "not_found")
    assert "/openapi.json" in document.detail


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/runs/run/epoch", "POST"),
        ("PUT", "/epochs", "POST"),
        ("POST", "/runs", "GET"),
        ("PATCH", "/runs/run", "GET"),
        ("POST", "/healthz", "GET"),
    ],
)
async def test_a_method_the_path_does_not_take(
    service: Service, method: str, path: str, allowed: str
) -> None:
    response = await service.http.request(method, path)
    problem(response, 405, "method_not_allowed")
    assert allowed in response.headers["allow"]


@pytest.mark.parametrize("version", ["2.0", "0.9", "", "latest", "10.0"])
async def test_another_major_version_of_leyline(service: Service, version: str) -> None:
    response = await service.http.post("/runs/run/epoch", json=report(2), headers={"Tamiyo-Leyline": version})
    problem(response, 422, "leyline_mismatch")


@pytest.mark.parametrize("version", ["1.0", "1.7", "1"])
async def test_another_minor_version_is_understood(service: Service, version: str) -> None:
    response = await service.http.post("/runs/run/epoch", json=report(1), headers={"Tamiyo-Leyline": version})
    assert response.status_code == 200


async def test_a_refusal_speaks_leyline_too(service: Service) -> None:
    for path in ("/nonsense", "/runs?limit=0"):
        assert (await service.http.get(path)).headers["tamiyo-leyline"] == "1.0"


BAD_BATCHES: list[Any] = [
    {"reports": [{"run_id": "x", "report": report(1)}] * (MAX_BATCH_REPORTS + 1)},
    {"reports": {}},
    {"reports": [], "more": 1},
    {},
    [],
]


@pytest.mark.parametrize("body", BAD_BATCHES, ids=["too many", "no list", "more", "empty", "list"])
async def test_a_body_that_is_no_batch(service: Service, body: Any) -> None:
    problem(await service.http.post("/epochs", json=body), 422, "invalid_report", "reports")


async def test_a_batch_that_is_no_json(service: Service) -> None:
    problem(await service.http.post("/epochs", content=b'{"reports": ['), 422, "invalid_report")


async def test_a_batch_beyond_sixteen_megabytes(service: Service) -> None:
    response = await service.http.post("/epochs", content=b" " * (16 * 1024 * 1024 + 1))
    problem(response, 413, "payload_too_large")
