"""Which smoother tells a plateau from noise: false alarms and detection delay on saturating curves.

The rule under test is the heuristic's: a plateau is three measured epochs in a row whose (smoothed)
improvement stays below half a point. Every smoother sees the same noisy curves; the moving average is the
product's own `SignalTracker`, β = 0 being the raw rule that the others are compared with.

Definitions, for a curve whose true value at epoch t is a(t):

* onset: the first epoch after which the true gain a(t) − a(t−1) stays below the threshold;
* alarm: the plateau counter reaches three (it can do so again only after an epoch that improves);
* false alarm: an alarm before the onset, while the curve still truly gains the threshold per epoch;
* alarmed epochs: epochs before the onset with the counter at three or more: what a policy would act on;
* delay: epochs from the onset to the first epoch, onset included, with the counter at three or more; a
  curve not detected within `HORIZON` epochs counts with `HORIZON`;
* steady alarms: alarms on curves that never saturate, gaining three quarters of a point or a whole one an
  epoch: every one is false. The criterion does not ask for them; they tell smoothers apart that owe their
  silence to the steep beginning of a saturating curve;
* swing: whether a training that swings between 50 and 44 percent for ever ends up counted as a plateau.

Run ``python bench/plateau.py``; the figures go to ``bench/results/plateau.json``.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tamiyo_core import SignalTracker
from tamiyo_leyline import EpochReport, RunConfig, TrackerConfig

THRESHOLD = 0.5
"""Points per epoch that count as improvement."""
PLATEAU_EPOCHS = 3
NOISES = (0.5, 0.75, 1.0)
"""Standard deviations of the validation accuracy, points."""
DRAWS = 20
HORIZON = 40
SEED = 20260131
RESULTS = Path(__file__).parent / "results" / "plateau.json"

Counter = Callable[[Sequence[float]], list[int]]
"""The plateau counter after each epoch, from the observed accuracies."""


@dataclass(frozen=True)
class Curve:
    """A true learning curve, percent by epoch, ending `HORIZON` epochs after its onset."""

    family: str
    values: tuple[float, ...]
    onset: int


def exponential(start: float, plateau: float, rate: float) -> Callable[[int], float]:
    """Approach to `plateau` with time constant `rate`, epochs."""
    return lambda epoch: plateau - (plateau - start) * math.exp(-epoch / rate)


def power_law(start: float, plateau: float, exponent: float) -> Callable[[int], float]:
    """Approach to `plateau` as a power of the epoch: a long tail."""
    return lambda epoch: plateau - (plateau - start) * (1.0 + epoch / 4.0) ** -exponent


def two_rates(start: float, plateau: float, slow: float) -> Callable[[int], float]:
    """Two thirds of the way with a time constant of 2 epochs, the rest with `slow`."""
    return lambda epoch: (
        plateau - (plateau - start) * (2.0 * math.exp(-epoch / 2.0) + math.exp(-epoch / slow)) / 3.0
    )


FAMILIES: dict[str, tuple[Callable[[float, float, float], Callable[[int], float]], tuple[float, ...]]] = {
    "exponential": (exponential, (3.0, 6.0, 12.0, 25.0)),
    "power law": (power_law, (0.5, 1.0, 1.5, 2.5)),
    "two rates": (two_rates, (6.0, 12.0, 25.0, 40.0)),
}
STEADY_GAINS = (0.75, 1.0)
STEADY_EPOCHS = 60
STEADY_CURVES = 240
"""Noisy steady curves for each gain and noise."""
SWING = (50.0, 44.0) * 100
STARTS = (10.0, 30.0)
PLATEAUS = (65.0, 90.0)


def curves() -> list[Curve]:
    """Every family with every start, plateau and rate."""
    return [
        _curve(family, shape(start, plateau, rate))
        for family, (shape, rates) in FAMILIES.items()
        for start, plateau, rate in product(STARTS, PLATEAUS, rates)
    ]


def _curve(family: str, value: Callable[[int], float]) -> Curve:
    onset = next(epoch for epoch in range(1, 1000) if value(epoch) - value(epoch - 1) < THRESHOLD)
    return Curve(family, tuple(value(epoch) for epoch in range(onset + HORIZON)), onset)


def tracker_counter(smoothing: float) -> Counter:
    """The product's own counter with this β."""
    tracker = SignalTracker(
        RunConfig(tracker=TrackerConfig(plateau_smoothing=smoothing, plateau_threshold=THRESHOLD))
    )

    def count(accuracies: Sequence[float]) -> list[int]:
        state, counts = tracker.initial(), []
        for epoch, accuracy in enumerate(accuracies):
            report = EpochReport(epoch=epoch, val_accuracy=accuracy, available_slots=1)
            state, signals = tracker.observe(state, report)
            counts.append(signals.metrics.plateau_epochs)
        return counts

    return count


def slope_counter(window: int) -> Counter:
    """An epoch improves when the least-squares slope of the last `window` values reaches the threshold."""

    def slope(values: Sequence[float]) -> float:
        middle = (len(values) - 1) / 2.0
        spread = sum((place - middle) ** 2 for place in range(len(values)))
        return sum((place - middle) * value for place, value in enumerate(values)) / spread

    def improves(accuracies: Sequence[float], epoch: int) -> bool:
        return slope(accuracies[max(0, epoch + 1 - window) : epoch + 1]) >= THRESHOLD

    return _counter_of(improves)


def best_counter(patience: int) -> Counter:
    """An epoch improves when it beats the best so far by the threshold; `patience` epochs make a plateau."""

    def count(accuracies: Sequence[float]) -> list[int]:
        best, counts, waited = -math.inf, [], 0
        for accuracy in accuracies:
            waited = 0 if accuracy >= best + THRESHOLD else waited + 1
            best = accuracy if waited == 0 else best
            counts.append(max(0, waited - patience + PLATEAU_EPOCHS))
        return counts

    return count


def _counter_of(improves: Callable[[Sequence[float], int], bool]) -> Counter:
    def count(accuracies: Sequence[float]) -> list[int]:
        counts = [0]
        for epoch in range(1, len(accuracies)):
            counts.append(0 if improves(accuracies, epoch) else counts[-1] + 1)
        return counts

    return count


SMOOTHERS: dict[str, Counter] = {
    "raw (β = 0)": tracker_counter(0.0),
    **{f"average β = {beta}": tracker_counter(beta) for beta in (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)},
    **{f"slope of {window}": slope_counter(window) for window in (3, 5, 6, 7, 8, 9, 10)},
    **{f"best, patience {patience}": best_counter(patience) for patience in (3, 4, 5, 7)},
}
RAW = next(iter(SMOOTHERS))
ALL = "all"
"""The noises together."""


@dataclass(frozen=True)
class Outcome:
    """What one smoother made of one noisy curve."""

    false_alarms: int
    alarmed_epochs: int
    delay: int


def judge(counts: Sequence[int], onset: int) -> Outcome:
    """False alarms, alarmed epochs and delay of a plateau counter."""
    early = counts[:onset]
    late = (epoch for epoch in range(onset, len(counts)) if counts[epoch] >= PLATEAU_EPOCHS)
    return Outcome(
        false_alarms=sum(count == PLATEAU_EPOCHS for count in early),
        alarmed_epochs=sum(count >= PLATEAU_EPOCHS for count in early),
        delay=next(late, onset + HORIZON) - onset,
    )


@dataclass(frozen=True)
class Row:
    """One smoother under one noise; ratios are to the raw rule under the same noise."""

    smoother: str
    noise: str
    curves: int
    false_alarms: int
    alarmed_epochs: int
    median_delay: float
    undetected: int
    steady_alarms: int
    alarms_to_raw: float | None
    alarmed_epochs_to_raw: float | None
    delay_to_raw: float | None
    steady_alarms_to_raw: float | None
    sees_swing: bool


def measure() -> dict[str, Any]:
    """All rows, and the one of the product's default under all noises."""
    rows = compare()
    default = f"average β = {TrackerConfig().plateau_smoothing}"
    chosen = next(row for row in rows if (row.smoother, row.noise) == (default, ALL))
    worst = [row for row in rows if row.smoother == default and row.noise != "none"]
    return {
        "default": asdict(chosen) | {"meets_criterion_under_every_noise": all(map(meets_criterion, worst))},
        "rows": [asdict(row) for row in rows],
    }


def compare() -> list[Row]:
    """Every smoother without noise, under every noise, and under all noises together."""
    samples = {"none": [(curve.values, curve.onset) for curve in curves()]}
    samples |= {str(noise): _noisy(curves(), noise, DRAWS) for noise in NOISES}
    steady = {str(noise): _noisy(steady_curves(), noise, STEADY_CURVES) for noise in NOISES} | {"none": []}
    tallies = {
        (name, noise): Tally(_judged(count, sample), _judged(count, steady[noise]))
        for name, count in SMOOTHERS.items()
        for noise, sample in samples.items()
    }
    for name in SMOOTHERS:
        tallies[name, ALL] = _together([tallies[name, str(noise)] for noise in NOISES])
    return [
        _row(name, noise, tallies[name, noise], tallies[RAW, noise])
        for name in SMOOTHERS
        for noise in (*samples, ALL)
    ]


def meets_criterion(row: Row) -> bool:
    """At most a fifth of the raw rule's false alarms, at no larger median delay, under the same noise."""
    return (
        row.alarms_to_raw is not None
        and row.alarms_to_raw <= 0.2
        and row.delay_to_raw is not None
        and row.delay_to_raw <= 1.0
    )


def steady_curves() -> list[Curve]:
    """Curves without an onset: every alarm on them is false."""
    return [
        Curve("steady", tuple(20.0 + gain * epoch for epoch in range(STEADY_EPOCHS)), STEADY_EPOCHS)
        for gain in STEADY_GAINS
    ]


@dataclass(frozen=True)
class Tally:
    """What one smoother made of all curves under one noise."""

    saturating: list[Outcome]
    steady: list[Outcome]

    @property
    def false_alarms(self) -> int:
        """On saturating curves."""
        return sum(outcome.false_alarms for outcome in self.saturating)

    @property
    def alarmed_epochs(self) -> int:
        """On saturating curves."""
        return sum(outcome.alarmed_epochs for outcome in self.saturating)

    @property
    def steady_alarms(self) -> int:
        """On steady curves."""
        return sum(outcome.false_alarms for outcome in self.steady)

    @property
    def median_delay(self) -> float:
        """Epochs, over saturating curves."""
        return statistics.median(outcome.delay for outcome in self.saturating)


def _together(tallies: list[Tally]) -> Tally:
    return Tally(
        [outcome for tally in tallies for outcome in tally.saturating],
        [outcome for tally in tallies for outcome in tally.steady],
    )


def _noisy(truths: list[Curve], noise: float, draws: int) -> list[tuple[tuple[float, ...], int]]:
    rng = random.Random(f"{SEED} {noise}")
    return [
        (tuple(min(100.0, max(0.0, rng.gauss(value, noise))) for value in curve.values), curve.onset)
        for curve in truths
        for _ in range(draws)
    ]


def _judged(count: Counter, sample: list[tuple[tuple[float, ...], int]]) -> list[Outcome]:
    return [judge(count(observed), onset) for observed, onset in sample]


def _row(smoother: str, noise: str, tally: Tally, raw: Tally) -> Row:
    return Row(
        smoother=smoother,
        noise=noise,
        curves=len(tally.saturating),
        false_alarms=tally.false_alarms,
        alarmed_epochs=tally.alarmed_epochs,
        median_delay=tally.median_delay,
        undetected=sum(outcome.delay >= HORIZON for outcome in tally.saturating),
        steady_alarms=tally.steady_alarms,
        alarms_to_raw=_ratio(tally.false_alarms, raw.false_alarms),
        alarmed_epochs_to_raw=_ratio(tally.alarmed_epochs, raw.alarmed_epochs),
        delay_to_raw=_ratio(tally.median_delay, raw.median_delay),
        steady_alarms_to_raw=_ratio(tally.steady_alarms, raw.steady_alarms),
        sees_swing=SMOOTHERS[smoother](SWING)[-1] >= PLATEAU_EPOCHS,
    )


def _ratio(value: float, raw: float) -> float | None:
    return value / raw if raw else None


def _table(rows: list[Row]) -> str:
    lines = [
        f"{'smoother':18} {'noise':>5} {'alarms':>7} {'/raw':>6} {'epochs':>7} {'/raw':>6} "
        f"{'delay':>6} {'/raw':>6} {'undet.':>6} {'steady':>7} {'/raw':>6} {'swing':>5}  criterion"
    ]
    for row in rows:
        swing, verdict = "seen" if row.sees_swing else "–", "met" if meets_criterion(row) else ""
        lines.append(
            f"{row.smoother:18} {row.noise:>5} {row.false_alarms:7} {_shown(row.alarms_to_raw)} "
            f"{row.alarmed_epochs:7} {_shown(row.alarmed_epochs_to_raw)} {row.median_delay:6.1f} "
            f"{_shown(row.delay_to_raw)} {row.undetected:6} {row.steady_alarms:7} "
            f"{_shown(row.steady_alarms_to_raw)} {swing:>5}  {verdict}"
        )
    return "\n".join(lines)


def _shown(ratio: float | None) -> str:
    return "     –" if ratio is None else f"{ratio:6.3f}"


if __name__ == "__main__":
    figures = measure()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    print(_table([Row(**row) for row in figures["rows"]]))
