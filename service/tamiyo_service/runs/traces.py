"""What the reports of a life say of its seed, gathered one after the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
from tamiyo_leyline import SeedStage

from tamiyo_service.runs.lives import Life, Moment
from tamiyo_service.store.rows import Entry


class Trace:
    """Gathers what is reported of one seed.

    Args:
        life: of the seed, ended.
    """

    def __init__(self, life: Life) -> None:
        self.life = life
        self.epochs_per_stage: Counter[str] = Counter()
        self.blueprint_id = ""
        self.last: Moment | None = None
        """The last report that has it."""
        self.last_live: SeedStage | None = None
        self.final: SeedStage | None = None
        """Its stage in the report of its end; None: that one has it no more."""
        self.host_accuracy: float | None = None
        """Of the report that first showed it."""
        self.metrics: dict[str, Any] = {}
        """Each as it was last reported."""
        self._best: float | None = None
        self._before: tuple[str, int] | None = None

    @property
    def best_accuracy(self) -> float | None:
        """As the trainer says, else the best that was reported."""
        said: float | None = self.metrics.get("best_val_accuracy")
        return self._best if said is None else said

    def take(self, entry: Entry, report: dict[str, Any]) -> None:
        """Take a report of its life in, with its content."""
        assert entry.epoch is not None
        assert self.life.ended is not None
        moment = Moment(entry.attempt, entry.epoch, entry.at)
        if self._before is not None:
            stage, epoch = self._before
            self.epochs_per_stage[stage] += entry.epoch - epoch
        if moment == self.life.born:
            self.host_accuracy = report.get("val_accuracy")
        seed = next((s for s in report.get("seeds", ()) if s["seed_id"] == self.life.seed_id), None)
        if seed is not None:
            self._see(seed, moment, ended=moment == self.life.ended)

    def _see(self, seed: dict[str, Any], moment: Moment, *, ended: bool) -> None:
        stage = SeedStage[seed["stage"]]
        self._before = (stage.name, moment.epoch)
        self.last, self.blueprint_id = moment, seed["blueprint_id"]
        if ended:
            self.final = stage
        elif stage.is_live:
            self.last_live = stage
        metrics: dict[str, Any] = seed.get("metrics") or {}
        self.metrics |= {name: value for name, value in metrics.items() if value is not None}
        accuracy = metrics.get("current_val_accuracy")
        if accuracy is not None and (self._best is None or accuracy > self._best):
            self._best = accuracy


def content_of(entry: Entry) -> dict[str, Any]:
    """The content of a report."""
    content: dict[str, Any] = orjson.loads(entry.payload)
    return content
