"""Large and hostile bodies: refused at the first element too many, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tamiyo_leyline.api import MAX_BATCH_REPORTS, MAX_BODY_BYTES, MAX_CLIENT_DECISIONS

from tests.service.conftest import Service
from tests.service.samples import report, seed
from tests.service.test_refusals import problem

DECISION = {"epoch": 1, "commands": [], "reason": "alone"}


def batch_of(*elements: bytes) -> bytes:
    return b'{"reports": [' + b",".join(elements) + b"]}"


async def turns_during(service: Service, path: str, body: bytes) -> tuple[Any, int]:
    """The answer to a request, and how often others had their turn meanwhile."""
    request = asyncio.create_task(service.http.post(path, content=body))
    turns = 0
    while not request.done():
        await asyncio.sleep(0)
        turns += 1
    return request.result(), turns


async def test_a_batch_is_not_read_beyond_the_first_element_too_many(service: Service) -> None:
    body = b'{"reports": [' + b"1," * MAX_BATCH_REPORTS + b"1, this is not even JSON"
    document = problem(
        await service.http.post("/epochs", content=body), 422, "invalid_report", field="reports"
    )
    assert "at most 1024" in document.detail


async def test_others_are_served_while_a_large_batch_is_read(service: Service) -> None:
    element = json.dumps({"run_id": "run", "report": report(1, train_loss="x" * 10_000)}).encode()
    response, turns = await turns_during(service, "/epochs", batch_of(*[element] * 500))
    assert {result["status"] for result in response.json()["results"]} == {422}
    assert turns > 200


async def test_the_lists_of_a_report_are_blamed_for_their_first_bad_element_alone(service: Service) -> None:
    body = json.dumps(report(1, seeds=[{}] * 1000)).encode()
    document = problem(await service.http.post("/runs/run/epoch", content=body), 422, "invalid_report")
    places = {error.field.rpartition(".")[0] for error in document.errors}
    assert places == {"seeds.0"}
    assert len(document.errors) == 4


async def test_client_decisions_are_limited(service: Service) -> None:
    await service.report("run", 1)
    full = [DECISION | {"epoch": epoch} for epoch in range(MAX_CLIENT_DECISIONS)]
    accepted = await service.http.post("/runs/run/client-decisions", json=full)
    assert accepted.json()["recorded"] == MAX_CLIENT_DECISIONS
    response = await service.http.post("/runs/run/client-decisions", json=[*full, DECISION])
    assert "at most 1024" in problem(response, 422, "invalid_request", "").detail


async def test_client_decisions_are_blamed_for_the_first_bad_one_alone(service: Service) -> None:
    response = await service.http.post("/runs/run/client-decisions", json=[DECISION, {}, {}])
    document = problem(response, 422, "invalid_request")
    assert {error.field.partition(".")[0] for error in document.errors} == {"1"}


HOSTILE = {
    "one element of more than a mebibyte": (b'"' + b"a" * (MAX_BODY_BYTES + 1) + b'"', "1 MiB"),
    "brackets": (b"[" + b"[]," * 5000 + b"[]]", "lists and objects"),
    "depth": (b"[" * 5000, "lists and objects"),
    "nothing": (b"", "valid JSON"),
    "a word": (b"nonsense", "valid JSON"),
    "two values": (b"1 2", "valid JSON"),
    "an open string": (b'"', "valid JSON"),
    "a closed bracket": (b"1]", "valid JSON"),
    "the wrong bracket": (b"[1}", "valid JSON"),
}


@pytest.mark.parametrize(("element", "told"), HOSTILE.values(), ids=HOSTILE)
async def test_a_batch_with_an_element_that_cannot_be_read_is_refused_whole(
    service: Service, element: bytes, told: str
) -> None:
    good = json.dumps({"run_id": "run", "report": report(1)}).encode()
    for elements in ((good, element), (element, good)):
        response = await service.http.post("/epochs", content=batch_of(*elements))
        assert told in problem(response, 422, "invalid_report").detail
    assert (await service.http.get("/runs/run")).status_code == 404


async def test_brackets_commas_and_quotes_in_strings_cut_nothing(service: Service) -> None:
    annotations = {"a": '],[}{",\\', "\\": '\\"', '"': "ä,]"}
    item = {"run_id": "run", "report": report(1, seeds=[seed(annotations=annotations)])}
    for body in (json.dumps({"reports": [item, 7]}, indent=3), json.dumps({"reports": [item, 7]})):
        response = await service.http.post("/epochs", content=f" \n{body}\r\n")
        assert [result["status"] for result in response.json()["results"]] == [200, 422]
    stored = await service.get("/runs/run/decisions/1")
    assert stored["report"]["seeds"][0]["annotations"] == annotations
