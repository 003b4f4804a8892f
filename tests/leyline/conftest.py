from __future__ import annotations

import math

import pytest
from tamiyo_leyline import TrainingMetrics, TrainingSignals


@pytest.fixture
def diverged() -> TrainingSignals:
    """Signals of a training whose losses are not finite and whose accuracies were never measured."""
    metrics = TrainingMetrics(
        epoch=7,
        global_step=700,
        train_loss=math.nan,
        val_loss=math.inf,
        loss_delta=0.0,
        train_accuracy=None,
        val_accuracy=None,
        accuracy_delta=0.0,
        smoothed_accuracy_delta=0.0,
        plateau_epochs=0,
        best_val_accuracy=None,
        best_val_loss=None,
        grad_norm_host=None,
        diverged=True,
        measured=True,
    )
    return TrainingSignals(metrics, (), 2, (1.5, -math.inf, math.nan), ())
