"""Which actions are legal at a report, and the check that a policy keeps to them."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_leyline import RunConfig, SeedSignals, TrainingSignals

from tamiyo_core.policy import Decision, DecisionContext


class IllegalDecisionError(Exception):
    """A policy broke its contract. Fall back to another policy; the report can be decided again."""


def germination_open(signals: TrainingSignals, context: DecisionContext, config: RunConfig) -> bool:
    """Whether anything may germinate: a slot is free and nothing of the run stands against it."""
    live = sum([seed.is_live for seed in signals.seeds]) + context.germination_pending
    return (
        signals.available_slots > 0
        and not context.held
        and not signals.metrics.diverged
        and not context.germination_pending
        and not _embargoed(context, config)
        and live < config.heuristic.max_concurrent_seeds
    )


def mask_of(
    decision: Decision, signals: TrainingSignals, context: DecisionContext, config: RunConfig
) -> tuple[bool, ...]:
    """Which actions were legal for the slot a decision is about, one flag per action of the layout."""
    seed = decision.seed
    if context.held or (seed is not None and seed.seed_id in context.settled_seeds):
        return (True,) + (False,) * (len(context.layout.actions) - 1)
    if seed is None:
        return context.layout.mask(None, germination_open=germination_open(signals, context, config))
    return context.layout.mask(seed.stage)


def require_legal(
    decisions: Sequence[Decision], signals: TrainingSignals, context: DecisionContext, config: RunConfig
) -> None:
    """Check that a policy kept its contract: whom it decides about, with which actions, and what it says.

    Under a hold the masks are not asked: whatever was decided becomes WAIT.

    Raises:
        IllegalDecisionError: naming the first decision at fault.
    """
    live: list[SeedSignals | None] = [seed for seed in signals.seeds if seed.is_live]
    if [decision.seed for decision in decisions] != [*live, None]:
        raise IllegalDecisionError(
            f"there must be one decision for each of {len(live)} live seeds, in the order of the signals,"
            f" and then one about germination (seed None)"
        )
    for decision in decisions:
        _require_sound(decision, context)
        if context.held or decision.action is context.layout.wait:
            continue
        if not mask_of(decision, signals, context, config)[decision.action.number]:
            raise IllegalDecisionError(f"{decision.action.name} is not legal for {_subject(decision)}")


def _require_sound(decision: Decision, context: DecisionContext) -> None:
    if decision.action not in context.layout.actions:
        raise IllegalDecisionError(f"{decision.action.name} for {_subject(decision)} is not in the layout")
    if not decision.reason:
        raise IllegalDecisionError(f"{decision.action.name} for {_subject(decision)} has no reason")
    if not 0.0 <= decision.confidence <= 1.0:
        raise IllegalDecisionError(
            f"{decision.action.name} for {_subject(decision)}: confidence {decision.confidence} is not in 0–1"
        )


def _subject(decision: Decision) -> str:
    return "germination" if decision.seed is None else f"seed {decision.seed.seed_id}"


def _embargoed(context: DecisionContext, config: RunConfig) -> bool:
    embargo = config.heuristic.embargo_epochs_after_cull
    if embargo == 0:
        return False
    elapsed = context.epochs_since_cull
    return context.cull_pending or (elapsed is not None and elapsed < embargo)
