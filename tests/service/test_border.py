"""What the border and the routes make of unusual requests: paths, queries, headers, encodings."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from tamiyo_service.api.cursor import encode_cursor
from tamiyo_service.api.queries import DecisionQuery

from tests.service.conftest import Service
from tests.service.samples import report
from tests.service.test_refusals import problem

RESULT = {"result": "failed"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/runs/a%2Fepoch", report(2)),
        ("POST", "/runs/a%2fepoch/epoch", report(2)),
        ("PUT", "/runs/a%2Fhold", {"reason": "r"}),
        ("DELETE", "/runs/a%2Fhold", None),
        ("GET", "/runs/a%2Fdecisions", None),
        ("POST", "/runs/a%2Fcomplete", RESULT),
        ("POST", "/runs/a%252Fcomplete/complete", RESULT),
    ],
)
async def test_an_escaped_slash_in_a_run_id_reaches_no_other_run(
    service: Service, method: str, path: str, body: Any
) -> None:
    await service.report("a", 1)
    before = await service.get("/runs")
    response = await service.http.request(method, path, json=body)
    assert "no slash" in problem(response, 422, "invalid_run_id", "run_id").detail
    assert await service.get("/runs") == before


async def test_an_escaped_slash_in_a_command_id_is_a_command_that_was_never_issued(service: Service) -> None:
    await service.report("a", 1)
    response = await service.http.post("/runs/a/commands/a%2Fb/outcome", json={"status": "EXECUTED"})
    problem(response, 422, "unknown_command", "command_id")


async def test_an_outcome_blames_the_field_that_its_request_has(service: Service) -> None:
    await service.report("a", 1)
    response = await service.http.post("/runs/a/commands/a@0.1.9/outcome", json={"status": "EXECUTED"})
    document = problem(response, 422, "unknown_command")
    assert [error.field for error in document.errors] == ["command_id"]


@pytest.mark.parametrize("run_id", [".", ".."])
async def test_dot_segments_are_no_run_ids(service: Service, run_id: str) -> None:
    item = {"run_id": run_id, "report": report(1)}
    results = (await service.http.post("/epochs", json={"reports": [item]})).json()["results"]
    assert results[0]["problem"]["code"] == "invalid_run_id"
    escaped = run_id.replace(".", "%2E")
    for method, path, body in (("PUT", "", {}), ("POST", "/epoch", report(1))):
        response = await service.http.request(method, f"/runs/{escaped}{path}", json=body)
        problem(response, 422, "invalid_run_id", "run_id")
    assert (await service.get("/runs"))["items"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", "/runs/a%20b"), ("POST", "/runs/a%20b/epoch")])
async def test_every_route_says_what_a_run_id_is(service: Service, method: str, path: str) -> None:
    document = problem(await service.http.request(method, path), 422, "invalid_run_id", "run_id")
    assert document.detail.startswith("a run id has 1–128 letters, digits")
    assert "{" not in document.detail


GENUINE = encode_cursor((1, 1), DecisionQuery()) or ""


def cursor_of(*position: object) -> str:
    """A cursor as the service makes them, for any position."""
    *_, fingerprint = json.loads(base64.urlsafe_b64decode(GENUINE + "=="))
    return base64.urlsafe_b64encode(json.dumps([*position, fingerprint]).encode()).decode().rstrip("=")


@pytest.mark.parametrize("position", [2**63, 2**70, -1, True, 1.5, None, "1", [1]])
async def test_a_cursor_with_an_impossible_position(service: Service, position: object) -> None:
    assert (await service.http.get(f"/decisions?cursor={cursor_of(1, 1)}")).status_code == 200
    for cursor in (cursor_of(1, position), cursor_of(position, 1), cursor_of(1), cursor_of(1, 1, 1)):
        problem(await service.http.get(f"/decisions?cursor={cursor}"), 422, "invalid_query", "cursor")


@pytest.mark.parametrize("around", ["{}!!!", "!{}", "{} ", "{}%0A", "{}ä"])
async def test_a_cursor_with_something_around_it(service: Service, around: str) -> None:
    cursor = around.format(GENUINE)
    problem(await service.http.get(f"/decisions?cursor={cursor}"), 422, "invalid_query", "cursor")


@pytest.mark.parametrize("name", ["since_epoch", "until_epoch"])
@pytest.mark.parametrize("value", [2**53, 2**63, 99999999999999999999])
async def test_an_epoch_beyond_what_the_wire_holds(any_service: Service, name: str, value: int) -> None:
    await any_service.report("a", 1)
    for path in ("/decisions", "/runs/a/decisions"):
        problem(await any_service.http.get(f"{path}?{name}={value}"), 422, "invalid_query", name)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/runs?limit=1&limit=2", "limit"),
        ("/runs?limit=1&limit=1", "limit"),
        ("/decisions?since_epoch=1&order=asc&since_epoch=2", "since_epoch"),
        ("/runs/a/decisions?policy=heuristic&policy=heuristic", "policy"),
        ("/runs/a/decisions/1?attempt=0&attempt=1", "attempt"),
    ],
)
async def test_a_parameter_of_one_value_given_twice(service: Service, path: str, field: str) -> None:
    await service.report("a", 1)
    assert "once" in problem(await service.http.get(path), 422, "invalid_query", field).detail


async def test_labels_and_actions_may_be_repeated(service: Service) -> None:
    for path in ("/runs?label=a:1&label=b:2", "/decisions?action=WAIT&action=CULL"):
        assert (await service.http.get(path)).status_code == 200


async def test_a_label_with_an_empty_value_can_be_looked_for(service: Service) -> None:
    await service.http.put("/runs/a", json={"labels": {"team": ""}})
    await service.http.put("/runs/b", json={"labels": {"team": "vision"}})
    assert [run["run_id"] for run in (await service.get("/runs?label=team:"))["items"]] == ["a"]
    for label in (":", ":vision", "team"):
        problem(await service.http.get(f"/runs?label={label}"), 422, "invalid_query", "label.0")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_can_be_asked_for_with_head_and_in_any_version(service: Service, path: str) -> None:
    assert (await service.http.head(path)).status_code == 200
    for method in ("GET", "HEAD"):
        answer = await service.http.request(method, path, headers={"Tamiyo-Leyline": "9.0"})
        assert answer.status_code == 200
    refused = await service.http.post(path)
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/runs/a/epoch", "/epochs", "/runs/a/rewind"])
async def test_a_compressed_body(service: Service, path: str) -> None:
    headers = {"content-encoding": "gzip"}
    body = gzip.compress(json.dumps(report(1)).encode())
    response = await service.http.post(path, content=body, headers=headers)
    assert "content-encoding" in problem(response, 415, "unsupported_media_type").detail


async def test_a_body_that_says_it_is_not_encoded(service: Service) -> None:
    headers = {"content-encoding": "Identity"}
    response = await service.http.post("/runs/a/epoch", json=report(1), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/runs/a/epoch", report(1)), ("POST", "/epochs", {"reports": []}), ("PUT", "/runs/a", {})],
)
async def test_a_byte_order_mark_is_named(
    service: Service, encoding: str, method: str, path: str, body: Any
) -> None:
    response = await service.http.request(method, path, content=json.dumps(body).encode(encoding))
    assert response.status_code == 422
    assert "byte order mark" in response.json()["detail"]


async def test_one_bad_blueprint_is_one_fault(service: Service) -> None:
    topology = {"name": "mine", "blueprints": [{"name": "small", "parameters": -1}]}
    document = problem(await service.http.put("/runs/a", json={"topology": topology}), 422, "invalid_config")
    assert [error.field for error in document.errors] == ["topology.blueprints.0.parameters"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything new"])
async def test_a_page_of_another_origin_changes_nothing(service: Service, site: str) -> None:
    await service.report("a", 1)
    before = await service.get("/runs")
    foreign = {"sec-fetch-site": site}
    for method, path, body in [
        ("POST", "/runs/a/epoch", report(2)),
        ("POST", "/runs/a/complete", RESULT),
        ("POST", "/epochs", {"reports": []}),
        ("PUT", "/runs/a/hold", {"reason": "r"}),
        ("DELETE", "/runs/a", None),
    ]:
        response = await service.http.request(method, path, json=body, headers=foreign)
        assert site in problem(response, 403, "forbidden", "sec-fetch-site").detail
    assert await service.get("/runs") == before
    assert (await service.http.get("/runs", headers=foreign)).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_the_own_page_may_change_runs(service: Service, site: str) -> None:
    await service.report("a", 1)
    own = {"sec-fetch-site": site}
    held = await service.http.put("/runs/a/hold", json={"reason": "r"}, headers=own)
    assert held.status_code == 200
