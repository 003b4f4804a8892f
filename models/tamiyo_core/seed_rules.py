"""Rules 1 to 7: what becomes of a live seed.

Every confidence grows with the margin by which its rule fired; each rule states how.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from tamiyo_leyline import ActionLayout, Objective, RiskLevel, RunConfig, SeedSignals, SeedStage
from tamiyo_leyline.config import CULL_STAGES, DEFAULT_DROP, DEFAULT_PATIENCE, CullStage

from tamiyo_core.policy import Comparison, Decision

_CULLABLE: Final = tuple(SeedStage[name] for name in CULL_STAGES)
_SURE_POINTS: Final = 5.0
"""An improvement this large (or a loss) makes a probation verdict certain, percentage points."""


class SeedScene(NamedTuple):
    """One report as the rules about seeds see it."""

    layout: ActionLayout
    diverged: bool
    settled: frozenset[str]
    """Seeds whose end the trainer has reported but not yet shown."""
    unhealthy: Mapping[str, int]
    """Unhealthy reports running, by seed."""
    last_blended: str | None
    """In a diverged report: the live seed blended last."""
    blended: int
    """In a diverged report: how many live seeds have been blended."""


class SeedRules:
    """Rules 1 to 7, first match.

    Args:
        config: of the run, defaults filled in.
    """

    def __init__(self, config: RunConfig) -> None:
        self._settings = settings = config.heuristic
        self._unit = "percent" if config.objective is Objective.VAL_LOSS else "points"
        self._drop = _by_stage(settings.cull_if_accuracy_drops_by, DEFAULT_DROP)
        self._patience = _by_stage(settings.cull_after_epochs_without_improvement, DEFAULT_PATIENCE)

    def decide(self, seed: SeedSignals, scene: SeedScene) -> Decision:
        """The decision about a live seed."""
        layout = scene.layout
        if seed.seed_id in scene.settled:
            reason = f"seed {seed.seed_id}: its end is executed, waiting for the next report to show it"
            return Decision(layout.wait, reason, 1.0, seed)
        if seed.stage is SeedStage.GERMINATED:
            return _germinated(seed, layout)
        seen: list[Comparison] = []
        return (
            (scene.diverged and _diverged(seed, scene, seen))
            or self._dropped(seed, layout, seen)
            or self._stalled(seed, layout, seen)
            or self._unhealthy(seed, scene, seen)
            or self._probation(seed, layout, seen)
            or self._otherwise(seed, layout, seen)
        )

    def is_unhealthy(self, seed: SeedSignals) -> bool:
        """Whether this report speaks against the seed's gradients; no telemetry speaks for them."""
        if seed.gradient_health is None:
            return False
        vanishing = seed.has_vanishing and seed.stage is SeedStage.TRAINING
        return seed.has_exploding or vanishing or seed.gradient_health < self._settings.min_gradient_health

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
            f"seed {seed.seed_id} lost {-improvement:.2f} {self._unit} in {seed.stage.name}"
            f" after {seed.epochs_in_stage} epochs (threshold {drop:g})"
        )
        return _cull(seed, layout, reason, share(-improvement, 2.0 * drop), seen)

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
        if limit is None or seed.best_stage_improvement is None or seed.stage not in _CULLABLE:
            return None
        epochs = seed.epochs_since_best
        stalled = epochs >= limit
        seen.append(Comparison("epochs_since_best", epochs, limit, stalled))
        if not stalled:
            return None
        reason = f"seed {seed.seed_id} stalled: no new best in {seed.stage.name} for {epochs} epochs"
        return _cull(seed, layout, reason, share(epochs, 2.0 * limit), seen)

    def _unhealthy(self, seed: SeedSignals, scene: SeedScene, seen: list[Comparison]) -> Decision | None:
        """Rule 5. Confidence min(1, unhealthy reports / (2 · limit))."""
        limit = self._settings.unhealthy_epochs_to_cull
        if limit is None or seed.gradient_health is None:
            return None
        count = scene.unhealthy.get(seed.seed_id, 0)
        seen.append(Comparison("unhealthy_reports", count, limit, count >= limit))
        if count < limit:
            return None
        reason = f"seed {seed.seed_id} had unhealthy gradients in {count} reports running"
        return _cull(seed, scene.layout, reason, share(count, 2.0 * limit), seen)

    def _probation(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision | None:
        """Rule 6. Confidence min(1, |improvement| / 5); one half while nothing speaks either way."""
        if seed.stage is not SeedStage.PROBATIONARY:
            return None
        earliest, measure = self._settings.min_probation_epochs, self._settings.improvement_measure
        on_probation = seed.epochs_in_stage >= earliest
        seen.append(Comparison("epochs_in_stage", seed.epochs_in_stage, earliest, on_probation))
        if not on_probation:
            return None
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
        told = f"seed {seed.seed_id} is worth {worth:+.2f} {self._unit} (needs {minimum:g} ± {band:g})"
        confidence = share(abs(worth), _SURE_POINTS)
        if worth > minimum + band or (over and worth > minimum):
            return Decision(layout.fossilize, told, confidence, seed, tuple(seen), layout.cull)
        if worth < minimum - band or over:
            return _cull(seed, layout, told, confidence, seen)._replace(runner_up=layout.fossilize)
        runner_up = layout.fossilize if worth > minimum else layout.cull
        return Decision(layout.wait, f"{told}: too close to call", 0.5, seed, tuple(seen), runner_up)

    def _otherwise(self, seed: SeedSignals, layout: ActionLayout, seen: list[Comparison]) -> Decision:
        """Rule 7. Confidence: how far the stage is from its threshold; one half where nothing is measured."""
        improvement, drop = seed.improvement_since_stage_start, self._drop[seed.stage]
        told = "not measured" if improvement is None else f"{improvement:+.2f} {self._unit}"
        reason = f"seed {seed.seed_id} in {seed.stage.name}: improvement {told}, alpha {seed.alpha:.2f}"
        if improvement is None or seed.stage not in _CULLABLE:
            confidence = 0.5
        else:
            confidence = share(improvement + drop, 2.0 * drop)
        return Decision(layout.wait, reason, confidence, seed, tuple(seen), layout.cull)


def share(value: float, whole: float) -> float:
    """`value` / `whole` within 0–1; 1 where there is nothing to divide by."""
    return 1.0 if whole <= 0.0 else max(0.0, min(1.0, value / whole))


def _germinated(seed: SeedSignals, layout: ActionLayout) -> Decision:
    """Rule 1. Certain: nothing else is possible."""
    return Decision(layout.wait, f"seed {seed.seed_id} germinated, the trainer advances it", 1.0, seed)


def _diverged(seed: SeedSignals, scene: SeedScene, seen: list[Comparison]) -> Decision | None:
    """Rule 2. The seed blended last is the likeliest cause: confidence 1 / number of blended seeds."""
    guilty = seed.seed_id == scene.last_blended
    seen.append(Comparison("blended_last", float(guilty), 1.0, guilty))
    if not guilty:
        return None
    reason = f"training diverged and seed {seed.seed_id} was blended last"
    return _cull(seed, scene.layout, reason, 1.0 / scene.blended, seen)._replace(risk_level=RiskLevel.RED)


def _cull(
    seed: SeedSignals, layout: ActionLayout, reason: str, confidence: float, seen: list[Comparison]
) -> Decision:
    return Decision(layout.cull, reason, confidence, seed, tuple(seen), layout.wait)


def _by_stage(setting: float | Mapping[CullStage, float], default: float) -> tuple[float, ...]:
    """The setting by number of the stage; stages that a map leaves out, or no rule asks for: the default."""
    if not isinstance(setting, Mapping):
        return (setting,) * len(SeedStage)
    given = {SeedStage[name]: value for name, value in setting.items()}
    return tuple(given.get(stage, default) for stage in SeedStage)
