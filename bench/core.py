"""What one decision costs: the core alone, no service, one live seed, answered with WAIT.

Run ``python bench/core.py``; the figures go to ``bench/results/core.json``: medians in microseconds, the
calls taken in turns, a block of each, so that a busy machine slows all of them alike; and the bytes that the
state of an idle run holds. `median_us` is observe + decide; `step_us` the whole of `Engine.step`: with
ledger, commands, events and masks.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tamiyo_core import Engine, RunState, Step
from tamiyo_core.rehearsal import MOMENT, Rehearsal, seed
from tamiyo_leyline import EpochReport

RESULTS: Final = Path(__file__).parent / "results" / "core.json"
EPOCHS: Final = 20
BLOCKS: Final = 40
BLOCK: Final = 100
RUNS: Final = 500


def content(epoch: int) -> dict[str, Any]:
    """A report of a training that improves, with one seed in TRAINING."""
    one = seed(
        "seed-1",
        "TRAINING",
        slot_id="slot-1",
        telemetry={"gradient_norm": 1.5, "gradient_health": 0.9},
        epochs_in_current_stage=epoch,
        initial_val_accuracy=40.0,
        accuracy_at_stage_start=41.0,
        current_val_accuracy=42.0 + epoch,
    )
    return {
        "epoch": epoch,
        "global_step": 100 * epoch,
        "train_loss": 1.0 / (1 + epoch),
        "val_loss": 1.1 / (1 + epoch),
        "train_accuracy": 43.0 + epoch,
        "val_accuracy": 42.0 + epoch,
        "available_slots": 0,
        "seeds": [one],
    }


def trained() -> tuple[Engine, RunState, EpochReport, Step]:
    """A run after `EPOCHS` reports, the next report, and the step it leads to."""
    run = Rehearsal()
    for epoch in range(EPOCHS):
        run.report(epoch, *content(epoch).pop("seeds"), **_fields(epoch))
    report = EpochReport.model_validate(content(EPOCHS))
    step = run.engine.step(run.state, report, decision_id="run@0.20", now=MOMENT)
    return run.engine, run.state, report, step


def _fields(epoch: int) -> dict[str, Any]:
    return {name: value for name, value in content(epoch).items() if name not in ("seeds", "epoch")}


def medians(calls: dict[str, Callable[[], object]], blocks: int = BLOCKS) -> dict[str, float]:
    """Median time of each call, microseconds, the calls taken in turns."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            for _ in range(BLOCK):
                began = time.perf_counter_ns()
                call()
                times[name].append(time.perf_counter_ns() - began)
    return {name: round(statistics.median(taken) / 1000.0, 2) for name, taken in times.items()}


def timings() -> dict[str, float]:
    """What each part of a decision takes."""
    engine, state, report, step = trained()
    tracker, policy = engine.tracker, engine.policy
    data = json.loads(json.dumps(engine.snapshot(state)))

    def observe_and_decide() -> None:
        _, signals = tracker.observe(state.tracker, report)
        policy.decide(state.policy, signals, step.context)

    calls: dict[str, Callable[[], object]] = {
        "observe_us": lambda: tracker.observe(state.tracker, report),
        "decide_us": lambda: policy.decide(state.policy, step.signals, step.context),
        "median_us": observe_and_decide,
        "step_us": lambda: engine.step(state, report, decision_id="run@0.20", now=MOMENT),
        "snapshot_us": lambda: engine.snapshot(state),
        "restore_us": lambda: engine.restore(data),
    }
    medians(calls, 5)
    gc.collect()
    gc.freeze()
    return medians(calls)


def bytes_per_state() -> float:
    """Bytes of an idle run's state, restored from its snapshot as a process does that picks it up."""
    engine, state, _, _ = trained()
    text = json.dumps(engine.snapshot(state))
    engine.restore(json.loads(text))
    gc.collect()
    tracemalloc.start()
    kept = [engine.restore(json.loads(text)) for _ in range(RUNS)]
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(used / len(kept), 1)


def measure() -> dict[str, float]:
    """All figures."""
    return timings() | {"bytes_per_state": bytes_per_state()}


if __name__ == "__main__":
    figures = measure()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for name, value in figures.items():
        print(f"{name:<18}{value:>10}")
