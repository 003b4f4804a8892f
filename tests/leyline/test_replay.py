"""Replay requests: how their changes and a run's own settings go together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tamiyo_leyline import RunConfig, field_errors
from tamiyo_leyline.config import PRESETS
from tamiyo_leyline.replay import Replay, ReplayRequest


def stored(**content: Any) -> RunConfig:
    """A run's configuration as the store has it: every setting filled in."""
    return RunConfig.model_validate_json(RunConfig.model_validate_json(json.dumps(content)).model_dump_json())


def applied(run: RunConfig, **request: Any) -> RunConfig:
    return ReplayRequest.model_validate_json(json.dumps(request)).applied_to(run)


def values(config: RunConfig, name: str) -> dict[str, dict[str, Any]]:
    """The values of the settings that a preset sets."""
    content = config.model_dump(mode="json")
    return {section: {key: content[section][key] for key in keys} for section, keys in PRESETS[name].items()}


def test_an_empty_request_leaves_the_runs_settings() -> None:
    run = stored(heuristic={"plateau_epochs_to_germinate": 7}, tracker={"history_window": 3}, max_epochs=9)
    assert applied(run) == run


def test_labels_and_shadows_make_no_difference() -> None:
    run = stored(labels={"team": "vision"}, shadow=[{"name": "heuristic"}])
    assert (applied(run).labels, applied(run).shadow) == ({}, ())


def test_single_settings_go_over_those_of_the_run() -> None:
    run = stored(heuristic={"plateau_epochs_to_germinate": 7, "min_epochs_before_germinate": 2})
    config = applied(run, heuristic={"plateau_epochs_to_germinate": 4}, learned={"temperature": 2.0})
    assert config.heuristic.plateau_epochs_to_germinate == 4
    assert config.heuristic.min_epochs_before_germinate == 2
    assert config.learned.temperature == 2.0


def test_a_preset_wins_over_the_run_and_loses_to_the_request() -> None:
    run = stored(heuristic={"probation_dead_band": 0.7, "min_epochs_before_germinate": 2})
    config = applied(run, heuristic={"preset": "report", "blueprint_penalty_threshold": 9.0})
    expected = json.loads(json.dumps(PRESETS["report"]))
    expected["heuristic"]["blueprint_penalty_threshold"] = 9.0
    assert values(config, "report") == expected
    assert config.heuristic.min_epochs_before_germinate == 2


def test_taking_a_preset_back_restores_defaults_but_for_what_the_run_had_set_itself() -> None:
    run = stored(heuristic={"preset": "report", "probation_dead_band": 0.7})
    config = applied(run, heuristic={"preset": None})
    expected = values(stored(), "report")
    expected["heuristic"]["probation_dead_band"] = 0.7
    assert values(config, "report") == expected
    assert config.heuristic.preset is None


def test_a_run_with_a_preset_keeps_it() -> None:
    run = stored(heuristic={"preset": "report"})
    config = applied(run, heuristic={"plateau_epochs_to_germinate": 4})
    assert values(config, "report") == PRESETS["report"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (None, ("learned", "mine-1.0.0")),
        ({"name": "learned"}, ("learned", "mine-1.0.0")),
        ({"name": "learned", "version": None}, ("learned", None)),
        ({"version": "mine-1.1.0"}, ("learned", "mine-1.1.0")),
        ({"name": "heuristic"}, ("heuristic", None)),
        ({"name": "heuristic", "version": "1"}, ("heuristic", "1")),
    ],
)
def test_a_policy_keeps_the_runs_version_while_its_name_stays(
    request_: dict[str, Any] | None, expected: tuple[str, str | None]
) -> None:
    run = stored(policy={"name": "learned", "version": "mine-1.0.0"})
    policy = applied(run, **({} if request_ is None else {"policy": request_})).policy
    assert (policy.name, policy.version) == expected


def test_two_settings_are_judged_together_with_those_of_the_run() -> None:
    run = stored(heuristic={"min_probation_epochs": 0})
    assert applied(run, heuristic={"max_probation_epochs": 0}).heuristic.max_probation_epochs == 0
    with pytest.raises(ValidationError, match="must be at least min_probation_epochs, 1"):
        applied(stored(), heuristic={"max_probation_epochs": 0})


@pytest.mark.parametrize("section", ["heuristic", "learned", "tracker"])
def test_an_unknown_setting_is_refused_with_the_valid_ones(section: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ReplayRequest.model_validate_json(json.dumps({section: {"no_such_setting": 1}}))
    (told,) = field_errors(caught.value)
    assert told.field == f"{section}.no_such_setting"
    for name in type(getattr(RunConfig(), section)).model_fields:
        assert name in told.message


@pytest.mark.parametrize("schema", [Replay, ReplayRequest])
def test_every_field_on_the_wire_is_described(schema: type[BaseModel]) -> None:
    for definition in (schema.model_json_schema(), *schema.model_json_schema()["$defs"].values()):
        for name, field in definition.get("properties", {}).items():
            assert field.get("description"), name
