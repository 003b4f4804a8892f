from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tamiyo_garden import Gates
from tamiyo_garden.lifecycle import FAILURE_PATH, Standing, alpha_on_ramp, stage_after_epoch
from tamiyo_leyline import SeedStage

TRAINING, BLENDING, SHADOWING = SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.SHADOWING
PROBATIONARY = SeedStage.PROBATIONARY


def after(
    stage: SeedStage, epochs: int, *, gain: float = 0.0, alpha: float = 0.0, max_epochs: int = 40
) -> SeedStage:
    return stage_after_epoch(Standing(stage, epochs, gain, alpha), Gates(), max_epochs)


@pytest.mark.parametrize(
    ("max_epochs", "dwell"), [(1, 1), (9, 1), (10, 1), (20, 2), (39, 3), (40, 4), (50, 5), (70, 7)]
)
def test_the_dwell_is_a_tenth_of_the_training_and_at_least_one_epoch(max_epochs: int, dwell: int) -> None:
    assert Gates().dwell_epochs(max_epochs) == dwell


def test_training_lasts_at_least_three_epochs() -> None:
    assert after(TRAINING, 2, gain=5.0, max_epochs=10) is TRAINING
    assert after(TRAINING, 3, gain=5.0, max_epochs=10) is BLENDING


def test_training_lasts_at_least_the_dwell() -> None:
    assert after(TRAINING, 3, gain=5.0, max_epochs=40) is TRAINING
    assert after(TRAINING, 4, gain=5.0, max_epochs=40) is BLENDING


def test_a_seed_that_has_not_gained_half_a_point_goes_on_training() -> None:
    assert after(TRAINING, 30, gain=0.49) is TRAINING
    assert after(TRAINING, 30, gain=0.5) is BLENDING


def test_blending_ends_when_alpha_reaches_95_percent() -> None:
    assert after(BLENDING, 4, alpha=0.949) is BLENDING
    assert after(BLENDING, 5, alpha=0.95) is SHADOWING


def test_shadowing_lasts_the_dwell() -> None:
    assert after(SHADOWING, 3) is SHADOWING
    assert after(SHADOWING, 4) is PROBATIONARY


@given(st.integers(0, 500), st.floats(-100, 100), st.floats(0, 1), st.integers(1, 500))
def test_nothing_leaves_probation_by_itself(epochs: int, gain: float, alpha: float, max_epochs: int) -> None:
    assert after(PROBATIONARY, epochs, gain=gain, alpha=alpha, max_epochs=max_epochs) is PROBATIONARY


@given(
    st.sampled_from(SeedStage),
    st.integers(0, 500),
    st.floats(-100, 100),
    st.floats(0, 1),
    st.integers(1, 500),
)
def test_every_move_is_legal(
    stage: SeedStage, epochs: int, gain: float, alpha: float, max_epochs: int
) -> None:
    assert stage.may_become(after(stage, epochs, gain=gain, alpha=alpha, max_epochs=max_epochs))


def test_a_failed_seed_takes_three_legal_moves_to_dormant() -> None:
    stage, moves = SeedStage.CULLED, 0
    while stage is not SeedStage.DORMANT:
        assert stage.may_become(FAILURE_PATH[stage])
        stage, moves = FAILURE_PATH[stage], moves + 1
    assert moves == 3


def test_alpha_rises_along_a_sigmoid_and_passes_the_gate_in_the_fifth_epoch() -> None:
    ramp = [alpha_on_ramp(epochs, 5) for epochs in range(7)]
    assert ramp[0] == 0.0
    assert ramp[4] < Gates().min_blended_alpha < ramp[5]
    assert ramp[5] == ramp[6]
    assert alpha_on_ramp(2.5, 5) == pytest.approx(0.5)


@given(st.floats(0, 10), st.floats(0, 10))
def test_alpha_never_falls(first: float, second: float) -> None:
    earlier, later = sorted((first, second))
    assert 0.0 <= alpha_on_ramp(earlier, 5) <= alpha_on_ramp(later, 5) <= 1.0
