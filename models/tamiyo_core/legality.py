"""Which actions are legal at a report, and the check that a policy keeps to them."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_leyline import ActionKind, RunConfig, TrainingSignals

from tamiyo_core.policy import Decision, DecisionContext


class IllegalDecisionError(Exception):
    """A policy broke its contract. Fall back to another policy; the report can be decided again."""


def germination_open(signals: TrainingSignals, context: DecisionContext, config: RunConfig) -> bool:
    """Whether anything may germinate: a slot is free and nothing of the run stands against it."""
    live = sum(seed.is_live for seed in signals.seeds) + context.germination_pending
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
    """Check a policy's decisions against the masks.

    Raises:
        IllegalDecisionError: naming the first decision that its mask forbids, or a missing one.
    """
    if not decisions or decisions[-1].seed is not None:
        raise IllegalDecisionError("the last decision must be the one about germination (seed None)")
    for decision in decisions:
        if decision.kind is ActionKind.WAIT or context.held:
            continue
        if not mask_of(decision, signals, context, config)[decision.action.number]:
            about = "germination" if decision.seed is None else f"seed {decision.seed.seed_id}"
            raise IllegalDecisionError(f"{decision.action.name} is not legal for {about}")


def _embargoed(context: DecisionContext, config: RunConfig) -> bool:
    embargo = config.heuristic.embargo_epochs_after_cull
    if embargo == 0:
        return False
    elapsed = context.epochs_since_cull
    return context.cull_pending or (elapsed is not None and elapsed < embargo)
