"""The commands of a reply: decisions overruled by a hold, failures told, one WAIT where nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tamiyo_leyline import ActionKind, AdaptationCommand, command_for
from tamiyo_leyline.fields import MAX_REASON

from tamiyo_core.identity import command_id
from tamiyo_core.policy import Decision, DecisionContext
from tamiyo_core.state import Failure


def observed_only(context: DecisionContext) -> Decision:
    """The answer to a late report."""
    return Decision(context.layout.wait, "late report: observed only", 1.0)


def held(decisions: Sequence[Decision], context: DecisionContext, reason: str) -> tuple[Decision, ...]:
    """WAIT for every decision; what the policy would have done comes second."""
    words = f"held by operator: {reason}" if reason else "held by operator"
    return tuple(decision.overruled(context.layout.wait, words) for decision in decisions)


def told(decisions: tuple[Decision, ...], failures: Sequence[Failure]) -> tuple[Decision, ...]:
    """The decisions, with each failure of an earlier command told in a reason that the reply will carry.

    That is the reason of the decision about the failure's seed; without that seed, the one about germination;
    and where the reply leaves that decision out (a WAIT beside others that act), the first it carries.
    """
    if not failures:
        return decisions
    acting = [number for number, decision in enumerate(decisions) if decision.kind is not ActionKind.WAIT]
    places = {d.seed.seed_id: number for number, d in enumerate(decisions) if d.seed is not None}
    reasons = [decision.reason for decision in decisions]
    for failure in failures:
        place = places.get(failure.seed_id or "", len(decisions) - 1)
        if acting and place not in acting:
            place = acting[0]
        reasons[place] += _words(failure)
    return tuple(d._replace(reason=reason) for d, reason in zip(decisions, reasons, strict=True))


def _words(failure: Failure) -> str:
    subject = f"{failure.kind} of {failure.seed_id}" if failure.seed_id else failure.kind
    return f" ({subject} {failure.status.lower()}: {failure.detail or 'no reason given'})"


def commands_for(
    decisions: Sequence[Decision], decision_id: str, now: datetime, epoch: int
) -> tuple[AdaptationCommand, ...]:
    """What the reply carries: a command for each decision that acts, else exactly one WAIT."""
    acting = [decision for decision in decisions if decision.kind is not ActionKind.WAIT]
    if not acting:
        return (to_command(_joined(decisions), command_id(decision_id, 1), now, epoch),)
    return tuple(
        to_command(decision, command_id(decision_id, number), now, epoch)
        for number, decision in enumerate(acting, 1)
    )


def _joined(decisions: Sequence[Decision]) -> Decision:
    """One WAIT for all: reasons joined, the lowest confidence, the seed if there is just one."""
    if len(decisions) == 1:
        return decisions[0]
    reasons: dict[str, None] = {}
    confidence = 1.0
    seeds = []
    for decision in decisions:
        reasons[decision.reason] = None
        confidence = min(confidence, decision.confidence)
        if decision.seed is not None:
            seeds.append(decision.seed)
    seed = seeds[0] if len(seeds) == 1 else None
    return Decision(decisions[0].action, "; ".join(reasons), confidence, seed)


def to_command(decision: Decision, command: str, now: datetime, epoch: int) -> AdaptationCommand:
    """The command that carries a decision about `epoch` to the trainer.

    Args:
        decision: to carry.
        command: id of the new command.
        now: when it is made, UTC.
        epoch: of the report it answers.
    """
    seed, reason = decision.seed, decision.reason
    return command_for(
        decision.kind,
        command_id=command,
        issued_at=now,
        epoch=epoch,
        reason=reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…",
        confidence=decision.confidence,
        seed=None if seed is None else (seed.seed_id, seed.slot_id, seed.stage),
        blueprint_id=decision.blueprint_id,
        risk_level=decision.risk_level,
    )
