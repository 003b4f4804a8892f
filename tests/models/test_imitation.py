from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tamiyo_core.observation import GARDEN
from tamiyo_garden import GardenConfig, HostConfig
from tamiyo_models.cloning import (
    CloningConfig,
    Rows,
    agreement,
    clone,
    normalise_by,
    ranges_of,
    refused,
    split_by_run,
)
from tamiyo_models.demonstrations import Demonstration, demonstrate, described
from tamiyo_models.imitation import UNREAD, ImitationConfig, learn
from tamiyo_models.network import ActorCritic, NetworkShape
from tamiyo_models.situations import Situation, Variety, situations
from tamiyo_models.trainers import Acting, Reporting

from tests.models.questions import ACTIONS, CNN, FEATURES

SHORT = Situation(
    GardenConfig(
        dataset="digits",
        host=HostConfig(dimensions=2, widths=(4, 4), strides=(2, 2), slots=2),
        train_examples=100,
        validation_examples=100,
        max_epochs=14,
    ),
    {
        "tracker": {"plateau_threshold": 50.0},
        "heuristic": {"plateau_epochs_to_germinate": 1, "min_epochs_before_germinate": 1},
    },
    (Reporting(),),
    Acting(),
    seed=1,
)


def column(examples: list[Demonstration], name: str) -> list[float]:
    """One feature of all of them."""
    place = GARDEN.feature_names.index(name)
    return [example.features[place] for example in examples]


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


def test_a_training_is_told_in_several_ways_and_answered_in_each(shown: list[Demonstration]) -> None:
    bare = Reporting(omitted=frozenset({"train_loss", "val_loss", "metrics", "telemetry", "host"}))
    both = demonstrate(7, replace(SHORT, told=(Reporting(), bare)), GARDEN)
    plain, altered = [[one for one in both if one.altered is flag] for flag in (False, True)]
    assert plain == shown
    assert set(column(altered, "train_loss")) == {10.0}
    assert not any(column(altered, "stage_improvement_measured"))
    assert any(column(plain, "stage_improvement_measured"))
    # Both see the seeds that the commands of the one who steers have brought about.
    assert {0.0, 1.0} <= set(column(altered, "has_active_seed"))


def test_a_trainer_that_answers_late_or_never_leaves_commands_pending() -> None:
    hasty = {"cull_after_stalled_epochs": 1, "max_concurrent_seeds": 2, "embargo_epochs_after_cull": 0}
    situation = replace(SHORT, run={**SHORT.run, "heuristic": SHORT.run["heuristic"] | hasty})
    prompt, late, deaf = [
        demonstrate(1, replace(situation, acting=acting), GARDEN)
        for acting in (Acting(), Acting(late=True), Acting(deaf=True))
    ]
    for feature in ("cull_pending", "germination_pending"):
        assert not any(column(prompt, feature))
        assert 1.0 in column(late, feature)
    assert {0.0, 1.0} <= set(column(late, "has_active_seed"))
    assert not any(column(deaf, "has_active_seed"))
    assert all(one.altered for one in (*late, *deaf))
    assert not any(one.altered for one in prompt)


def test_the_situations_are_those_that_trainers_bring_about() -> None:
    many = list(situations(200, 0, Variety()))
    told = [way for situation in many for way in situation.told]
    assert sum(way == Reporting() for way in told) == len(many)
    assert {way.validate_every for way in told} == {1, 2, 3, 4, 5}
    assert any(way.by_loss and "val_accuracy" in way.omitted for way in told)
    assert not any(("val_loss" if way.by_loss else "val_accuracy") in way.omitted for way in told)
    for field in ("diverged", "unhealthy"):
        assert any(getattr(way, field) for way in told)
    assert len({situation.acting for situation in many}) == 8
    assert max(situation.garden.max_epochs for situation in many) > 200


def test_what_a_trainer_omits_of_its_run_is_not_described() -> None:
    full = described(SHORT, Reporting(), host_parameters=99)
    assert (full.max_epochs, full.host.parameters, full.host.train_examples) == (14, 99, 100)
    less = described(SHORT, Reporting(omitted=frozenset({"host", "max_epochs"}), by_loss=True), 99)
    assert (less.max_epochs, less.host.parameters, less.objective) == (50, None, "val_loss")


def test_situations_are_reproducible_and_differ() -> None:
    some = list(situations(8, 3, Variety()))
    assert some == list(situations(8, 3, Variety()))
    assert list(situations(4, 3, Variety())) == some[:4]
    assert len({repr(situation) for situation in (*some, *situations(8, 4, Variety()))}) == 16
    assert [situation.garden.dataset for situation in some[:2]] == ["digits", "mnist1d"]


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
    ranges = ranges_of(rows, GARDEN.scales, unread=(1,))
    assert (ranges[5].lowest, ranges[5].highest, ranges[5].scale) == (3.0, 3.0, 100.0)
    assert [place for place, known in enumerate(ranges) if not known.used] == [1, 5]


def test_rows_are_refused_that_lie_far_outside_the_range_of_others() -> None:
    rows = Rows.of(rule(200, runs=10, seed=0))
    ranges = ranges_of(rows, GARDEN.scales, ())
    assert refused(rows, ranges) == 0.0
    rows.features[3, 3], rows.features[7, 40], rows.features[7, 41] = 1e9, 50.0, math.nan
    assert refused(rows, ranges) == 2 / 200


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
    assert after["agreement"] > 0.85  # type: ignore[operator]  # numbers  # a share
    assert after["agreement"] > before["agreement"]  # type: ignore[operator]  # numbers
    assert after["value_mean_absolute_error"] < before["value_mean_absolute_error"]  # type: ignore[operator]  # numbers


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
