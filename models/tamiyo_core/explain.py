"""Why: a step told as the parts of a DecisionRecord."""

from __future__ import annotations

from tamiyo_leyline import FEATURE_NAMES, Comparison, SlotDecision

from tamiyo_core.engine import Engine, Step
from tamiyo_core.legality import mask_of
from tamiyo_core.policy import Decision


def explain_slots(engine: Engine, step: Step) -> tuple[SlotDecision, ...]:
    """How each slot was decided: masks, probabilities, comparisons, runner-up; germination last."""
    return tuple(_slot(engine, step, decision) for decision in step.decisions)


def explain_features(step: Step) -> dict[str, float]:
    """The 27 features of the step, by name."""
    return dict(zip(FEATURE_NAMES, step.signals.to_vector(), strict=True))


def _slot(engine: Engine, step: Step, decision: Decision) -> SlotDecision:
    names = step.context.layout.names
    # An operator's order stands above a hold.
    context = step.context._replace(held=False) if decision.ordered else step.context
    mask = mask_of(decision, step.signals, context, engine.config)
    seed, chances = decision.seed, decision.probabilities
    return SlotDecision(
        slot_id=None if seed is None else seed.slot_id,
        seed_id=None if seed is None else seed.seed_id,
        action=decision.action.name,
        reason=decision.reason,
        confidence=decision.confidence,
        mask=dict(zip(names, mask, strict=True)),
        probabilities=None if chances is None else dict(zip(names, chances, strict=True)),
        value=decision.value,
        entropy=decision.entropy,
        uncertainty=decision.uncertainty,
        runner_up=None if decision.runner_up is None else decision.runner_up.name,
        ordered=decision.ordered,
        comparisons=tuple(Comparison(**compared._asdict()) for compared in decision.comparisons),
    )
