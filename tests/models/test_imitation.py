from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tamiyo_core.observation import GARDEN
from tamiyo_garden import GardenConfig, HostConfig
from tamiyo_leyline import EpochReport, SeedMetrics, SeedStage, SeedStateReport, SeedTelemetry
from tamiyo_models.cloning import (
    CloningConfig,
    Rows,
    agreement,
    clone,
    normalise_by,
    ranges_of,
    split_by_run,
)
from tamiyo_models.demonstrations import Demonstration, Situation, Thinning, demonstrate, situations
from tamiyo_models.imitation import UNREAD, ImitationConfig, learn
from tamiyo_models.network import ActorCritic, NetworkShape

from tests.models.questions import ACTIONS, CNN, FEATURES

ALL = Thinning(validate_every=1, telemetry=True, counterfactual=True, host=True)
SHORT = Situation(
    GardenConfig(
        dataset="digits",
        host=HostConfig(dimensions=2, widths=(4, 4), strides=(2, 2), slots=2),
        train_examples=100,
        validation_examples=100,
        max_epochs=14,
    ),
    {
        "max_epochs": 14,
        "tracker": {"plateau_threshold": 50.0},
        "heuristic": {"plateau_epochs_to_germinate": 1, "min_epochs_before_germinate": 1},
    },
    ALL,
    seed=1,
)
REPORT = EpochReport(
    epoch=3,
    val_loss=1.0,
    val_accuracy=50.0,
    train_loss=0.9,
    available_slots=1,
    seeds=(
        SeedStateReport(
            seed_id="s",
            slot_id="a",
            blueprint_id="norm",
            stage=SeedStage.BLENDING,
            metrics=SeedMetrics(current_val_accuracy=50.0, counterfactual_val_accuracy=48.0),
            telemetry=SeedTelemetry(),
        ),
    ),
)


def rule(count: int, runs: int, seed: int) -> list[Demonstration]:
    """Questions whose answer is plain to see: action 1 where feature 30 is positive, else WAIT."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(count, FEATURES, generator=generator) * 2.0 - 1.0
    mask = (True, True) + (False,) * (ACTIONS - 3) + (True,)
    return [
        Demonstration(place % runs, tuple(row), mask, int(row[30] > 0.0), 10.0 * row[31])
        for place, row in enumerate(features.tolist())
    ]


@pytest.fixture(scope="module")
def shown() -> list[Demonstration]:
    torch.set_num_threads(1)
    return demonstrate(7, SHORT, GARDEN)


def test_demonstrations_are_questions_with_a_choice_and_a_legal_answer(shown: list[Demonstration]) -> None:
    assert shown
    for example in shown:
        assert example.run == 7
        assert len(example.features) == FEATURES
        assert sum(example.mask) > 1
        assert example.mask[example.action]


def test_the_answer_is_the_default_heuristics_whoever_steers(shown: list[Demonstration]) -> None:
    # The run germinates after epoch 1; the default waits until epoch 5 and a plateau of 3.
    epoch = GARDEN.feature_names.index("epoch")
    germinating = [example for example in shown if 1 <= example.action <= 4]
    assert all(example.features[epoch] >= 5.0 for example in germinating)
    seen = [example.features[GARDEN.feature_names.index("has_active_seed")] for example in shown]
    assert {0.0, 1.0} <= set(seen)


def test_the_same_situation_gives_the_same_demonstrations(shown: list[Demonstration]) -> None:
    assert demonstrate(7, SHORT, GARDEN) == shown


def test_a_value_is_what_is_still_to_be_gained(shown: list[Demonstration]) -> None:
    accuracy, epoch = (GARDEN.feature_names.index(name) for name in ("val_accuracy", "epoch"))
    ends = {round(example.features[accuracy] + example.value, 6) for example in shown}
    assert len(ends) == 1
    assert all(a.features[epoch] <= b.features[epoch] for a, b in pairwise(shown))


def test_situations_are_reproducible_and_differ() -> None:
    some = list(situations(8, seed=3))
    assert some == list(situations(8, seed=3))
    assert list(situations(4, seed=3)) == some[:4]
    assert len({repr(situation) for situation in (*some, *situations(8, seed=4))}) == 16
    assert [situation.garden.dataset for situation in some[:2]] == ["digits", "mnist1d"]


def test_thinning_leaves_out_what_a_trainer_does_not_measure() -> None:
    assert ALL.thinned(REPORT) == REPORT
    [bare] = replace(ALL, telemetry=False, counterfactual=False).thinned(REPORT).seeds
    assert bare.telemetry is None
    assert bare.metrics is not None
    assert (bare.metrics.counterfactual_val_accuracy, bare.metrics.current_val_accuracy) == (None, 50.0)
    rare = replace(ALL, validate_every=2)
    assert (rare.thinned(REPORT).val_accuracy, rare.thinned(REPORT).seeds[0].metrics) == (None, None)
    assert rare.thinned(REPORT.model_copy(update={"epoch": 4})).val_accuracy == 50.0


def test_no_run_is_in_two_parts_of_a_split() -> None:
    rows = Rows.of(rule(100, runs=10, seed=0))
    parts = split_by_run(rows, (0.2, 0.3), torch.Generator().manual_seed(0))
    runs = [set(part.run.tolist()) for part in parts]
    assert [len(part) for part in runs] == [5, 2, 3]
    assert len(set.union(*runs)) == 10
    assert sum(map(len, parts)) == 100


def test_normalised_features_have_mean_zero_and_deviation_one_and_the_rest_weighs_nothing() -> None:
    rows = Rows.of(rule(200, runs=10, seed=0))
    rows.features[:, 5] = 3.0
    network = ActorCritic(NetworkShape(FEATURES, ACTIONS, 16, 8))
    normalise_by(network, rows, unread=(1,))
    normalised = (rows.features - network.feature_mean) * network.feature_scale
    varied = [place for place in range(FEATURES) if place not in (1, 5)]
    assert torch.allclose(normalised[:, varied].mean(0), torch.zeros(FEATURES - 2), atol=1e-5)
    assert torch.allclose(normalised[:, varied].std(0, correction=0), torch.ones(FEATURES - 2), atol=1e-4)
    assert not normalised[:, [1, 5]].any()
    ranges = ranges_of(rows, unread=(1,))
    assert (ranges[5].lowest, ranges[5].highest, ranges[5].used) == (3.0, 3.0, True)
    assert not ranges[1].used


def test_an_ensemble_learns_a_rule_and_is_measured_on_other_runs() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = Rows.of(rule(3000, runs=30, seed=0))
    known, validation, test = split_by_run(rows, (0.2, 0.2), generator)
    network = ActorCritic(NetworkShape(FEATURES, ACTIONS, 64, 32), generator)
    normalise_by(network, known, ())
    before = agreement(network, test, CNN.layout.names)
    course = clone(network, known, validation, CloningConfig(passes=25, weight_decay=0.01), generator)
    after = agreement(network, test, CNN.layout.names)
    assert course["best_pass"] <= course["passes"] <= 25
    assert after["agreement"] > 0.85  # type: ignore[operator]  # a share
    assert after["agreement"] > before["agreement"]  # type: ignore[operator]
    assert after["value_mean_absolute_error"] < before["value_mean_absolute_error"]  # type: ignore[operator]


def test_agreement_counts_each_action_by_itself() -> None:
    rows = Rows.of(rule(50, runs=5, seed=2))
    network = ActorCritic(NetworkShape(FEATURES, ACTIONS, 16, 8))
    for actor in network.actors:
        actor[2].bias.data[0] = 100.0  # type: ignore[index]  # whatever it is asked, it waits
    found = agreement(network, rows, CNN.layout.names)
    waits = int((rows.action == 0).sum())
    assert found["agreement"] == round(waits / 50, 4)
    assert found["agreement_where_expert_acts"] == 0.0
    actions = found["actions"]
    assert isinstance(actions, dict)
    assert actions["WAIT"] == {"rows": waits, "recall": 1.0, "precision": round(waits / 50, 4)}
    assert actions["GERMINATE_NORM"] == {"rows": 50 - waits, "recall": 0.0, "precision": None}
    assert actions["CULL"] == {"rows": 0, "recall": None, "precision": None}


def test_what_was_learned_says_how_and_the_same_seed_learns_the_same() -> None:
    config = ImitationConfig(runs=5, seed=4, cloning=CloningConfig(passes=2))
    examples = rule(60, runs=5, seed=1)
    network, subject = learn(examples, config, artifact_version="0.1")
    again, _ = learn(examples, config, artifact_version="0.1")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert (subject.name, subject.version, subject.training.seeds) == ("imitation-cnn", "0.1", (4,))
    assert subject.training.config["runs"] == 5
    unread = [
        name
        for name, known in zip(GARDEN.feature_names, subject.normaliser.ranges, strict=True)
        if not known.used
    ]
    assert tuple(unread) == UNREAD
