"""Features of many runs at once: what a policy network reads, as one (B, 27) array.

Two ways in, both bit-identical to ``TrainingSignals.to_vector()`` rounded to 32 bits: from signals, for a
batch of runs that wait for a decision, and from columns, for training data and vectorised environments that
hold their signals as arrays anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from tamiyo_leyline import FEATURE_NAMES, SeedSignals, TrainingMetrics, TrainingSignals
from tamiyo_leyline.signals import FEATURE_LIMIT, MISSING_LOSS, VISIBLE_HISTORY

Column = NDArray[np.float64]
"""One value for each of B runs."""

_METRICS: Final = TrainingMetrics._fields[: TrainingMetrics._fields.index("best_val_loss") + 1]
_SEED: Final = ("seed_stage", "seed_epochs_in_stage", "seed_alpha", "seed_improvement")
_NO_SEED: Final = (0.0,) * len(_SEED)
_seed_values: Final = itemgetter(
    *map(
        SeedSignals._fields.index,
        ("stage", "epochs_in_stage", "alpha", "improvement_since_stage_start"),
    )
)
_BEST_VAL_LOSS: Final = FEATURE_NAMES.index("best_val_loss")
_LOSSES: Final = [
    row
    for row, name in enumerate(FEATURE_NAMES)
    if name in {"train_loss", "val_loss", "best_val_loss"} or name.startswith("loss_hist_")
]

_CHUNK: Final = 256
"""Runs at a time: what they need stays in the cache, and far below what an allocator maps anew each time."""


@dataclass(frozen=True, slots=True, eq=False)
class SignalColumns:
    """Signals of B runs, one array for each signal; losses and accuracies never measured are NaN.

    Every column has shape (B,), the two histories (B, 5): the last five values, oldest first, padded on the
    left with zeros. The seed is the summary seed of the run; without one its columns are zero. Units are
    those of `TrainingSignals`.
    """

    epoch: Column
    global_step: Column
    train_loss: Column
    val_loss: Column
    loss_delta: Column
    train_accuracy: Column
    val_accuracy: Column
    accuracy_delta: Column
    plateau_epochs: Column
    best_val_accuracy: Column
    best_val_loss: Column
    loss_history: Column
    accuracy_history: Column
    has_active_seed: Column
    seed_stage: Column
    seed_epochs_in_stage: Column
    seed_alpha: Column
    seed_improvement: Column
    available_slots: Column

    @classmethod
    def from_signals(cls, signals: Sequence[TrainingSignals]) -> Self:
        """The columns of these signals, in their order."""
        summary = [signal.summary_seed if signal.seeds else None for signal in signals]
        metrics = _columns([signal.metrics[: len(_METRICS)] for signal in signals], _METRICS)
        del metrics["smoothed_accuracy_delta"]
        return cls(
            **metrics,
            loss_history=_histories([signal.loss_history[-VISIBLE_HISTORY:] for signal in signals]),
            accuracy_history=_histories([signal.accuracy_history[-VISIBLE_HISTORY:] for signal in signals]),
            has_active_seed=_column([seed is not None for seed in summary]),
            **_columns([_NO_SEED if seed is None else _seed_values(seed) for seed in summary], _SEED),
            available_slots=_column([signal.available_slots for signal in signals]),
        )


def batch_features(signals: Sequence[TrainingSignals]) -> NDArray[np.float32]:
    """The features of B signals, shape (B, 27), in the order of `FEATURE_NAMES`."""
    return features_from_columns(SignalColumns.from_signals(signals))


def features_from_columns(columns: SignalColumns) -> NDArray[np.float32]:
    """The features of B columns, shape (B, 27), in the order of `FEATURE_NAMES`.

    Losses that are not finite become 10.0, other values that are not numbers 0.0; everything stays within
    ±3e38, so that it is finite with 32 bits too.
    """
    count = len(columns.epoch)
    features = np.empty((count, len(FEATURE_NAMES)), np.float32)
    scratch = np.empty((len(FEATURE_NAMES), min(count, _CHUNK)))
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        features[rows] = _clamped(_stacked(columns, rows, scratch[:, : rows.stop - start])).T
    return features


def _stacked(columns: SignalColumns, rows: slice, table: Column) -> Column:
    # One line for each feature: the values of a feature lie side by side while they are clamped.
    line = 0
    for name in SignalColumns.__slots__:
        column = getattr(columns, name)[rows]
        width = 1 if column.ndim == 1 else VISIBLE_HISTORY
        table[line : line + width] = column.T
        line += width
    return table


def _clamped(table: Column) -> Column:
    losses = table[_LOSSES]
    losses[~np.isfinite(losses)] = MISSING_LOSS
    table[_LOSSES] = losses
    np.minimum(table[_BEST_VAL_LOSS], MISSING_LOSS, out=table[_BEST_VAL_LOSS])
    np.clip(table, -FEATURE_LIMIT, FEATURE_LIMIT, out=table)
    table[np.isnan(table)] = 0.0
    return table


def _column(values: Sequence[float]) -> Column:
    return np.fromiter(values, np.float64, count=len(values))


def _columns(rows: Sequence[Sequence[float | None]], names: tuple[str, ...]) -> dict[str, Column]:
    # From a flat iterator: several times faster than an array of rows, and None becomes NaN all the same.
    values = np.fromiter(chain.from_iterable(rows), np.float64, count=len(rows) * len(names))
    return dict(zip(names, values.reshape(-1, len(names)).T, strict=True))


def _histories(histories: Sequence[tuple[float, ...]]) -> Column:
    lengths = np.fromiter(map(len, histories), np.intp, count=len(histories))
    table = np.zeros((len(histories), VISIBLE_HISTORY))
    table[np.arange(VISIBLE_HISTORY) >= VISIBLE_HISTORY - lengths[:, None]] = np.fromiter(
        chain.from_iterable(histories), np.float64
    )
    return table
