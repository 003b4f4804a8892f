from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tamiyo_leyline import EpochReport, ProblemCode, RunConfig, field_errors, problem_code
from tamiyo_leyline.validation import MAX_FIELD_ERRORS, echoed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def refused(schema: type[EpochReport] | type[RunConfig], body: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate_json(json.dumps(body))
    return caught.value


def test_paths_are_joined_with_dots_and_messages_say_what_came() -> None:
    errors = field_errors(refused(EpochReport, {"epoch": 1, "available_slots": 1, "val_accuracy": 250}))
    assert [(error.field, error.message) for error in errors] == [
        ("val_accuracy", "must be between 0 and 100 (percent), got 250")
    ]


def test_malformed_json_blames_the_whole_body_and_says_where() -> None:
    with pytest.raises(ValidationError) as caught:
        EpochReport.model_validate_json('{"epoch": 1,\n "val_loss": nope}')
    (error,) = field_errors(caught.value)
    assert error.field == ""
    assert error.message.startswith("the body must be valid JSON: ")
    assert "line 2 column" in error.message


@given(
    body=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["epoch", "val_loss", "val_accuracy", "seeds", "outcomes", "labels", "x"], json_values
        ),
    )
)
def test_every_refusal_is_short_printable_and_free_of_pydantics_wording(body: dict[str, Any]) -> None:
    errors = field_errors(refused(EpochReport, body))
    assert errors
    for error in errors:
        assert len(error.message) < 300
        assert error.message.isprintable()
        assert not error.message.startswith(("Input", "Value error", "String", "Tuple"))


@given(topology=json_values, heuristic=json_values)
def test_configurations_are_refused_in_the_same_words(topology: Any, heuristic: Any) -> None:
    try:
        RunConfig.model_validate_json(json.dumps({"topology": topology, "heuristic": heuristic}))
    except ValidationError as error:
        messages = [fault.message for fault in field_errors(error)]
        assert all(len(message) < 300 and "should" not in message for message in messages)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x", '"x"'),
        ('a "b"', '"a \\"b\\""'),
        ("a\nb\x85", '"a\\nb\\x85"'),
        ("\ud800", '"\\ud800"'),
        ("größe", '"größe"'),
        ("y" * 500, '"' + "y" * 77 + '…"'),
        (None, "null"),
        (True, "true"),
        (-3, "-3"),
        (0.25, "0.25"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        (b"raw", "bytes"),
        (EpochReport, "a value of type ModelMetaclass"),
    ],
)
def test_input_is_echoed_as_json_writes_it_shortened_and_printable(value: object, shown: str) -> None:
    assert echoed(value) == shown


def test_integers_too_long_to_write_out_are_described() -> None:
    assert echoed(10**5000) == "an integer of about 5001 digits"


@given(value=json_values)
def test_no_echo_is_long_or_unprintable(value: Any) -> None:
    assert len(echoed(value)) <= 500
    assert echoed(value).isprintable()


def test_long_field_names_are_shortened() -> None:
    (error,) = field_errors(refused(EpochReport, {"epoch": 1, "available_slots": 1, "x" * 5000: 1}))
    assert error.field == "x" * 80


@pytest.mark.parametrize(
    ("place", "field", "remedy"),
    [
        ("seed", "current_val_accuracy", "it belongs in metrics"),
        ("seed", "gradient_health", "it belongs in telemetry"),
        ("seed", "curent_val_accuracy", "did you mean metrics.current_val_accuracy?"),
        ("seed", "Alpha", "did you mean alpha?"),
        ("seed", "blueprint", "did you mean blueprint_id?"),
        ("report", "train_acc", "did you mean train_accuracy?"),
        ("report", "seed_id", "it belongs in seeds"),
    ],
)
def test_an_unknown_field_is_told_what_it_may_have_been_meant_for(
    place: str, field: str, remedy: str
) -> None:
    seed: dict[str, Any] = {"seed_id": "s", "slot_id": "a", "blueprint_id": "norm", "stage": "TRAINING"}
    body: dict[str, Any] = {"epoch": 1, "available_slots": 1, "seeds": [seed]}
    (seed if place == "seed" else body)[field] = 1
    (error,) = field_errors(refused(EpochReport, body))
    assert error.field.endswith(field)
    assert error.message == f"is not a known field, got 1; {remedy}"


def test_an_unknown_field_like_no_other_is_told_those_there_are() -> None:
    (error,) = field_errors(refused(RunConfig, {"tracker": {"colour": "red"}}))
    known = "plateau_threshold, plateau_smoothing, history_window"
    assert error.message == f'is not a known field, got "red"; known are {known}'


def test_no_remedy_is_long() -> None:
    (error,) = field_errors(refused(RunConfig, {"heuristic": {"x" * 5000: "y" * 5000}}))
    assert len(error.message) < 300
    assert error.message.endswith(" more")


def test_many_faults_are_counted_after_the_first_twenty() -> None:
    body = {"epoch": 1, "available_slots": 1} | {f"extra{index}": 0 for index in range(50)}
    errors = field_errors(refused(EpochReport, body))
    assert len(errors) == MAX_FIELD_ERRORS + 1
    assert (errors[-1].field, errors[-1].message) == ("", "and 30 more faults")


def test_thousands_of_faults_are_only_counted() -> None:
    error = refused(EpochReport, {str(index): 0 for index in range(5000)})
    (only,) = field_errors(error)
    assert only.message == "has 5002 faults: it is no EpochReport"
    assert problem_code(error, ProblemCode.INVALID_REPORT) is ProblemCode.INVALID_REPORT


def test_problem_code_is_the_default_unless_the_fault_has_a_code_of_its_own() -> None:
    ordinary = refused(RunConfig, {"max_epochs": 0})
    special = refused(RunConfig, {"max_epochs": 0, "topology": "resnet"})
    assert problem_code(ordinary, ProblemCode.INVALID_CONFIG) is ProblemCode.INVALID_CONFIG
    assert problem_code(special, ProblemCode.INVALID_CONFIG) is ProblemCode.UNKNOWN_TOPOLOGY
