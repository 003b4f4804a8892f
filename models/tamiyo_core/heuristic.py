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
13 progressing. Every confidence grows with the margin by which its rule fired; each rule states how.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tamiyo_leyline import (
    ActionKind,
    ActionLayout,
    RiskLevel,
    RunConfig,
    SeedSignals,
    SeedStage,
    TrainingSignals,
)
from tamiyo_leyline.config import CULL_STAGES, CullStage

from tamiyo_core.policy import Comparison, Decision, DecisionContext
from tamiyo_core.rotation import choose_blueprint
from tamiyo_core.rules import RULES_VERSION
from tamiyo_core.state import SnapshotError

_CULLABLE: Final = frozenset(SeedStage[name] for name in CULL_STAGES)
_SURE_POINTS: Final = 5.0
"""An improvement this large (or a loss) makes a probation verdict certain, percentage points."""
_SURE_PLATEAU: Final = 5
"""A plateau this long makes a germination certain, reports."""


class HeuristicState(NamedTuple):
    """What the heuristic remembers between reports."""

    unhealthy: tuple[tuple[str, int], ...] = ()
    """Unhealthy reports running, by seed."""


class _Scene(NamedTuple):
    """One report as the rules see it."""

    signals: TrainingSignals
    context: DecisionContext
    unhealthy: dict[str, int]
    last_blended: str | None
    blended: int


class HeuristicPolicy:
    """The hand-written policy.

    Args:
        config: of the run; settings are documented in `HeuristicConfig`.
    """

    name = "heuristic"
    version = RULES_VERSION

    def __init__(self, config: RunConfig) -> None:
        settings = config.heuristic
        self._settings = settings
        self._rotation = config.rotation
        self._drop = _by_stage(settings.cull_if_accuracy_drops_by, 2.0)
        self._patience = _by_stage(settings.cull_after_epochs_without_improvement, 5)

    def initial(self) -> HeuristicState:
        """The state before any report."""
        return HeuristicState()

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
        scene = self._scene(state, signals, context)
        seeds = [self._decide_seed(seed, scene) for seed in signals.seeds if seed.is_live]
        culls = any(decision.kind is ActionKind.CULL for decision in seeds)
        germination = self._decide_germination(scene, live=len(seeds), culls=culls)
        return HeuristicState(tuple(scene.unhealthy.items())), (*seeds, germination)

    def _scene(self, state: HeuristicState, signals: TrainingSignals, context: DecisionContext) -> _Scene:
        counts = dict(state.unhealthy)
        unhealthy = {
            seed.seed_id: counts.get(seed.seed_id, 0) + 1
            for seed in signals.seeds
            if seed.is_live and self._is_unhealthy(seed)
        }
        blended = [seed for seed in signals.seeds if seed.is_live and seed.blended_epoch is not None]
        last = max(blended, key=lambda seed: (seed.blended_epoch, seed.alpha, seed.seed_id), default=None)
        return _Scene(signals, context, unhealthy, last.seed_id if last else None, len(blended))

    def _is_unhealthy(self, seed: SeedSignals) -> bool:
        if seed.gradient_health is None:
            return False
        vanishing = seed.has_vanishing and seed.stage is SeedStage.TRAINING
        return seed.has_exploding or vanishing or seed.gradient_health < self._settings.min_gradient_health

    def _decide_seed(self, seed: SeedSignals, scene: _Scene) -> Decision:
        if seed.seed_id in scene.context.settled_seeds:
            reason = f"seed {seed.seed_id}: its end is executed, waiting for the next report to show it"
            return Decision(scene.context.layout.wait, reason, 1.0, seed)
        if seed.stage is SeedStage.GERMINATED:
            return self._germinated(seed, scene.context.layout)
        seen: list[Comparison] = []
        return (
            self._diverged(seed, scene, seen)
            or self._dropped(seed, scene.context.layout, seen)
            or self._stalled(seed, scene.context.layout, seen)
            or self._unhealthy(seed, scene, seen)
            or self._probation(seed, scene.context.layout, seen)
            or self._otherwise(seed, scene.context.layout, seen)
        )

    def _germinated(self, seed: SeedSignals, layout: ActionLayout) -> Decision:
        """Rule 1. Certain: nothing else is possible."""
        return Decision(layout.wait, f"seed {seed.seed_id} germinated, the trainer advances it", 1.0, seed)

    def _diverged(self, seed: SeedSignals, scene: _Scene, seen: list[Comparison]) -> Decision | None:
        """Rule 2. The seed blended last is the likeliest cause: confidence 1 / number of blended seeds."""
        if not scene.signals.metrics.diverged:
            return None
        guilty = seed.seed_id == scene.last_blended
        seen.append(Comparison("blended_last", float(guilty), 1.0, guilty))
        if not guilty:
            return None
        reason = f"training diverged and seed {seed.seed_id} was blended last"
        return self._cull(seed, scene.context.layout, reason, 1.0 / scene.blended, seen, RiskLevel.RED)

    def _dropped(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision | None:
        """Rule 3. Confidence min(1, loss / (2 · threshold))."""
        improvement = seed.improvement_since_stage_start
        if seed.stage not in _CULLABLE or improvement is None or not self._settled(seed, seen):
            return None
        drop, patience = self._drop[seed.stage], self._patience[seed.stage]
        fell, waited = improvement < -drop, seed.epochs_in_stage >= patience
        seen.append(Comparison("improvement_since_stage_start", improvement, -drop, fell))
        seen.append(Comparison("epochs_in_stage", seed.epochs_in_stage, patience, waited))
        if not (fell and waited):
            return None
        reason = (
            f"seed {seed.seed_id} lost {-improvement:.2f} points in {seed.stage.name}"
            f" after {seed.epochs_in_stage} epochs (threshold {drop:g})"
        )
        return self._cull(seed, layout, reason, _share(-improvement, 2.0 * drop), seen)

    def _settled(self, seed: SeedSignals, seen: list[Comparison]) -> bool:
        settle = self._settings.blend_settle_epochs
        if seed.stage is not SeedStage.BLENDING or settle is None:
            return True
        elapsed = seed.epochs_since_settled
        holds = elapsed is not None and elapsed >= settle
        seen.append(Comparison("epochs_since_settled", elapsed, settle, holds))
        return holds

    def _stalled(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision | None:
        """Rule 4. Confidence min(1, epochs without a best / (2 · limit))."""
        limit = self._settings.cull_after_stalled_epochs
        if limit is None or seed.stage not in _CULLABLE or seed.best_stage_improvement is None:
            return None
        stalled = seed.epochs_since_best >= limit
        seen.append(Comparison("epochs_since_best", seed.epochs_since_best, limit, stalled))
        if not stalled:
            return None
        epochs = seed.epochs_since_best
        reason = f"seed {seed.seed_id} stalled: no new best in {seed.stage.name} for {epochs} epochs"
        return self._cull(seed, layout, reason, _share(epochs, 2.0 * limit), seen)

    def _unhealthy(self, seed: SeedSignals, scene: _Scene, seen: list[Comparison]) -> Decision | None:
        """Rule 5. Confidence min(1, unhealthy reports / (2 · limit))."""
        limit = self._settings.unhealthy_epochs_to_cull
        if limit is None or seed.gradient_health is None:
            return None
        count = scene.unhealthy.get(seed.seed_id, 0)
        seen.append(Comparison("unhealthy_reports", count, limit, count >= limit))
        if count < limit:
            return None
        reason = f"seed {seed.seed_id} had unhealthy gradients in {count} reports running"
        return self._cull(seed, scene.context.layout, reason, _share(count, 2.0 * limit), seen)

    def _probation(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision | None:
        """Rule 6. Confidence min(1, |improvement| / 5); one half while nothing speaks either way."""
        settings = self._settings
        if seed.stage is not SeedStage.PROBATIONARY:
            return None
        on_probation = seed.epochs_in_stage >= settings.min_probation_epochs
        seen.append(
            Comparison("epochs_in_stage", seed.epochs_in_stage, settings.min_probation_epochs, on_probation)
        )
        if not on_probation:
            return None
        measure = settings.improvement_measure
        worth = seed.total_improvement if measure == "total" else seed.attributed_improvement
        if worth is None:
            reason = f"seed {seed.seed_id} on probation: {measure} improvement not measured"
            return Decision(layout.wait, reason, 0.5, seed, tuple(seen))
        return self._verdict(seed, worth, layout, seen)

    def _verdict(
        self, seed: SeedSignals, worth: float, layout: ActionLayout, seen: list[Comparison]
    ) -> Decision:
        settings = self._settings
        minimum, band = settings.min_improvement_to_fossilize, settings.probation_dead_band
        name = f"{settings.improvement_measure}_improvement"
        over = seed.epochs_in_stage >= settings.max_probation_epochs
        seen.append(Comparison(name, worth, minimum + band, worth > minimum + band))
        seen.append(Comparison(name, worth, minimum - band, worth < minimum - band))
        seen.append(Comparison("epochs_in_stage", seed.epochs_in_stage, settings.max_probation_epochs, over))
        told = f"seed {seed.seed_id} is worth {worth:+.2f} points (needs {minimum:g} ± {band:g})"
        confidence = _share(abs(worth), _SURE_POINTS)
        if worth > minimum + band or (over and worth > minimum):
            return Decision(layout.fossilize, told, confidence, seed, tuple(seen), layout.cull)
        if worth < minimum - band or over:
            return self._cull(seed, layout, told, confidence, seen, runner_up_fossilize=True)
        runner_up = layout.fossilize if worth > minimum else layout.cull
        return Decision(layout.wait, f"{told}: too close to call", 0.5, seed, tuple(seen), runner_up)

    def _otherwise(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision:
        """Rule 7. Confidence: how far the stage is from its threshold; one half where nothing is measured."""
        improvement = seed.improvement_since_stage_start
        told = "not measured" if improvement is None else f"{improvement:+.2f} points"
        reason = f"seed {seed.seed_id} in {seed.stage.name}: improvement {told}, alpha {seed.alpha:.2f}"
        drop = self._drop.get(seed.stage, 0.0)
        confidence = 0.5 if improvement is None else _share(improvement + drop, 2.0 * drop)
        return Decision(layout.wait, reason, confidence, seed, tuple(seen), layout.cull)

    def _cull(
        self,
        seed: SeedSignals,
        layout: ActionLayout,
        reason: str,
        confidence: float,
        seen: list[Comparison],
        risk_level: RiskLevel | None = None,
        *,
        runner_up_fossilize: bool = False,
    ) -> Decision:
        runner_up = layout.fossilize if runner_up_fossilize else layout.wait
        return Decision(layout.cull, reason, confidence, seed, tuple(seen), runner_up, risk_level)

    def _decide_germination(self, scene: _Scene, *, live: int, culls: bool) -> Decision:
        seen: list[Comparison] = []
        return (
            self._no_room(scene, live, seen)
            or self._embargo(scene, culls, seen)
            or self._divergence(scene, seen)
            or self._too_early(scene, seen)
            or self._plateau(scene, seen)
        )

    def _no_room(self, scene: _Scene, live: int, seen: list[Comparison]) -> Decision | None:
        """Rule 8. Certain: a constraint."""
        free, limit = scene.signals.available_slots, self._settings.max_concurrent_seeds
        busy = live + scene.context.germination_pending
        seen.append(Comparison("available_slots", free, 1, free >= 1))
        seen.append(Comparison("live_seeds", busy, limit, busy < limit))
        if free >= 1 and busy < limit:
            return None
        pending = " (one germination pending)" if scene.context.germination_pending else ""
        reason = "no free slot" if free < 1 else f"{busy} of {limit} live seeds{pending}"
        return Decision(scene.context.layout.wait, reason, 1.0, None, tuple(seen))

    def _embargo(self, scene: _Scene, culls: bool, seen: list[Comparison]) -> Decision | None:
        """Rule 9. Confidence: the share of the embargo still to come; certain while a cull is pending."""
        embargo, context = self._settings.embargo_epochs_after_cull, scene.context
        if embargo == 0:
            return None
        if culls or context.cull_pending:
            return Decision(context.layout.wait, "a cull is pending", 1.0, None, tuple(seen))
        elapsed = context.epochs_since_cull
        if elapsed is None:
            return None
        seen.append(Comparison("epochs_since_cull", elapsed, embargo, elapsed >= embargo))
        if elapsed >= embargo:
            return None
        reason = f"embargo {elapsed}/{embargo}"
        return Decision(context.layout.wait, reason, 1.0 - elapsed / embargo, None, tuple(seen))

    def _divergence(self, scene: _Scene, seen: list[Comparison]) -> Decision | None:
        """Rule 10. Certain: nothing grows into a diverged training."""
        diverged = scene.signals.metrics.diverged
        seen.append(Comparison("diverged", float(diverged), 1.0, diverged))
        if not diverged:
            return None
        reason = "training diverged: no germination"
        return Decision(scene.context.layout.wait, reason, 1.0, None, tuple(seen))

    def _too_early(self, scene: _Scene, seen: list[Comparison]) -> Decision | None:
        """Rule 11. Confidence: the share of the waiting time still to come."""
        epoch, earliest = scene.signals.metrics.epoch, self._settings.min_epochs_before_germinate
        seen.append(Comparison("epoch", epoch, earliest, epoch >= earliest))
        if epoch >= earliest:
            return None
        reason = f"too early: epoch {epoch} of {earliest}"
        return Decision(scene.context.layout.wait, reason, 1.0 - epoch / earliest, None, tuple(seen))

    def _plateau(self, scene: _Scene, seen: list[Comparison]) -> Decision:
        """Rules 12 and 13. Confidence min(1, plateau / 5), else the share of the plateau still missing."""
        settings, context = self._settings, scene.context
        plateau, needed = scene.signals.metrics.plateau_epochs, settings.plateau_epochs_to_germinate
        seen.append(Comparison("plateau_epochs", plateau, needed, plateau >= needed))
        choice = choose_blueprint(
            self._rotation,
            context.cursor,
            context.penalties,
            settings.blueprint_penalty_threshold,
            settings.blueprint_exploration,
            context.draw,
        )
        action = context.layout.germinate(choice.blueprint_id)
        if plateau < needed:
            smoothed = scene.signals.metrics.smoothed_accuracy_delta
            reason = f"progressing: plateau {plateau}/{needed}, smoothed improvement {smoothed:+.2f}"
            confidence = 1.0 - plateau / needed
            return Decision(context.layout.wait, reason, confidence, None, tuple(seen), action)
        return Decision(
            action,
            f"no improvement in {plateau} measured reports: germinate {choice.blueprint_id}",
            _share(plateau, _SURE_PLATEAU),
            None,
            tuple(seen),
            context.layout.wait,
            probabilities=_probabilities(context.layout, choice.probabilities),
        )


def _by_stage(setting: float | Mapping[CullStage, float], default: float) -> dict[SeedStage, float]:
    """The setting for each stage it concerns; stages a map leaves out keep the default."""
    given = setting if isinstance(setting, Mapping) else dict.fromkeys(CULL_STAGES, setting)
    return {SeedStage[name]: given.get(name, default) for name in CULL_STAGES}


def _probabilities(layout: ActionLayout, chances: Any) -> tuple[float, ...] | None:
    if chances is None:
        return None
    return tuple(chances.get(action.blueprint_id, 0.0) for action in layout.actions)


def _share(value: float, whole: float) -> float:
    """`value` / `whole` within 0–1; 1 where there is nothing to divide by."""
    return 1.0 if whole <= 0.0 else max(0.0, min(1.0, value / whole))
