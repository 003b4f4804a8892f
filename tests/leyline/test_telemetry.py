from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from tamiyo_leyline import SeedStage, SeedTelemetry, telemetry_features
from tamiyo_leyline.report import TELEMETRY_FEATURES

telemetries = st.none() | st.builds(
    SeedTelemetry,
    gradient_norm=st.floats(min_value=0.0, allow_infinity=False),
    gradient_health=st.floats(min_value=0.0, max_value=1.0),
    has_vanishing=st.booleans(),
    has_exploding=st.booleans(),
)


def test_the_ten_features_follow_the_contract() -> None:
    telemetry = SeedTelemetry(
        gradient_norm=2.5, gradient_health=0.75, has_vanishing=True, has_exploding=False
    )
    values = telemetry_features(
        telemetry,
        stage=SeedStage.BLENDING,
        alpha=0.5,
        epochs_in_stage=10,
        accuracy=80.0,
        accuracy_delta=-2.5,
        progress=0.25,
    )
    assert values == (0.25, 0.75, 1.0, 0.0, 0.2, 0.8, -0.25, 0.5, 0.5, 0.25)
    assert len(TELEMETRY_FEATURES) == 10


def test_large_values_are_clamped() -> None:
    values = telemetry_features(
        SeedTelemetry(gradient_norm=1e9, has_exploding=True),
        stage=SeedStage.RESETTING,
        alpha=2.0,
        epochs_in_stage=10_000,
        accuracy=400.0,
        accuracy_delta=90.0,
        progress=3.0,
    )
    assert values == (1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_no_telemetry_counts_as_healthy() -> None:
    values = telemetry_features(
        None,
        stage=SeedStage.DORMANT,
        alpha=0.0,
        epochs_in_stage=0,
        accuracy=math.nan,
        accuracy_delta=math.nan,
        progress=0.0,
    )
    assert values == (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@given(
    telemetry=telemetries,
    stage=st.sampled_from(SeedStage),
    alpha=st.floats(),
    epochs_in_stage=st.integers(min_value=0, max_value=2**53),
    accuracy=st.floats(),
    accuracy_delta=st.floats(),
    progress=st.floats(),
)
def test_every_feature_is_finite_and_within_its_bounds(
    telemetry: SeedTelemetry | None,
    stage: SeedStage,
    alpha: float,
    epochs_in_stage: int,
    accuracy: float,
    accuracy_delta: float,
    progress: float,
) -> None:
    values = dict(
        zip(
            TELEMETRY_FEATURES,
            telemetry_features(
                telemetry,
                stage=stage,
                alpha=alpha,
                epochs_in_stage=epochs_in_stage,
                accuracy=accuracy,
                accuracy_delta=accuracy_delta,
                progress=progress,
            ),
            strict=True,
        )
    )
    assert -1.0 <= values.pop("accuracy_delta") <= 1.0
    assert all(0.0 <= value <= 1.0 for value in values.values())
