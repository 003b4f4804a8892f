"""Every schema on the wire: what its JSON schema tells a reader, and how it treats unknown fields."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
import tamiyo_leyline
from pydantic import BaseModel, ValidationError
from tamiyo_leyline import DecisionItem, DecisionRecord, EpochReport, RunConfig, api
from tamiyo_leyline.fields import Answer, Request


def schemas() -> list[type[BaseModel]]:
    """Every schema that tamiyo_leyline or its HTTP envelopes export."""
    found = {
        member
        for module in (tamiyo_leyline, api)
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, BaseModel) and member is not BaseModel
    }
    concrete = found - {Answer, Request, api.Page} | {api.Page[DecisionItem]}
    return sorted(concrete, key=lambda schema: schema.__name__)


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a JSON schema, at any depth, with its path."""
    if isinstance(node, dict):
        for name, child in node.get("properties", {}).items():
            yield f"{path}.{name}", child
        for name, child in node.items():
            yield from properties(child, f"{path}.{name}")
    elif isinstance(node, list):
        for child in node:
            yield from properties(child, path)


ALL = schemas()
ANSWERS = [schema for schema in ALL if issubclass(schema, Answer)]
REQUESTS = [schema for schema in ALL if issubclass(schema, Request)]


def test_every_schema_is_a_request_or_an_answer() -> None:
    assert len(ALL) > 30
    assert sorted([*ANSWERS, *REQUESTS], key=lambda schema: schema.__name__) == ALL


@pytest.mark.parametrize("schema", ALL)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_every_field_is_described(schema: type[BaseModel], mode: Any) -> None:
    fields = list(properties(schema.model_json_schema(mode=mode)))
    assert fields
    assert [path for path, field in fields if not field.get("description")] == []


@pytest.mark.parametrize("schema", ALL)
def test_every_schema_is_described(schema: type[BaseModel]) -> None:
    assert schema.model_json_schema().get("description")


@pytest.mark.parametrize("schema", ALL)
def test_values_are_immutable(schema: type[BaseModel]) -> None:
    assert schema.model_config["frozen"] is True


@pytest.mark.parametrize("schema", REQUESTS)
def test_requests_refuse_unknown_fields(schema: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate_json('{"no_such_field": 1}')
    assert "no_such_field" in [error["loc"][0] for error in caught.value.errors()]


@pytest.mark.parametrize("schema", ANSWERS)
def test_answers_ignore_unknown_fields(schema: type[BaseModel]) -> None:
    assert faults_of(schema, '{"no_such_field": 1}') <= {"missing"}


def faults_of(schema: type[BaseModel], text: str) -> set[str]:
    """Kinds of faults found in `text`; empty when it is accepted."""
    try:
        schema.model_validate_json(text)
    except ValidationError as error:
        return {fault["type"] for fault in error.errors()}
    return set()


def run_view() -> dict[str, Any]:
    return {
        "run_id": "r",
        "status": "ACTIVE",
        "attempt": 0,
        "last_epoch": None,
        "created_at": "2026-01-31T12:00:00Z",
        "updated_at": "2026-01-31T12:00:00Z",
        "last_report_at": None,
        "config": RunConfig().model_dump(mode="json"),
        "rules_version": "1",
        "policy": {"name": "heuristic", "version": "1"},
        "counts": {},
        "seeds": [],
        "labels": {},
    }


def test_answers_ignore_unknown_fields_in_the_requests_they_quote() -> None:
    view = run_view()
    view["config"]["from_the_future"] = 1
    view["config"]["tracker"]["from_the_future"] = 1
    assert api.RunView.model_validate_json(json.dumps(view)).config == RunConfig()


@pytest.mark.parametrize(
    ("field", "constraint"),
    [
        ("epoch", {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}),
        ("val_accuracy", {"type": "number", "minimum": 0, "maximum": 100}),
        ("grad_norm_host", {"type": "number", "minimum": 0}),
        ("gpu_utilization", {"type": "number", "minimum": 0, "maximum": 1}),
        ("val_loss", {"enum": ["NaN", "Infinity", "-Infinity"]}),
        ("seeds", {"maxItems": 64}),
    ],
)
def test_constraints_of_a_report_stand_in_its_json_schema(field: str, constraint: dict[str, Any]) -> None:
    schema = EpochReport.model_json_schema()["properties"][field]
    alternatives = [schema, *schema.get("anyOf", [])]
    assert any(constraint.items() <= alternative.items() for alternative in alternatives)


def test_report_schema_says_what_is_required_and_that_nothing_else_is_allowed() -> None:
    schema = EpochReport.model_json_schema()
    assert schema["required"] == ["epoch", "available_slots"]
    assert schema["additionalProperties"] is False


def test_stages_are_names_on_the_way_out_and_names_or_values_on_the_way_in() -> None:
    sent = DecisionRecord.model_json_schema(mode="serialization")["$defs"]["SeedStateReport"]["properties"]
    assert sent["stage"]["enum"][3] == "TRAINING"
    received = EpochReport.model_json_schema()["$defs"]["SeedStateReport"]["properties"]["stage"]["anyOf"]
    assert received[0]["enum"][3] == "TRAINING"
    assert received[1]["enum"] == list(range(11))


def test_signals_are_objects_in_the_json_schema_of_a_record() -> None:
    signals = DecisionRecord.model_json_schema(mode="serialization")["properties"]["signals"]
    assert signals["type"] == "object"
    assert set(signals["properties"]) == {
        "metrics",
        "seeds",
        "available_slots",
        "loss_history",
        "accuracy_history",
    }
    seed = signals["properties"]["seeds"]["items"]
    assert seed["properties"]["stage"]["enum"][0] == "UNKNOWN"
    assert set(seed["required"]) == set(tamiyo_leyline.SeedSignals._fields)


def test_run_config_schema_offers_names_and_own_topologies() -> None:
    choices = RunConfig.model_json_schema()["properties"]["topology"]["anyOf"]
    assert {"type": "string"} in choices
    assert {"$ref": "#/$defs/Topology"} in choices
