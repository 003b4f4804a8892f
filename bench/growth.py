"""Does growth pay? Static and growing trainings of the demo's tasks, paired by seed.

Arms, each trained for the same number of epochs on the same batches with the same optimizer:

* static: the host as it is;
* grown: the same host, its seeds decided by the heuristic with the task's settings, in this process;
* wider: a static host that had about the grown network's parameters from the beginning.

Settings were chosen on the seeds of `TUNING_SEEDS`; the study runs on others.

Run ``python bench/growth.py`` (``--seeds 12``) for the study, ``python bench/growth.py --variants`` for other
settings on the tuning seeds; the figures go to ``bench/results/growth.json`` and ``growth_variants.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tamiyo_core import Engine, HeuristicPolicy, RunState
from tamiyo_garden import TASKS, GardenConfig, GardenTrainer, Task
from tamiyo_leyline import (
    ActionKind,
    AdaptationCommand,
    EpochReport,
    HeuristicConfig,
    RunConfig,
    TrackerConfig,
)

TUNING_SEEDS = range(100, 104)
"""Seeds that settings were chosen on; the study never uses them."""
SEEDS = 12
WIDER = {"digits": (7, 7), "mnist1d": (14, 14)}
"""Widths of a static host with about as many parameters as the grown network has."""
VARIANTS: dict[str, dict[str, Any]] = {
    "the task's settings": {},
    "one blueprint only: conv_enhance": {"blueprint_rotation": ("conv_enhance",)},
    "conv_enhance, then norm": {"blueprint_rotation": ("conv_enhance", "norm")},
    "conv_enhance, then attention": {"blueprint_rotation": ("conv_enhance", "attention")},
    "norm, then conv_enhance": {"blueprint_rotation": ("norm", "conv_enhance")},
    "depthwise, then norm": {"blueprint_rotation": ("depthwise", "norm")},
    "two seeds at once": {"max_concurrent_seeds": 2},
    "late: the default plateau": {"plateau_epochs_to_germinate": 3, "plateau_threshold": 0.5},
    "every default": {
        "blueprint_rotation": None,
        "plateau_epochs_to_germinate": 3,
        "plateau_threshold": 0.5,
    },
    "isolated seeds at their full learning rate": {"isolated_rate_share": 1.0},
    "host with batch norm": {"normalised": True},
}
"""Departures from a task's settings, by what they try."""
RESAMPLES = 10_000
RESULTS = Path(__file__).parent / "results"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
"""Commands carry a time; it decides nothing here."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        test_accuracy: percent, of the network as it stood at the end.
        added_parameters: of the seeds in it at the end.
        actions: decisions that were not WAIT, by name.
        seeds: blueprint and stage of each seed at the end.
        seconds: wall time.
    """

    task: str
    arm: str
    seed: int
    test_accuracy: float
    host_parameters: int
    added_parameters: int
    actions: dict[str, int]
    seeds: tuple[str, ...]
    seconds: float


class InProcessHeuristic:
    """What the service does with a report, without the service."""

    def __init__(self, config: RunConfig) -> None:
        self._engine = Engine(config, HeuristicPolicy(config))
        self._state: RunState = self._engine.initial()
        self.actions: Counter[str] = Counter()

    def commands(self, report: EpochReport) -> Sequence[AdaptationCommand]:
        """The commands that answer a report."""
        step = self._engine.step(self._state, report, decision_id=f"epoch-{report.epoch}", now=WHEN)
        self._state = step.state
        self.actions.update(d.action.name for d in step.decisions if d.kind is not ActionKind.WAIT)
        return step.commands


def train(name: str, arm: str, task: Task, seed: int) -> Run:
    """Train one network; only the arm "grown" asks for decisions."""
    started = time.perf_counter()
    trainer = GardenTrainer(task.garden, seed=seed)
    heuristic = InProcessHeuristic(task.run_config(trainer.host_parameters))
    for _ in range(task.garden.max_epochs):
        report = trainer.train_epoch()
        for command in heuristic.commands(report) if arm == "grown" else ():
            trainer.apply(command)
    return Run(
        task=name,
        arm=arm,
        seed=seed,
        test_accuracy=trainer.evaluate_test().accuracy,
        host_parameters=trainer.host_parameters,
        added_parameters=trainer.added_parameters,
        actions=dict(heuristic.actions),
        seeds=tuple(f"{seed.record.blueprint_id} {seed.record.stage.name}" for seed in trainer.bed),
        seconds=time.perf_counter() - started,
    )


def study(seeds: Iterable[int]) -> list[Run]:
    """Every arm of every task on every seed."""
    runs = []
    for seed in seeds:
        for name, task in TASKS.items():
            arms = {"static": task, "grown": task, "wider": _with_widths(task, WIDER[name])}
            latest = [train(name, arm, chosen, seed) for arm, chosen in arms.items()]
            print(name, seed, *(f"{run.arm} {run.test_accuracy:.2f}" for run in latest), flush=True)
            runs += latest
    return runs


def variants(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The gain of every variant on the tuning seeds, percentage points against its own static host."""
    rows = []
    statics: dict[GardenConfig, list[Run]] = {}
    for name, task in TASKS.items():
        for label, changes in VARIANTS.items():
            changed = _changed(task, changes)
            grown = [train(name, "grown", changed, seed) for seed in seeds]
            if changed.garden not in statics:
                statics[changed.garden] = [train(name, "static", changed, seed) for seed in seeds]
            gains = [_gain(*pair) for pair in zip(grown, statics[changed.garden], strict=True)]
            rows.append({"task": name, "variant": label, "mean": statistics.mean(gains), "gains": gains})
            print(f"{name:8} {label:44} {statistics.mean(gains):+6.2f}  {_listed(gains)}", flush=True)
    return rows


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Means, standard deviations and paired differences, one row for each task."""
    rows = []
    for name in TASKS:
        arms = {arm: [run for run in runs if (run.task, run.arm) == (name, arm)] for arm in _ARMS}
        gains = [_gain(grown, static) for grown, static in zip(arms["grown"], arms["static"], strict=True)]
        actions: Counter[str] = Counter()
        for run in arms["grown"]:
            actions.update(run.actions)
        rows.append(
            {
                "task": name,
                "seeds": len(gains),
                **{arm: _spread([run.test_accuracy for run in arms[arm]]) for arm in _ARMS},
                "gain": {**_spread(gains), "interval": _interval(gains)},
                "gained": sum(gain > 0.0 for gain in gains),
                "gains": gains,
                "host_parameters": arms["static"][0].host_parameters,
                "added_parameters": statistics.mean(run.added_parameters for run in arms["grown"]),
                "wider_parameters": arms["wider"][0].host_parameters,
                "actions": dict(actions),
                "seconds": {arm: statistics.mean(run.seconds for run in arms[arm]) for arm in _ARMS},
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary as the table of ``docs/growth.md``."""
    lines = ["| | " + " | ".join(row["task"] for row in rows) + " |", "|---|" + "---|" * len(rows)]
    lines += [f"| {label} | " + " | ".join(map(cell, rows)) + " |" for label, cell in _CELLS.items()]
    return "\n".join(lines)


_ARMS = ("static", "grown", "wider")
_CELLS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "seeds": lambda row: f"{row['seeds']}",
    "static, test accuracy %": lambda row: _shown(row["static"]),
    "grown, test accuracy %": lambda row: _shown(row["grown"]),
    "grown − static, points": lambda row: f"**{row['gain']['mean']:+.2f}** ± {row['gain']['deviation']:.2f}",
    "its median": lambda row: f"{row['gain']['median']:+.2f}",
    "its 95 % interval (bootstrap)": lambda row: "{:+.2f} … {:+.2f}".format(*row["gain"]["interval"]),
    "seeds that gained": lambda row: f"{row['gained']} of {row['seeds']}",
    "per seed": lambda row: _listed(row["gains"]),
    "host parameters": lambda row: f"{row['host_parameters']}",
    "added parameters, mean": lambda row: f"{row['added_parameters']:.0f}",
    "wider static host: parameters": lambda row: f"{row['wider_parameters']}",
    "wider static host: test accuracy %": lambda row: _shown(row["wider"]),
    "decisions": lambda row: ", ".join(f"{name} {count}" for name, count in sorted(row["actions"].items())),
    "seconds, static + grown": lambda row: f"{row['seconds']['static'] + row['seconds']['grown']:.1f}",
}


def _changed(task: Task, changes: Mapping[str, Any]) -> Task:
    """The task with settings replaced, wherever they belong."""
    heuristic = {k: v for k, v in changes.items() if k in HeuristicConfig.model_fields}
    tracker = {k: v for k, v in changes.items() if k in TrackerConfig.model_fields}
    garden = {k: v for k, v in changes.items() if k == "isolated_rate_share"}
    host = {k: v for k, v in changes.items() if k == "normalised"}
    return replace(
        task,
        heuristic=task.heuristic.model_copy(update=heuristic),
        tracker=task.tracker.model_copy(update=tracker),
        garden=replace(task.garden, **garden, host=replace(task.garden.host, **host)),
    )


def _with_widths(task: Task, widths: tuple[int, ...]) -> Task:
    return replace(task, garden=replace(task.garden, host=replace(task.garden.host, widths=widths)))


def _gain(grown: Run, static: Run) -> float:
    return grown.test_accuracy - static.test_accuracy


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": statistics.mean(values),
        "median": statistics.median(values),
        "deviation": statistics.stdev(values),
        "min": min(values),
        "max": max(values),
    }


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % confidence interval of the mean, percentile bootstrap over seeds."""
    draw = random.Random(0)
    means = sorted(statistics.mean(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def _shown(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.2f} ± {spread['deviation']:.2f}"


def _listed(gains: Iterable[float]) -> str:
    return ", ".join(f"{gain:+.1f}" for gain in gains)


def _save(name: str, content: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(content, indent=1) + "\n")


def _saved_runs() -> list[Run]:
    saved = json.loads((RESULTS / "growth.json").read_text())["runs"]
    return [Run(**{**run, "seeds": tuple(run["seeds"])}) for run in saved]


def main() -> None:
    """Run the study, or the variants."""
    parser = argparse.ArgumentParser(description="Does growth pay?")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the study, counted from 0")
    parser.add_argument("--variants", action="store_true", help="other settings on the tuning seeds instead")
    parser.add_argument("--table", action="store_true", help="print the last study again, without training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.variants:
        _save("growth_variants.json", variants(TUNING_SEEDS))
        return
    runs = _saved_runs() if options.table else study(range(options.seeds))
    rows = summary(runs)
    _save("growth.json", {"summary": rows, "runs": [asdict(run) for run in runs]})
    print(markdown(rows))


if __name__ == "__main__":
    main()
