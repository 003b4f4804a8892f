"""HeuristicPolicy: the hand-written rules.

For every live seed, in order of slot_id, the first rule that matches decides:

1. GERMINATED: wait, the trainer advances it
2. this report diverged and this seed was blended last: cull, risk RED
3. the stage lost more than a threshold after its settling time: cull
4. no new best of the stage for long: cull, stalled
5. unhealthy gradients for several reports running: cull
6. PROBATIONARY: fossilize, cull, or wait within the dead band
7. otherwise: wait

Then germination, first match: 8 no room, 9 embargo, 10 diverged, 11 too early, 12 plateau: germinate,
13 progressing. The rules are written in `seed_rules` and `germination_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tamiyo_leyline import ActionKind, RunConfig, SeedSignals, TrainingSignals

from tamiyo_core.germination_rules import GerminationRules, GerminationScene
from tamiyo_core.policy import Decision, DecisionContext
from tamiyo_core.rules import RULES_VERSION
from tamiyo_core.seed_rules import SeedRules, SeedScene
from tamiyo_core.state import SnapshotError


class HeuristicState(NamedTuple):
    """What the heuristic remembers between reports."""

    unhealthy: tuple[tuple[str, int], ...] = ()
    """Unhealthy reports running, by seed."""


_ALL_HEALTHY = HeuristicState()
_NONE_UNHEALTHY: Mapping[str, int] = MappingProxyType({})


class HeuristicPolicy:
    """The hand-written policy.

    Args:
        config: of the run; settings are documented in `HeuristicConfig`.
    """

    name = "heuristic"
    version = RULES_VERSION

    def __init__(self, config: RunConfig) -> None:
        self._seed_rules = SeedRules(config)
        self._germination_rules = GerminationRules(config)

    def initial(self) -> HeuristicState:
        """The state before any report."""
        return _ALL_HEALTHY

    def snapshot(self, state: HeuristicState) -> list[Any]:
        """The state as JSON-safe values."""
        return [list(entry) for entry in state.unhealthy]

    def restore(self, data: Any) -> HeuristicState:
        """The inverse of `snapshot`.

        Raises:
            SnapshotError: if the data is not a snapshot.
        """
        try:
            return HeuristicState(tuple((str(seed_id), int(count)) for seed_id, count in data))
        except (TypeError, ValueError) as error:
            raise SnapshotError(f"not a snapshot of the heuristic policy: {error}") from error

    def decide(
        self, state: HeuristicState, signals: TrainingSignals, context: DecisionContext
    ) -> tuple[HeuristicState, tuple[Decision, ...]]:
        """Decide about every live seed, then about germination."""
        live = [seed for seed in signals.seeds if seed.is_live]
        after = self._count_unhealthy(state, live) if live else _ALL_HEALTHY
        scene = _scene(after, live, signals, context)
        seeds = [self._seed_rules.decide(seed, scene) for seed in live]
        culls = any(decision.action.kind is ActionKind.CULL for decision in seeds)
        germination = self._germination_rules.decide(GerminationScene(signals, context, len(live), culls))
        return after, (*seeds, germination)

    def observe(self, state: HeuristicState, signals: TrainingSignals) -> HeuristicState:
        """The state after a report that another policy decides about."""
        live = [seed for seed in signals.seeds if seed.is_live]
        return self._count_unhealthy(state, live) if live else _ALL_HEALTHY

    def _count_unhealthy(self, state: HeuristicState, live: list[SeedSignals]) -> HeuristicState:
        unhealthy = [seed.seed_id for seed in live if self._seed_rules.is_unhealthy(seed)]
        if not unhealthy:
            return _ALL_HEALTHY
        counts = dict(state.unhealthy)
        return HeuristicState(tuple((seed_id, counts.get(seed_id, 0) + 1) for seed_id in unhealthy))


def _scene(
    state: HeuristicState, live: list[SeedSignals], signals: TrainingSignals, context: DecisionContext
) -> SeedScene:
    unhealthy = dict(state.unhealthy) if state.unhealthy else _NONE_UNHEALTHY
    if not signals.metrics.diverged:
        return SeedScene(context.layout, False, context.settled_seeds, unhealthy, None, 0)
    blended = [(one.blended_epoch, one.alpha, one.seed_id) for one in live if one.blended_epoch is not None]
    last_blended = max(blended)[2] if blended else None
    return SeedScene(context.layout, True, context.settled_seeds, unhealthy, last_blended, len(blended))
