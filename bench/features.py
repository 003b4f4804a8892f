"""Features of 1 024 signals: the batch paths against the scalar loop, microseconds a row.

Run ``python bench/features.py``; the figures go to ``bench/results/features.json``. All three paths are
timed in turn in every round, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tamiyo_leyline import SeedSignals, SeedStage, TrainingMetrics, TrainingSignals
from tamiyo_models.features import SignalColumns, batch_features, features_from_columns

SIGNALS = 1024
ROUNDS = 60
RESULTS = Path(__file__).parent / "results" / "features.json"


def measure() -> dict[str, float]:
    """Median microseconds a row of each path, and how many times faster than the scalar loop it is."""
    signals = some_signals(SIGNALS, seed=20260131)
    columns = SignalColumns.from_signals(signals)
    paths: dict[str, Callable[[], object]] = {
        "scalar": lambda: np.array([signal.to_vector() for signal in signals], dtype=np.float32),
        "objects": lambda: batch_features(signals),
        "columns": lambda: features_from_columns(columns),
    }
    rounds = [{name: _seconds(path) for name, path in paths.items()} for _ in range(ROUNDS)]
    median = {name: statistics.median(row[name] for row in rounds) for name in paths}
    return {
        "signals": SIGNALS,
        "scalar_us_per_row": median["scalar"] / SIGNALS * 1e6,
        "objects_us_per_row": median["objects"] / SIGNALS * 1e6,
        "columns_us_per_row": median["columns"] / SIGNALS * 1e6,
        "objects_speedup": median["scalar"] / median["objects"],
        "columns_speedup": median["scalar"] / median["columns"],
    }


def some_signals(count: int, seed: int) -> list[TrainingSignals]:
    """Signals of runs at different points of their training, with none to three seeds."""
    rng = random.Random(seed)
    return [_signals(rng) for _ in range(count)]


def _signals(rng: random.Random) -> TrainingSignals:
    epoch = rng.randrange(50)
    losses = tuple(rng.uniform(0.1, 2.0) for _ in range(min(epoch, 10)))
    accuracies = tuple(rng.uniform(10.0, 90.0) for _ in range(min(epoch, 10)))
    metrics = TrainingMetrics(
        epoch=epoch,
        global_step=epoch * 100,
        train_loss=rng.uniform(0.1, 2.0),
        val_loss=losses[-1] if losses else None,
        loss_delta=rng.uniform(-0.1, 0.1),
        train_accuracy=rng.uniform(10.0, 90.0),
        val_accuracy=accuracies[-1] if accuracies else None,
        accuracy_delta=rng.uniform(-1.0, 1.0),
        smoothed_accuracy_delta=rng.uniform(-1.0, 1.0),
        plateau_epochs=rng.randrange(5),
        best_val_accuracy=max(accuracies, default=None),
        best_val_loss=min(losses, default=None),
        grad_norm_host=rng.uniform(0.1, 5.0),
        diverged=False,
        measured=True,
    )
    seeds = tuple(_seed(rng, index) for index in range(rng.randrange(4)))
    return TrainingSignals(metrics, seeds, rng.randrange(3), losses, accuracies)


def _seed(rng: random.Random, index: int) -> SeedSignals:
    stage = SeedStage(rng.randrange(2, 9))
    return SeedSignals(
        seed_id=f"seed-{index}",
        slot_id=f"slot-{index}",
        blueprint_id="norm",
        stage=stage,
        is_live=stage.is_live,
        alpha=rng.random(),
        epochs_in_stage=rng.randrange(10),
        improvement_since_stage_start=rng.choice([None, rng.uniform(-2.0, 2.0)]),
        total_improvement=rng.uniform(-2.0, 5.0),
        attributed_improvement=None,
        expected_drift=0.0,
        best_stage_improvement=None,
        epochs_since_best=rng.randrange(5),
        epochs_since_settled=None,
        blended_epoch=None,
        accuracy_history=(),
        gradient_norm=1.0,
        gradient_health=0.9,
        has_vanishing=False,
        has_exploding=False,
    )


def _seconds(path: Callable[[], object]) -> float:
    start = time.perf_counter()
    path()
    return time.perf_counter() - start


if __name__ == "__main__":
    figures = measure()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    for name, figure in figures.items():
        print(f"{name:20} {figure:10.3f}")
