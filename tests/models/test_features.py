from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tamiyo_leyline import TrainingMetrics, TrainingSignals
from tamiyo_models.features import SignalColumns, batch_features, features_from_columns


def one_by_one(signals: list[TrainingSignals]) -> NDArray[np.float32]:
    """The scalar path: what the batch must equal, bit for bit."""
    return np.array([signal.to_vector() for signal in signals], dtype=np.float32).reshape(-1, 27)


def bits(features: NDArray[np.float32]) -> NDArray[np.uint32]:
    return features.view(np.uint32)


def quiet_signals(epoch: int = 1, loss: float | None = 0.5) -> TrainingSignals:
    metrics = TrainingMetrics(
        epoch, 0, loss, loss, 0.0, None, 50.0, 0.0, 0.0, 0, 50.0, loss, None, False, True
    )
    return TrainingSignals(metrics, (), 1, (), ())


@given(signals=st.lists(st.from_type(TrainingSignals), max_size=5))
def test_a_batch_equals_the_scalar_path_bit_for_bit(signals: list[TrainingSignals]) -> None:
    features = batch_features(signals)
    assert features.dtype == np.float32
    assert np.array_equal(bits(features), bits(one_by_one(signals)))


@given(signals=st.lists(st.from_type(TrainingSignals), min_size=1, max_size=5))
def test_columns_equal_the_scalar_path_bit_for_bit(signals: list[TrainingSignals]) -> None:
    columns = SignalColumns.from_signals(signals)
    assert np.array_equal(bits(features_from_columns(columns)), bits(one_by_one(signals)))


@given(signals=st.lists(st.from_type(TrainingSignals), min_size=1, max_size=5))
def test_every_feature_of_a_batch_is_finite(signals: list[TrainingSignals]) -> None:
    assert np.isfinite(batch_features(signals)).all()


def test_an_empty_batch_has_no_rows() -> None:
    assert batch_features([]).shape == (0, 27)


def test_rows_keep_the_order_of_the_signals() -> None:
    features = batch_features([quiet_signals(epoch) for epoch in (3, 1, 2)])
    assert features[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert features.flags.c_contiguous


def test_columns_are_one_value_a_run_and_five_of_each_history() -> None:
    columns = SignalColumns.from_signals([quiet_signals(), quiet_signals()])
    shapes = {field.name: getattr(columns, field.name).shape for field in fields(columns)}
    histories = {name for name, shape in shapes.items() if shape == (2, 5)}
    assert histories == {"loss_history", "accuracy_history"}
    assert {shape for name, shape in shapes.items() if name not in histories} == {(2,)}


def test_what_was_never_measured_is_nan_in_columns_and_a_number_in_features() -> None:
    columns = SignalColumns.from_signals([quiet_signals(loss=None)])
    assert math.isnan(columns.val_loss[0])
    assert math.isnan(columns.train_accuracy[0])
    features = features_from_columns(columns)
    assert (features[0, 3], features[0, 5]) == (10.0, 0.0)


def test_making_features_leaves_the_columns_unchanged() -> None:
    columns = SignalColumns.from_signals([quiet_signals(loss=math.inf), quiet_signals(loss=1e300)])
    before = {field.name: getattr(columns, field.name).copy() for field in fields(columns)}
    features_from_columns(columns)
    for name, values in before.items():
        assert np.array_equal(getattr(columns, name), values, equal_nan=True)


def test_columns_cannot_be_replaced() -> None:
    columns = SignalColumns.from_signals([quiet_signals()])
    with pytest.raises(FrozenInstanceError):
        columns.epoch = np.zeros(1)  # type: ignore[misc]  # what is under test
