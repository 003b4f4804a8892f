"""Penalties of blueprints whose seeds were culled: a function of epochs, however often anyone asks."""

from __future__ import annotations

from tamiyo_leyline import HeuristicConfig

from tamiyo_core.rules import LARGEST_POINTS, PENALTY_FLOOR
from tamiyo_core.state import Penalty


class PenaltyRule:
    """p · decay^(elapsed epochs / decay_epochs); below 0.1 none.

    Args:
        settings: what a cull adds, and how fast it falls.
    """

    def __init__(self, settings: HeuristicConfig) -> None:
        self._on_cull = settings.blueprint_penalty_on_cull
        self._decay = settings.blueprint_penalty_decay
        self._decay_epochs = settings.blueprint_penalty_decay_epochs

    def at(self, penalties: tuple[Penalty, ...], epoch: int) -> dict[str, float]:
        """Each penalised blueprint's penalty at `epoch`."""
        if not penalties:
            return {}
        now = {entry.blueprint_id: self._value(entry, epoch) for entry in penalties}
        return {name: value for name, value in now.items() if value >= PENALTY_FLOOR}

    def after_cull(
        self, penalties: tuple[Penalty, ...], blueprint_id: str, epoch: int
    ) -> tuple[Penalty, ...]:
        """The penalties after one more cull of `blueprint_id` at `epoch`; vanished ones are forgotten."""
        values = self.at(penalties, epoch)
        raised = min(values.get(blueprint_id, 0.0) + self._on_cull, LARGEST_POINTS)
        others = (p for p in penalties if p.blueprint_id != blueprint_id and p.blueprint_id in values)
        return tuple(sorted((*others, Penalty(blueprint_id, raised, epoch))))

    def _value(self, entry: Penalty, epoch: int) -> float:
        elapsed: float = (epoch - entry.epoch) / self._decay_epochs
        return float(entry.value * self._decay**elapsed)
