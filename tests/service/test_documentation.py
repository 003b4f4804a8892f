"""What is documented is what is there: the OpenAPI document, docs/http.md, docs/settings.md, the errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from pydantic import ValidationError
from tamiyo_leyline.api import HoldRequest
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE, RETRYABLE, STATUS_OF, ProblemCode
from tamiyo_service import Settings, errors
from tamiyo_service.api.errors import CODE_OF, problem, problem_response
from tamiyo_service.api.reference import reference, reference_router
from tamiyo_service.store import MemoryStore

from tests.service.conftest import Service, serving

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
async def document() -> AsyncIterator[dict[str, Any]]:
    async with serving(MemoryStore()) as service:
        yield await service.get("/openapi.json")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= names
    identifiers = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(identifiers) == len(set(identifiers))


def test_every_operation_says_what_it_does_and_what_it_may_refuse(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        assert operation["description"], (method, path)
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), (method, path)
        assert {"422", "500", "503"} <= set(responses), (method, path)
        for status, response in responses.items():
            if int(status) >= 400:
                assert list(response["content"]) == [PROBLEM_MEDIA_TYPE], (method, path, status)


def test_every_documented_refusal_has_a_known_code_of_that_status(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            codes = response["description"].removeprefix("Refused: ").removesuffix(".").split(", ")
            for code in codes:
                assert STATUS_OF[ProblemCode(code)] == int(status), (method, path, code)


def test_the_hot_route_is_described_fully(document: dict[str, Any]) -> None:
    operation = document["paths"]["/runs/{run_id}/epoch"]["post"]
    assert {p["name"] for p in operation["parameters"]} == {
        "run_id", "create", "backfill", "snapshot", "explain",
    }  # fmt: skip
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    report = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    assert {"epoch", "available_slots"} == set(report["required"])
    assert all("description" in field for field in report["properties"].values())
    refusals = {"401", "403", "404", "409", "413", "415", "422", "429", "500", "503"}
    assert {"200", *refusals} == set(operation["responses"])
    answers = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert len(answers) == 2


def test_the_schemas_tell_units(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "Percent" in schemas["EpochReport-Input"]["properties"]["val_accuracy"]["description"]
    assert schemas["DecisionRecord"]["properties"]["features"]["description"]


def test_http_md_tells_of_every_operation(document: dict[str, Any]) -> None:
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(GET|PUT|POST|DELETE) (/[^` ]*)`", text, re.MULTILINE))
    assert told == {(method, path) for method, path, _ in operations(document)}


def test_http_md_tells_of_every_parameter_and_code(document: dict[str, Any]) -> None:
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert f"`{parameter['name']}`" in text or parameter["in"] == "path", (
                method,
                path,
                parameter["name"],
            )
    for code in {*CODE_OF.values(), ProblemCode.NOT_FOUND, ProblemCode.METHOD_NOT_ALLOWED}:
        assert f"`{code.value}`" in text, code


def test_settings_md_tells_of_every_setting_with_its_default() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `TAMIYO_([A-Z_]+)` \| `?([^|`]*?)`? \|", text, re.MULTILINE))
    fields = Settings.model_fields
    assert set(rows) == {name.upper() for name in fields}
    for name, field in fields.items():
        default = "—" if field.default is None else str(field.default).lower()
        assert rows[name.upper()].lower() == default, name
        assert field.description, name


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIYO_AUTO_CREATE", "false")
    monkeypatch.setenv("TAMIYO_PORT", "1234")
    settings = Settings()
    assert (settings.auto_create, settings.port) == (False, 1234)


def test_settings_are_immutable_and_checked() -> None:
    settings: Any = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    for bad in ({"port": 70000}, {"cached_runs": 0}, {"auth": "on"}, {"colour": "red"}):
        with pytest.raises(ValueError, match="validation error"):
            Settings(**bad)


def leaves(kind: type[errors.TamiyoError]) -> Iterator[type[errors.TamiyoError]]:
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from leaves(child)


def test_every_error_has_its_problem() -> None:
    assert set(leaves(errors.TamiyoError)) == set(CODE_OF)


def test_every_error_is_told_of_in_the_taxonomy() -> None:
    assert errors.__doc__
    for kind in leaves(errors.TamiyoError):
        assert kind.__name__ in errors.__doc__
        assert kind.__doc__


@pytest.mark.parametrize("code", list(ProblemCode))
def test_what_may_succeed_later_says_when(code: ProblemCode) -> None:
    response = problem_response(problem(code, "detail"))
    assert response.status_code == STATUS_OF[code]
    assert ("retry-after" in response.headers) is (code in RETRYABLE)


async def test_the_documentation_page_tells_of_every_operation_without_a_script(service: Service) -> None:
    page = await service.http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    for method, path, _ in operations(await service.get("/openapi.json")):
        assert f"<code>{method} {path}</code>" in page.text
    assert "<script" not in page.text
    assert "http" not in page.text.replace("http.md", "")


async def test_the_document_and_its_page_are_written_once_whoever_asks(document: dict[str, Any]) -> None:
    asked: list[str] = []

    def openapi() -> dict[str, Any]:
        asked.append("once more")
        return document

    app = FastAPI(openapi_url=None)
    app.include_router(reference_router(openapi))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tamiyo") as client:
        for _ in range(3):
            assert (await client.get("/openapi.json")).json() == document
            assert (await client.head("/openapi.json")).status_code == 200
            assert (await client.get("/docs")).text == reference(document)
    assert len(asked) == 2


def test_the_documentation_page_shows_text_as_text() -> None:
    attack = "<img src=x onerror=alert(1)>"
    operation = {"description": attack, "responses": {"200": {"description": attack}}}
    schema = {"description": attack, "properties": {attack: {"description": attack}}}
    document = {
        "info": {"title": attack, "version": attack, "description": attack},
        "paths": {f"/{attack}": {"get": operation}},
        "components": {"schemas": {attack: schema}},
    }
    assert "<img" not in reference(document)
    assert reference(document).count("&lt;img") > 6


@pytest.mark.parametrize("page", sorted(DOCS.glob("**/*.md")), ids=lambda page: page.name)
def test_every_table_is_whole(page: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [table for table in tables if not re.match(r".*\n\|[-:| ]+\|\n", table)] == []


def test_what_may_be_said_as_a_reason_is_documented() -> None:
    longest = "x" * 128
    HoldRequest(reason=longest, by=longest)
    with pytest.raises(ValidationError):
        HoldRequest(reason=longest + "x")
    assert "Every `reason` and `by` is a text of 1 to 128 characters" in (DOCS / "http.md").read_text()
