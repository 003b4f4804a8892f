from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError
from tamiyo_leyline import CommandStatus, EpochReport, SeedStage, field_errors

SEED = {"seed_id": "seed-1", "slot_id": "slot-a", "blueprint_id": "norm", "stage": "TRAINING"}


def body(**fields: Any) -> str:
    return json.dumps({"epoch": 3, "available_slots": 1} | fields)


def with_seed(**fields: Any) -> str:
    return body(seeds=[SEED | fields])


def with_metrics(**fields: Any) -> str:
    return with_seed(metrics=fields)


def read(text: str) -> EpochReport:
    return EpochReport.model_validate_json(text)


def refusal(text: str | bytes) -> dict[str, str]:
    """Message by field of a body that must be refused."""
    with pytest.raises(ValidationError) as caught:
        EpochReport.model_validate_json(text)
    return {error.field: error.message for error in field_errors(caught.value)}


def test_epoch_and_available_slots_are_all_a_report_needs() -> None:
    report = read(body())
    assert (report.epoch, report.available_slots) == (3, 1)
    assert (report.attempt, report.global_step, report.seeds, report.outcomes) == (0, 0, (), ())
    measured = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "grad_norm_host")
    assert all(getattr(report, field) is None for field in measured)


def test_required_fields_are_named_when_they_are_missing() -> None:
    assert refusal("{}") == {"epoch": "is required", "available_slots": "is required"}


def test_null_means_the_same_as_absent() -> None:
    assert read(body(val_loss=None, val_accuracy=None, gpu_utilization=None)) == read(body())


@pytest.mark.parametrize("field", ["train_loss", "val_loss"])
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_losses_that_are_not_finite_are_data(field: str, word: str) -> None:
    as_string = getattr(read(body(**{field: word})), field)
    as_word = getattr(read(f'{{"epoch": 3, "available_slots": 1, "{field}": {word}}}'), field)
    assert repr(as_string) == repr(as_word) == repr(float(word))


@pytest.mark.parametrize(
    "field", ["initial_val_loss", "current_val_loss", "loss_at_stage_start", "counterfactual_val_loss"]
)
def test_seeds_losses_may_be_not_finite_too(field: str) -> None:
    metrics = read(with_metrics(**{field: "NaN"})).seeds[0].metrics
    assert metrics is not None
    assert math.isnan(getattr(metrics, field))


def test_a_loss_beyond_the_range_of_floats_is_infinite() -> None:
    assert read('{"epoch": 3, "available_slots": 1, "val_loss": 1e400}').val_loss == math.inf


def test_a_large_loss_stands() -> None:
    assert read(body(val_loss=10**30)).val_loss == 1e30


@pytest.mark.parametrize("word", ["nan", "inf", "Inf", "-NaN", "null", "", "0.5"])
def test_other_strings_are_no_losses(word: str) -> None:
    assert refusal(body(val_loss=word))["val_loss"].startswith(
        'must be a number, null, or one of the strings "NaN"'
    )


@pytest.mark.parametrize("field", ["train_accuracy", "val_accuracy", "grad_norm_host", "gpu_memory_gb"])
@pytest.mark.parametrize("value", ["NaN", math.nan, math.inf, -math.inf, "50", True, [50.0]])
def test_other_numbers_must_be_finite_numbers(field: str, value: Any) -> None:
    assert [*refusal(body(**{field: value}))] == [field]


@pytest.mark.parametrize("field", ["train_accuracy", "val_accuracy"])
@pytest.mark.parametrize(("value", "legal"), [(0, True), (100.0, True), (250, False), (-0.1, False)])
def test_accuracies_are_percent(field: str, value: float, legal: bool) -> None:
    if legal:
        assert getattr(read(body(**{field: value})), field) == value
    else:
        assert refusal(body(**{field: value}))[field] == f"must be between 0 and 100 (percent), got {value}"


@pytest.mark.parametrize("field", ["epoch", "attempt", "global_step", "available_slots"])
@pytest.mark.parametrize("value", [-1, 10**30, 2**53, 1.0, 1.5, "1", True, None, [1]])
def test_counts_are_whole_numbers_from_zero(field: str, value: Any) -> None:
    message = refusal(body(**{field: value}))[field]
    assert message.startswith("must be a whole number from 0 to 9007199254740991, got ")


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1e3"])
def test_counts_have_no_exponent(text: str) -> None:
    assert [*refusal(f'{{"epoch": {text}, "available_slots": 1}}')] == ["epoch"]


def test_the_largest_count_is_what_every_json_reader_holds_exactly() -> None:
    assert read(body(global_step=2**53 - 1)).global_step == 2**53 - 1


@pytest.mark.parametrize("field", ["grad_norm_host", "gpu_memory_gb", "epoch_duration_ms"])
def test_quantities_are_not_negative(field: str) -> None:
    assert refusal(body(**{field: -1}))[field] == "must be a finite number, 0 or more, got -1"


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_shares_are_between_zero_and_one(value: float) -> None:
    assert refusal(body(gpu_utilization=value))["gpu_utilization"] == f"must be between 0 and 1, got {value}"
    assert refusal(with_seed(alpha=value))["seeds.0.alpha"] == f"must be between 0 and 1, got {value}"


def test_unknown_fields_are_refused_wherever_they_stand() -> None:
    unknown = "is not a known field, got 1; "
    assert refusal(body(val_acuracy=1)) == {"val_acuracy": unknown + "did you mean val_accuracy?"}
    (told,) = refusal(with_seed(metrics={"lr": 1})).items()
    assert told[0] == "seeds.0.metrics.lr"
    assert told[1].startswith(unknown + "known are epochs_total, ")
    assert refusal(with_seed(telemetry={"norm": 1})) == {
        "seeds.0.telemetry.norm": unknown
        + "known are gradient_norm, gradient_health, has_vanishing, has_exploding"
    }


@pytest.mark.parametrize("cut", range(1, 40))
def test_truncated_json_is_refused_as_a_whole(cut: int) -> None:
    errors = refusal(with_seed()[:-cut])
    assert [*errors] == [""]
    assert errors[""].startswith("the body must be valid JSON: ")


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"text"', "{'epoch': 1}", b"\xff\xfe{}", "{}{}"])
def test_what_is_no_json_object_is_refused_as_a_whole(text: str | bytes) -> None:
    assert [*refusal(text)] == [""]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused(opening: str) -> None:
    text = '{"epoch": 1, "available_slots": 1, "seeds": ' + opening * 100_000
    assert "recursion limit" in refusal(text)[""]


def test_integers_of_thousands_of_digits_are_refused() -> None:
    assert [*refusal('{"epoch": ' + "9" * 4000 + ', "available_slots": 1}')] == ["epoch"]
    assert [*refusal('{"epoch": ' + "9" * 5000 + ', "available_slots": 1}')] == [""]


def test_a_seed_needs_ids_blueprint_and_stage() -> None:
    required = ["seed_id", "slot_id", "blueprint_id", "stage"]
    assert refusal(body(seeds=[{}])) == {f"seeds.0.{field}": "is required" for field in required}


def test_what_a_seed_does_not_say_is_not_measured() -> None:
    seed = read(with_seed()).seeds[0]
    assert seed.stage is SeedStage.TRAINING
    assert (seed.previous_stage, seed.metrics, seed.telemetry, seed.is_healthy) == (None, None, None, None)
    assert (seed.alpha, seed.annotations) == (0.0, {})


def test_stages_are_accepted_by_value() -> None:
    seed = read(with_seed(stage=4, previous_stage=3)).seeds[0]
    assert (seed.stage, seed.previous_stage) == (SeedStage.BLENDING, SeedStage.TRAINING)


def test_blueprint_names_are_folded() -> None:
    assert read(with_seed(blueprint_id="Conv_Enhance")).seeds[0].blueprint_id == "conv_enhance"


@pytest.mark.parametrize("field", ["seed_id", "slot_id"])
@pytest.mark.parametrize("value", ["", "a\nb", "\x00", "\x7f", "\x85", "\u2028", "x" * 129, 3, None])
def test_ids_are_short_and_without_control_characters(field: str, value: Any) -> None:
    message = refusal(with_seed(**{field: value}))[f"seeds.0.{field}"]
    assert message.startswith("must be a string of 1 to 128 characters without control characters, got ")
    assert message.isprintable()


@pytest.mark.parametrize("value", ["seed 1", "späte Saat", "种子", "🌱", "x" * 128])
def test_ids_may_hold_any_letters(value: str) -> None:
    assert read(with_seed(seed_id=value)).seeds[0].seed_id == value


def test_lone_surrogates_are_refused() -> None:
    assert "valid JSON" in refusal(with_seed(seed_id="\ud800"))[""]
    with pytest.raises(ValidationError) as caught:
        EpochReport.model_validate(
            {"epoch": 1, "available_slots": 0, "seeds": [SEED | {"seed_id": "\ud800"}]}
        )
    assert "seeds.0.seed_id" in [error.field for error in field_errors(caught.value)]


@pytest.mark.parametrize("value", ["", "conv enhance", "norm\n", "x" * 65, "größe", 3, None])
def test_blueprint_names_are_letters_digits_and_underscores(value: Any) -> None:
    message = refusal(with_seed(blueprint_id=value))["seeds.0.blueprint_id"]
    assert message.startswith("must be 1 to 64 letters, digits or underscores, got ")


@pytest.mark.parametrize("repeated", ["seed_id", "slot_id"])
def test_seed_and_slot_ids_are_unique_in_a_report(repeated: str) -> None:
    other = {"seed_id": "seed-2", "slot_id": "slot-b"} | {repeated: SEED[repeated]}
    errors = refusal(body(seeds=[SEED, SEED | other]))
    assert errors == {"seeds": f"repeat the {repeated} {SEED[repeated]}, which must be unique"}


def test_a_report_holds_up_to_64_seeds() -> None:
    seeds = [SEED | {"seed_id": f"s{index}", "slot_id": f"t{index}"} for index in range(65)]
    assert len(read(body(seeds=seeds[:64])).seeds) == 64
    assert refusal(body(seeds=seeds)) == {"seeds": "must have at most 64 entries, got 65"}


@pytest.mark.parametrize("value", [{}, None, "seeds", 3])
def test_seeds_are_a_list(value: Any) -> None:
    assert refusal(body(seeds=value))["seeds"].startswith("must be a list, got ")


def test_annotations_are_few_and_short() -> None:
    assert read(with_seed(annotations={"note": "warm start"})).seeds[0].annotations == {"note": "warm start"}
    assert "seeds.0.annotations.note" in refusal(with_seed(annotations={"note": "x" * 2001}))
    assert "seeds.0.annotations" in refusal(with_seed(annotations={str(key): "" for key in range(33)}))
    key = refusal(with_seed(annotations={"a\nb": ""}))
    assert next(iter(key.values())).startswith("its key must be a string of 1 to 128 characters")


@pytest.mark.parametrize("status", ["EXECUTED", "REFUSED", "FAILED", "EXPIRED"])
def test_outcomes_say_what_became_of_a_command(status: str) -> None:
    outcome = read(body(outcomes=[{"command_id": "c-1", "status": status}])).outcomes[0]
    assert outcome.status is CommandStatus(status)
    assert outcome.detail == ""


LONGEST_COMMAND_ID = f"{'r' * 128}@{2**53 - 1}.{2**53 - 1}.128"
"""What the service makes of the longest run id and the largest numbers."""


def test_the_id_of_any_command_the_service_may_issue_can_be_quoted() -> None:
    outcomes = [{"command_id": LONGEST_COMMAND_ID, "status": "EXECUTED"}]
    assert read(body(outcomes=outcomes)).outcomes[0].command_id == LONGEST_COMMAND_ID


@pytest.mark.parametrize("value", ["", "a\nb", "\x00", "\u2028", "x" * 201, 3, None])
def test_command_ids_are_bounded_and_without_control_characters(value: Any) -> None:
    message = refusal(body(outcomes=[{"command_id": value, "status": "FAILED"}]))["outcomes.0.command_id"]
    assert message.startswith("must be a string of 1 to 200 characters without control characters, got ")


@pytest.mark.parametrize("status", ["ISSUED", "DONE", "executed", 1, None])
def test_other_words_are_no_outcomes(status: Any) -> None:
    message = refusal(body(outcomes=[{"command_id": "c-1", "status": status}]))["outcomes.0.status"]
    assert message.startswith("must be one of EXECUTED, REFUSED, FAILED, EXPIRED, got ")


def test_improvements_are_derived_from_the_accuracies() -> None:
    metrics = (
        read(with_metrics(initial_val_accuracy=50.0, accuracy_at_stage_start=58.5, current_val_accuracy=60.0))
        .seeds[0]
        .metrics
    )
    assert metrics is not None
    assert (metrics.total_improvement, metrics.improvement_since_stage_start) == (10.0, 1.5)


def test_improvements_without_accuracies_stay_as_reported() -> None:
    metrics = read(with_metrics(total_improvement=3.0)).seeds[0].metrics
    assert metrics is not None
    assert (metrics.total_improvement, metrics.improvement_since_stage_start) == (3.0, None)


@pytest.mark.parametrize(
    ("improvement", "reference"),
    [
        ("total_improvement", "initial_val_accuracy"),
        ("improvement_since_stage_start", "accuracy_at_stage_start"),
    ],
)
def test_improvements_that_contradict_the_accuracies_are_refused(improvement: str, reference: str) -> None:
    accuracies = {reference: 50.0, "current_val_accuracy": 60.0}
    agreeing = read(with_metrics(**accuracies, **{improvement: 10.0 + 9e-7})).seeds[0].metrics
    assert getattr(agreeing, improvement) == 10.0 + 9e-7
    message = refusal(with_metrics(**accuracies, **{improvement: 3.0}))[f"seeds.0.metrics.{improvement}"]
    assert message == "is 3.0, but the accuracies say 10.0; leave it out to have it derived"


def test_python_values_are_as_strict_as_json() -> None:
    report = EpochReport.model_validate({"epoch": 1, "available_slots": 1, "val_loss": 1, "seeds": [SEED]})
    assert isinstance(report.val_loss, float)
    with pytest.raises(ValidationError):
        EpochReport.model_validate({"epoch": "1", "available_slots": 1})


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(body()).epoch = 4  # type: ignore[misc]  # what is under test
