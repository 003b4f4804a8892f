"""Rules 8 to 13: whether a new seed is to germinate, and of which blueprint.

Every confidence grows with the margin by which its rule fired; each rule states how.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tamiyo_leyline import RunConfig, TrainingSignals

from tamiyo_core.policy import Comparison, Decision, DecisionContext
from tamiyo_core.rotation import BlueprintChoice, choose_blueprint
from tamiyo_core.seed_rules import share

_SURE_PLATEAU: Final = 5
"""A plateau this long makes a germination certain, reports."""


class GerminationScene(NamedTuple):
    """One report as the rules about germination see it."""

    signals: TrainingSignals
    context: DecisionContext
    live: int
    """Live seeds."""
    culls: bool
    """Whether this very reply culls."""


class GerminationRules:
    """Rules 8 to 13, first match.

    Args:
        config: of the run, defaults filled in.
    """

    def __init__(self, config: RunConfig) -> None:
        self._settings = config.heuristic
        self._rotation = config.rotation

    def decide(self, scene: GerminationScene) -> Decision:
        """The decision about germination."""
        seen: list[Comparison] = []
        return self._constraint(scene, seen) or self._too_early(scene, seen) or self._plateau(scene, seen)

    def constraint(self, scene: GerminationScene) -> Decision | None:
        """Rules 8 to 10: why nothing may germinate, whatever the policy; None: something may."""
        return self._constraint(scene, [])

    def _constraint(self, scene: GerminationScene, seen: list[Comparison]) -> Decision | None:
        return self._no_room(scene, seen) or self._embargo(scene, seen) or self._divergence(scene, seen)

    def _no_room(self, scene: GerminationScene, seen: list[Comparison]) -> Decision | None:
        """Rule 8. Certain: a constraint.

        One germination at a time: while one is pending its slot is not yet known, so none follows it even
        where `max_concurrent_seeds` leaves room (the mask of a run says the same).
        """
        free, limit = scene.signals.available_slots, self._settings.max_concurrent_seeds
        pending = scene.context.germination_pending
        busy = scene.live + pending
        seen.append(Comparison("available_slots", free, 1, free >= 1))
        seen.append(Comparison("live_seeds", busy, limit, busy < limit))
        if free >= 1 and busy < limit and not pending:
            return None
        words = f"{busy} of {limit} live seeds{' (one germination pending)' if pending else ''}"
        reason = "no free slot" if free < 1 else words
        return Decision(scene.context.layout.wait, reason, 1.0, None, tuple(seen))

    def _embargo(self, scene: GerminationScene, seen: list[Comparison]) -> Decision | None:
        """Rule 9. Confidence: the share of the embargo still to come; certain while a cull is pending."""
        embargo, context = self._settings.embargo_epochs_after_cull, scene.context
        if embargo == 0:
            return None
        if scene.culls or context.cull_pending:
            return Decision(context.layout.wait, "a cull is pending", 1.0, None, tuple(seen))
        elapsed = context.epochs_since_cull
        if elapsed is None:
            return None
        seen.append(Comparison("epochs_since_cull", elapsed, embargo, elapsed >= embargo))
        if elapsed >= embargo:
            return None
        reason = f"embargo {elapsed}/{embargo}"
        return Decision(context.layout.wait, reason, 1.0 - elapsed / embargo, None, tuple(seen))

    def _divergence(self, scene: GerminationScene, seen: list[Comparison]) -> Decision | None:
        """Rule 10. Certain: nothing grows into a diverged training."""
        diverged = scene.signals.metrics.diverged
        seen.append(Comparison("diverged", float(diverged), 1.0, diverged))
        if not diverged:
            return None
        reason = "training diverged: no germination"
        return Decision(scene.context.layout.wait, reason, 1.0, None, tuple(seen))

    def _too_early(self, scene: GerminationScene, seen: list[Comparison]) -> Decision | None:
        """Rule 11. Confidence: the share of the waiting time still to come."""
        epoch, earliest = scene.signals.metrics.epoch, self._settings.min_epochs_before_germinate
        seen.append(Comparison("epoch", epoch, earliest, epoch >= earliest))
        if epoch >= earliest:
            return None
        reason = f"too early: epoch {epoch} of {earliest}"
        return Decision(scene.context.layout.wait, reason, 1.0 - epoch / earliest, None, tuple(seen))

    def _plateau(self, scene: GerminationScene, seen: list[Comparison]) -> Decision:
        """Rules 12 and 13. Confidence min(1, plateau / 5), else the share of the plateau still missing."""
        layout, metrics = scene.context.layout, scene.signals.metrics
        plateau, needed = metrics.plateau_epochs, self._settings.plateau_epochs_to_germinate
        seen.append(Comparison("plateau_epochs", plateau, needed, plateau >= needed))
        choice = self._choice(scene.context)
        action = layout.germinate(choice.blueprint_id)
        if plateau < needed:
            smoothed = metrics.smoothed_accuracy_delta
            reason = f"progressing: plateau {plateau}/{needed}, smoothed improvement {smoothed:+.2f}"
            return Decision(layout.wait, reason, 1.0 - plateau / needed, None, tuple(seen), action)
        reason = f"no improvement in {plateau} measured reports: germinate {choice.blueprint_id}"
        decision = Decision(
            action, reason, share(plateau, _SURE_PLATEAU), None, tuple(seen), runner_up=layout.wait
        )
        chances = choice.probabilities
        if chances is None:
            return decision
        return decision._replace(
            probabilities=tuple(chances.get(a.blueprint_id or "", 0.0) for a in layout.actions)
        )

    def _choice(self, context: DecisionContext) -> BlueprintChoice:
        settings = self._settings
        return choose_blueprint(
            self._rotation,
            context.cursor,
            context.penalties,
            settings.blueprint_penalty_threshold,
            settings.blueprint_exploration,
            context.draw,
        )
