"""The artifact that comes with Tamiyo: what it answers, and what it leaves to the heuristic."""

from __future__ import annotations

import pytest
from tamiyo_core.observation import GARDEN
from tamiyo_core.policy import Question
from tamiyo_models.artifact import SHIPPED, Network, load_network

USUAL = {
    # Nothing was ever told but an epoch, an accuracy and the slots.
    "train_loss": 10.0,
    "val_loss": 10.0,
    "val_accuracy": 60.0,
    "best_val_accuracy": 60.0,
    "best_val_loss": 10.0,
    "available_slots": 1.0,
    "measured": 1.0,
    "free_slots": 0.125,
    "next_0": 1.0,
}
GERMINATION = (True, True, True, True, True, False, False)


@pytest.fixture(scope="module")
def shipped() -> Network:
    return load_network(SHIPPED / "imitation-cnn" / "1.0.0")


def said(network: Network, **features: float) -> object:
    """What it answers to the usual question with some features changed."""
    values = USUAL | features
    assert set(values) <= set(GARDEN.feature_names)
    row = tuple(values.get(name, 0.0) for name in GARDEN.feature_names)
    [advice] = network.advise([Question(row, GERMINATION)])
    return advice


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"cull_pending": 1.0},
        {"germination_pending": 1.0},
        {"measured": 0.0},
        {"diverged": 1.0},
        {"val_loss_objective": 1.0},
        {"beyond_plan": 1.0},
        {"plateau_epochs": 31.0},
        {"plateau_epochs": 300.0},
        {"epoch": 1e6, "global_step": 1e12, "epochs_seen": 1.0},
        {"available_slots": 16.0, "free_slots": 1.0},
        {"val_accuracy": 0.0, "best_val_accuracy": 0.0},
        {"val_loss": 0.001, "train_loss": 0.0, "best_val_loss": 0.001},
        {"fossils_0": 1.0, "fossils_7": 1.0, "penalty_2": 1.0, "next_7": 1.0, "live_seeds": 1.0},
        {"telemetry_has_vanishing": 1.0, "telemetry_has_exploding": 1.0},
        {"host_parameters": 1.2, "host_examples": 1.0, "host_grad_norm": 1.0},
    ],
    ids=str,
)
def test_what_trainers_do_send_is_answered(shipped: Network, features: dict[str, float]) -> None:
    assert not isinstance(said(shipped, **features), str)


@pytest.mark.parametrize(
    "features",
    [
        {"val_loss": 1e9},
        {"train_loss": 1e4},
        {"loss_delta": -1e9},
        {"val_accuracy": 1e6},
        {"acc_hist_2": -1e6},
        {"plateau_epochs": 1e6},
        {"available_slots": 1e4},
    ],
    ids=str,
)
def test_nonsense_is_refused_by_name(shipped: Network, features: dict[str, float]) -> None:
    answer = said(shipped, **features)
    assert isinstance(answer, str)
    assert answer.startswith(f"{next(iter(features))} is ")
    assert "far outside the training range" in answer


def test_the_natural_scales_are_in_the_manifest(shipped: Network) -> None:
    assert tuple(known.scale for known in shipped.manifest.normaliser.ranges) == GARDEN.scales


def test_what_trainers_leave_out_or_tell_late_was_part_of_the_training(shipped: Network) -> None:
    ranges = dict(zip(GARDEN.feature_names, shipped.manifest.normaliser.ranges, strict=True))
    for name in ("cull_pending", "germination_pending", "diverged", "val_loss_objective", "beyond_plan"):
        assert (ranges[name].lowest, ranges[name].highest, ranges[name].used) == (0.0, 1.0, True)
    assert ranges["train_loss"].highest >= 10.0
    assert ranges["plateau_epochs"].highest >= 100.0
    assert ranges["measured"].lowest == 0.0
    assert not ranges["epoch"].used
