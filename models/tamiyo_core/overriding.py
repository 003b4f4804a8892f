"""An operator's order in place of what a policy decided: once, and only where it is legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tamiyo_leyline import Action, ActionKind, RunConfig, TelemetryEvent, TelemetryEventType, TrainingSignals

from tamiyo_core.events import event
from tamiyo_core.legality import mask_of
from tamiyo_core.policy import Decision, DecisionContext


class Override(NamedTuple):
    """What an operator ordered for the next report."""

    action: str
    """Name of an action of the run's layout."""
    seed_id: str | None
    """The seed to fossilize, cull or leave alone; None: germination, or with WAIT every slot."""
    reason: str
    by: str | None = None
    """Who ordered it; None: nobody said."""


class Overruled(NamedTuple):
    """Decisions after an order."""

    decisions: tuple[Decision, ...]
    event: TelemetryEvent
    """Whether the order was carried out, instead of what, or why not."""


def overruled(
    override: Override,
    decisions: tuple[Decision, ...],
    signals: TrainingSignals,
    context: DecisionContext,
    config: RunConfig,
) -> Overruled:
    """The decisions with an operator's order carried out, or left as they are where it is not legal.

    The order stands above a hold, which other decisions go on to obey. No germination goes with a cull: it
    would fall into the embargo that the cull begins.

    Args:
        override: the order.
        decisions: one for each live seed, then one about germination; what a hold makes of them.
        signals: of the report.
        context: the ledger's view.
        config: of the run.
    """
    action = context.layout.named(override.action)
    places = _places(override, action, decisions)
    if not places:
        return Overruled(decisions, _told(override, signals, "not issued: the seed is not live"))
    refusal = _refusal(action, places, decisions, signals, context, config)
    if refusal is not None:
        return Overruled(decisions, _told(override, signals, f"not issued: {refusal}"))
    instead = "; ".join(decisions[place].action.name for place in places)
    ordered = [
        _ordered(decision, action, override) if place in places else decision
        for place, decision in enumerate(decisions)
    ]
    if action.kind is ActionKind.CULL and _embargoes(config):
        ordered[-1] = _no_germination(ordered[-1], context)
    return Overruled(tuple(ordered), _told(override, signals, f"instead of {instead}"))


def _places(override: Override, action: Action, decisions: Sequence[Decision]) -> list[int]:
    """Which decisions an order is about."""
    if action.kind is ActionKind.GERMINATE:
        return [len(decisions) - 1]
    if override.seed_id is None:
        return list(range(len(decisions))) if action.kind is ActionKind.WAIT else []
    return [n for n, one in enumerate(decisions) if one.seed and one.seed.seed_id == override.seed_id]


def _refusal(
    action: Action,
    places: Sequence[int],
    decisions: Sequence[Decision],
    signals: TrainingSignals,
    context: DecisionContext,
    config: RunConfig,
) -> str | None:
    """Why an order cannot be carried out now; None: it can."""
    if action.kind is ActionKind.WAIT:
        return None
    mask = mask_of(decisions[places[0]], signals, context._replace(held=False), config)
    if not mask[action.number]:
        return f"{action.name} is not legal at this report"
    culls = any(decision.kind is ActionKind.CULL for decision in decisions)
    if action.kind is ActionKind.GERMINATE and culls and _embargoes(config):
        return "a seed is culled with this very report"
    return None


def _embargoes(config: RunConfig) -> bool:
    return config.heuristic.embargo_epochs_after_cull > 0


def _ordered(decision: Decision, action: Action, override: Override) -> Decision:
    return decision.overruled(action, f"ordered by operator: {override.reason}")._replace(ordered=True)


def _no_germination(decision: Decision, context: DecisionContext) -> Decision:
    if decision.kind is not ActionKind.GERMINATE:
        return decision
    return decision._replace(
        action=context.layout.wait,
        reason="an operator culls a seed with this very report",
        runner_up=decision.action,
        probabilities=None,
    )


def _told(override: Override, signals: TrainingSignals, what: str) -> TelemetryEvent:
    subject = "" if override.seed_id is None else f" of {override.seed_id}"
    who = "" if override.by is None else f" by {override.by}"
    slot = next((seed.slot_id for seed in signals.seeds if seed.seed_id == override.seed_id), None)
    return event(
        TelemetryEventType.OPERATOR_OVERRIDE,
        signals.metrics.epoch,
        f"{override.action}{subject}, ordered{who}: {override.reason} ({what})",
        override.seed_id,
        slot,
    )
