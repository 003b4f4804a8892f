"""When a training counts as stuck: threshold, smoothing, and what must not be taken for a plateau."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from typing import Any

import pytest
from tamiyo_core import Step
from tamiyo_core.rehearsal import Rehearsal, seed

RAW = {"plateau_smoothing": 0.0}


def plateaus(values: Iterable[float | None], field: str = "val_accuracy", **config: Any) -> list[int]:
    """plateau_epochs after each value, for a run without seeds."""
    run = Rehearsal(config)
    reports: list[dict[str, Any]] = [{field: value} for value in values]
    return [plateau(run.report(epoch, **report)) for epoch, report in enumerate(reports)]


def plateau(step: Step) -> int:
    return step.signals.metrics.plateau_epochs


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_the_first_measured_epoch_gives_no_plateau(objective: str) -> None:
    assert plateaus([50.0], objective, objective=objective) == [0]
    assert plateaus([None, None, 50.0, 50.0], objective, objective=objective) == [0, 0, 0, 1]


@pytest.mark.parametrize(("gain", "expected"), [(0.5, 0), (0.49, 5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.8, 0.9])
def test_an_epoch_improves_from_half_a_point_on(gain: float, expected: int, smoothing: float) -> None:
    curve = [50.0 + gain * n for n in range(6)]
    assert plateaus(curve, tracker={"plateau_smoothing": smoothing})[-1] == expected


@pytest.mark.parametrize(("ratio", "expected"), [(0.995, 0), (0.9951, 5)])
def test_under_val_loss_an_epoch_improves_from_half_a_percent_on(ratio: float, expected: int) -> None:
    curve = [2.0 * ratio**n for n in range(6)]
    assert plateaus(curve, "val_loss", objective="val_loss", tracker=RAW)[-1] == expected


def test_under_val_loss_negative_losses_improve_downwards() -> None:
    falling = [-1.0, -1.1, -1.3, -1.6]
    assert plateaus(falling, "val_loss", objective="val_loss") == [0, 0, 0, 0]
    assert plateaus(falling[::-1], "val_loss", objective="val_loss") == [0, 1, 2, 3]


def test_an_improving_epoch_resets_the_plateau() -> None:
    assert plateaus([50.0, 50.1, 50.2, 51.0, 51.1], tracker=RAW) == [0, 1, 2, 0, 1]


def test_unmeasured_and_diverged_epochs_leave_the_plateau() -> None:
    run = Rehearsal({"tracker": RAW})
    run.report(0, val_accuracy=50.0)
    assert plateau(run.report(1, val_accuracy=50.0)) == 1
    assert plateau(run.report(2)) == 1
    assert plateau(run.report(3, val_accuracy=10.0, val_loss="NaN")) == 1
    assert plateau(run.report(4, val_accuracy=50.0)) == 2


def test_plateaus_count_reports_not_epoch_numbers() -> None:
    run = Rehearsal({"tracker": RAW})
    counts = [plateau(run.report(epoch, val_accuracy=50.0)) for epoch in (0, 10, 20, 90)]
    assert counts == [0, 1, 2, 3]


def test_smoothing_follows_the_corrected_moving_average() -> None:
    rng = random.Random(3)
    values = [50.0]
    values += [values[0] + n + rng.gauss(0.0, 1.0) for n in range(1, 30)]
    beta, average = 0.8, 0.0
    run = Rehearsal({"tracker": {"plateau_smoothing": beta}})
    run.report(0, val_accuracy=values[0])
    for n, (before, now) in enumerate(itertools.pairwise(values), 1):
        average = beta * average + (1 - beta) * (now - before)
        shown = run.report(n, val_accuracy=now).signals.metrics.smoothed_accuracy_delta
        assert shown == pytest.approx(average / (1 - beta**n), rel=1e-12)


def test_smoothing_zero_gives_the_raw_rule() -> None:
    rng = random.Random(4)
    values = [50.0 + rng.gauss(0.0, 1.0) for _ in range(60)]
    expected = [0]
    for before, now in itertools.pairwise(values):
        expected.append(0 if now - before >= 0.5 else expected[-1] + 1)
    assert plateaus(values, tracker=RAW) == expected


def test_noise_around_a_standstill_is_a_plateau_with_smoothing_only() -> None:
    noisy = [50.0, 47.0] * 8
    assert max(plateaus(noisy, tracker=RAW)) == 1
    assert plateaus(noisy, tracker={"plateau_smoothing": 0.8})[-1] >= 3


def test_what_was_not_measured_never_enters_the_average() -> None:
    run = Rehearsal({"tracker": {"plateau_smoothing": 0.8}})
    sparse = Rehearsal({"tracker": {"plateau_smoothing": 0.8}})
    for n, value in enumerate([50.0, 52.0, 53.0, 53.0]):
        run.report(n, val_accuracy=value)
        sparse.report(5 * n, val_accuracy=value)
        sparse.report(5 * n + 1)
        sparse.report(5 * n + 2, val_loss="NaN")
    assert run.state.tracker.average == sparse.state.tracker.average


def stuck(*seeds: dict[str, Any]) -> Rehearsal:
    """A run with a plateau of 3 whose last report showed these seeds."""
    run = Rehearsal({"tracker": RAW, "heuristic": {"max_concurrent_seeds": 64}})
    for epoch in range(4):
        run.report(epoch, *seeds, val_accuracy=50.0, available_slots=0)
    assert run.state.tracker.plateau_epochs == 3
    return run


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "GERMINATED"),
        (None, "BLENDING"),
        ("DORMANT", "GERMINATED"),
        ("DORMANT", "SHADOWING"),
        ("RESETTING", "GERMINATED"),
        ("FOSSILIZED", "GERMINATED"),
        ("CULLED", "SHADOWING"),
        ("TRAINING", None),
        ("GERMINATED", None),
        ("TRAINING", "DORMANT"),
        ("GERMINATED", "TRAINING"),
        ("TRAINING", "BLENDING"),
        ("PROBATIONARY", "FOSSILIZED"),
        ("TRAINING", "CULLED"),
        ("SHADOWING", "EMBARGOED"),
    ],
)
def test_surgery_ends_the_plateau_and_its_delta_stays_out(before: str | None, after: str | None) -> None:
    run = stuck(*[seed("s1", before)] if before else [])
    average, averaged = run.state.tracker.average, run.state.tracker.averaged
    step = run.report(4, *[seed("s1", after)] if after else [], val_accuracy=20.0)
    assert plateau(step) == 0
    assert (run.state.tracker.average, run.state.tracker.averaged) == (average, averaged)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BLENDING", "SHADOWING"),
        ("SHADOWING", "PROBATIONARY"),
        ("CULLED", "EMBARGOED"),
        ("EMBARGOED", "RESETTING"),
        ("CULLED", "RESETTING"),
        ("RESETTING", "DORMANT"),
        ("TRAINING", "TRAINING"),
        (None, "DORMANT"),
        (None, "CULLED"),
        (None, "FOSSILIZED"),
        ("CULLED", None),
        ("FOSSILIZED", None),
        ("DORMANT", None),
    ],
)
def test_other_changes_of_seeds_are_no_surgery(before: str | None, after: str | None) -> None:
    run = stuck(*[seed("s1", before)] if before else [])
    step = run.report(4, *[seed("s1", after)] if after else [], val_accuracy=50.0)
    assert plateau(step) == 4
    assert run.state.tracker.averaged == 4


@pytest.mark.parametrize(
    "report", [{}, {"val_loss": "NaN", "val_accuracy": 3.0}], ids=["unmeasured", "diverged"]
)
def test_surgery_wins_over_unmeasured_and_diverged_and_its_delta_stays_out(report: dict[str, Any]) -> None:
    run = stuck()
    assert plateau(run.report(4, seed("s1", "GERMINATED"), **report)) == 0
    averaged = run.state.tracker.averaged
    assert plateau(run.report(5, seed("s1", "GERMINATED"), **report)) == 0
    # The first value after the surgery spans it: it is no verdict on the host either way.
    assert plateau(run.report(6, seed("s1", "GERMINATED"), val_accuracy=30.0)) == 0
    assert run.state.tracker.averaged == averaged
    assert plateau(run.report(7, seed("s1", "GERMINATED"), val_accuracy=30.0)) == 1
    assert run.state.tracker.averaged == averaged + 1


def test_measured_surgery_keeps_only_its_own_delta_out() -> None:
    run = stuck()
    run.report(4, seed("s1", "GERMINATED"), val_accuracy=30.0)
    assert plateau(run.report(5, seed("s1", "GERMINATED"), val_accuracy=30.0)) == 1


def test_under_val_loss_a_loss_of_zero_is_a_reference_like_any_other() -> None:
    assert plateaus([0.0, 0.0, 0.0], "val_loss", objective="val_loss") == [0, 1, 2]
    assert all(math.isfinite(n) for n in plateaus([0.0, 1.0, 0.0], "val_loss", objective="val_loss"))
