"""Lines, bands and marks of a run, gathered report by report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from tamiyo_leyline import SeedStage

from tamiyo_service.runs.downsampling import kept
from tamiyo_service.runs.periods import Embargoes, Holds, Plateaus
from tamiyo_service.runs.series_shapes import DecisionMark, Line, SeedBand, StageBand
from tamiyo_service.store.rows import Entry

MEASURES: Final = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
MOST_SEEDS: Final = 1_000
MOST_DECISIONS: Final = 2_000
_ALPHA_POINTS: Final = 48
_WAIT: Final = "WAIT"
_ENDED: Final = frozenset(stage.name for stage in SeedStage if stage.is_failed)


class Gathered:
    """Measurements of one kind."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.values: list[float] = []

    def add(self, epoch: int, value: object) -> None:
        """Add what was measured; anything but a finite number is left out."""
        if isinstance(value, int | float) and math.isfinite(value):
            self.epochs.append(epoch)
            self.values.append(value)

    def line(self, points: int) -> Line:
        """The measurements, of at most that many epochs."""
        chosen = kept(self.epochs, self.values, points)
        # Everything in it is a number of the right kind.
        return Line.model_construct(
            epochs=tuple(self.epochs[index] for index in chosen),
            # Seven significant digits are more than any screen shows.
            values=tuple(float(f"{self.values[index]:.7g}") for index in chosen),
        )


class SeedTrail:
    """One seed's way."""

    def __init__(self, seed: Mapping[str, Any]) -> None:
        self._names = {name: seed[name] for name in ("seed_id", "slot_id", "blueprint_id")}
        self._stages: list[tuple[str, int, int]] = []
        self._alpha = Gathered()

    @property
    def ended(self) -> bool:
        """Whether it was last seen in a failed stage."""
        return self._stages[-1][0] in _ENDED

    def see(self, epoch: int, seed: Mapping[str, Any]) -> None:
        """See it in a report."""
        stage, alpha = seed["stage"], seed.get("alpha") or 0.0
        first = epoch
        if self._stages and self._stages[-1][0] == stage:
            first = self._stages.pop()[1]
        self._stages.append((stage, first, epoch))
        if not self._alpha.values or self._alpha.values[-1] != alpha:
            self._alpha.add(epoch, alpha)

    def band(self) -> SeedBand:
        """The way as it is told."""
        stages = (
            StageBand(stage=SeedStage[stage], first_epoch=first, last_epoch=last)
            for stage, first, last in self._stages
        )
        return SeedBand(**self._names, stages=tuple(stages), alpha=self._alpha.line(_ALPHA_POINTS))


class Curves:
    """Gathers everything of a run that a chart shows.

    Args:
        embargo: epochs that an embargo lasts.
    """

    def __init__(self, embargo: int) -> None:
        self.reports = 0
        self.first: int | None = None
        self.last: int | None = None
        self.decisions: list[DecisionMark] = []
        self.divergences: list[int] = []
        self.plateaus = Plateaus()
        self.embargoes = Embargoes(embargo)
        self.holds = Holds()
        self._lines: defaultdict[str, Gathered] = defaultdict(Gathered)
        self._trails: list[SeedTrail] = []
        self._present: dict[str, SeedTrail] = {}

    def take(self, entry: Entry) -> None:
        """Take a report in; they come in the order of their epochs."""
        epoch = entry.epoch
        assert epoch is not None
        report, reply = orjson.loads(entry.payload), orjson.loads(entry.reply or "{}")
        events = orjson.loads(entry.events) if entry.events else []
        seeds, commands = report.get("seeds") or (), reply.get("commands", ())
        self.reports += 1
        self.first, self.last = epoch if self.first is None else self.first, epoch
        for name in MEASURES:
            self._lines[name].add(epoch, report.get(name))
        self._take_seeds(epoch, seeds)
        self._take_decision(entry, epoch, commands)
        self.plateaus.take(epoch, events, seeds)
        self.embargoes.take(epoch, events, commands)
        self.holds.take(epoch, entry.hold)
        if any(event["type"] == "DIVERGENCE_DETECTED" for event in events):
            self.divergences.append(epoch)

    def lines(self, points: int) -> dict[str, Line]:
        """The lines, without those of nothing."""
        return {name: gathered.line(points) for name, gathered in self._lines.items() if gathered.epochs}

    def bands(self) -> list[SeedBand]:
        """The latest seeds."""
        return [trail.band() for trail in self._trails[-MOST_SEEDS:]]

    @property
    def omitted(self) -> int:
        """How many seeds and decisions are too many to be told."""
        seeds, decisions = len(self._trails) - MOST_SEEDS, len(self.decisions) - MOST_DECISIONS
        return max(0, seeds) + max(0, decisions)

    def _take_seeds(self, epoch: int, seeds: Sequence[Mapping[str, Any]]) -> None:
        before, self._present = self._present, {}
        for seed in seeds:
            trail = before.get(seed["seed_id"])
            if trail is None or (trail.ended and seed["stage"] not in _ENDED):
                trail = SeedTrail(seed)
                self._trails.append(trail)
            trail.see(epoch, seed)
            self._present[seed["seed_id"]] = trail

    def _take_decision(self, entry: Entry, epoch: int, commands: Sequence[Mapping[str, Any]]) -> None:
        if commands:
            self._lines["confidence"].add(epoch, commands[0]["confidence"])
        if entry.action not in (None, _WAIT) and commands:
            mark = DecisionMark.model_construct(
                attempt=entry.attempt,
                epoch=epoch,
                action=entry.action,
                seed_id=commands[0].get("target_seed_id"),
                reason=commands[0]["reason"],
            )
            self.decisions.append(mark)
        advice = orjson.loads(entry.advice) if entry.advice else None
        if isinstance(advice, list) and advice:
            log_probs, value, uncertainty = advice[0]
            self._lines["entropy"].add(epoch, _entropy(log_probs))
            self._lines["value"].add(epoch, value)
            self._lines["uncertainty"].add(epoch, uncertainty)


def _entropy(log_probs: Sequence[float | None]) -> float:
    """−Σ p ln p over the legal actions, in nats."""
    return -sum(math.exp(log_prob) * log_prob for log_prob in log_probs if log_prob is not None)
