"""Engine: one report in, one answer out. Ties tracker, ledger and policy together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from tamiyo_leyline import (
    AccuracyUnit,
    ActionKind,
    AdaptationCommand,
    CommandOutcome,
    CommandStatus,
    EpochReport,
    RunConfig,
    TelemetryEvent,
    TrainingSignals,
    command_for,
)

from tamiyo_core.changes import SeedChanges, compare_seeds, illegal_moves
from tamiyo_core.events import command_events, gradient_events, seed_events, training_events
from tamiyo_core.identity import command_id
from tamiyo_core.ledger import CommandLedger, Transition
from tamiyo_core.legality import require_legal
from tamiyo_core.policy import Decision, DecisionContext, Policy
from tamiyo_core.state import (
    SNAPSHOT_FORMAT,
    Failure,
    LedgerState,
    QueuedOutcome,
    RunState,
    SnapshotError,
    TrackerState,
    restored_values,
    snapshot_values,
)
from tamiyo_core.tracker import SignalTracker, looks_like_fractions, ordered_seeds

_LONGEST_REASON: Final = 8000
_LONGEST_DETAIL: Final = 200
_NOBODY: Final[frozenset[str]] = frozenset()


class Step(NamedTuple):
    """What one report led to."""

    state: RunState
    signals: TrainingSignals
    context: DecisionContext
    decisions: tuple[Decision, ...]
    """One for each live seed by slot_id, then one about germination."""
    commands: tuple[AdaptationCommand, ...]
    """What the reply carries: one for each slot that needs one, exactly one WAIT when none does."""
    events: tuple[TelemetryEvent, ...]
    outcomes: tuple[Transition, ...]
    """What became known of earlier commands."""
    warnings: tuple[str, ...]

    @property
    def action(self) -> str:
        """The first action taken, WAIT when there was none."""
        return next((d.action.name for d in self.decisions if d.kind is not ActionKind.WAIT), "WAIT")


class Engine:
    """Decides for every run of one configuration; immutable, safe to share.

    Args:
        config: validated, with all defaults filled in.
        policy: decides.
    """

    def __init__(self, config: RunConfig, policy: Policy) -> None:
        self.config: Final = config
        self.policy: Final = policy
        self._tracker = SignalTracker(config)
        self._ledger = CommandLedger(config)
        self._layout = config.topology.layout
        self._percent = config.accuracy_unit is AccuracyUnit.PERCENT
        self._plateau_alarm = config.heuristic.plateau_epochs_to_germinate

    @property
    def needs_draw(self) -> bool:
        """Whether a decision may depend on the random number of the report."""
        return self.config.heuristic.blueprint_exploration > 0.0

    def initial(self) -> RunState:
        """The state before any report."""
        return RunState(self._tracker.initial(), self._ledger.initial(), self.policy.initial())

    def step(
        self,
        state: RunState,
        report: EpochReport,
        *,
        decision_id: str,
        now: datetime,
        hold: str | None = None,
        draw: float = 1.0,
        backfill: bool = False,
    ) -> Step:
        """Take one report in and decide.

        Args:
            state: after the report before; it is left as it is.
            report: accuracies in percent, its epoch greater than the last one's.
            decision_id: id of the decision to make; commands are numbered after it.
            now: when it is made, UTC.
            hold: the reason of an operator's hold: only WAIT.
            draw: uniform in [0, 1), for policies that explore.
            backfill: a late report: observed, answered with WAIT, the policy is not asked.

        Raises:
            IllegalDecisionError: if the policy breaks its contract.
        """
        seeds = ordered_seeds(report)
        changes = compare_seeds(state.tracker.seeds, seeds)
        ledger = self._ledger.advance(
            state.ledger, report.epoch, seeds, changes, _outcomes(state.queued, report)
        )
        tracker, signals = self._tracker.observe(state.tracker, report, changes)
        context = self._context(ledger.state, report.epoch, held=hold is not None, draw=draw)
        if backfill:
            policy_state, decisions = state.policy, self._late(context)
        else:
            policy_state, decisions = self.policy.decide(state.policy, signals, context)
            require_legal(decisions, signals, context, self.config)
        decisions = self._overruled(decisions, ledger.state.failures, hold)
        commands = _commands(decisions, decision_id, now, report.epoch)
        after = ledger.state if backfill else self._ledger.issue(ledger.state, commands, signals.seeds)
        return Step(
            RunState(tracker, after, policy_state),
            signals,
            context,
            decisions,
            commands,
            tuple(self._events(state.tracker, report, signals, changes, ledger.transitions, commands)),
            ledger.transitions,
            (*ledger.warnings, *self._warnings(tracker, changes)),
        )

    def queue_outcome(self, state: RunState, outcome: CommandOutcome) -> RunState:
        """Note an outcome told between reports: it takes effect with the next one."""
        queued = QueuedOutcome(outcome.command_id, outcome.status, outcome.detail)
        return state if queued in state.queued else state._replace(queued=(*state.queued, queued))

    def tracks(self, state: RunState, command: str) -> bool:
        """Whether an outcome of this command can still count."""
        return self._ledger.holds(state.ledger, command)

    def snapshot(self, state: RunState) -> list[Any]:
        """The state as JSON-safe nested lists, the number of the format first."""
        return [SNAPSHOT_FORMAT, *snapshot_values(state), self.policy.snapshot(state.policy)]

    def restore(self, data: list[Any]) -> RunState:
        """The inverse of `snapshot`: what it returns equals the original state.

        Raises:
            SnapshotError: if the data is damaged or of another format.
        """
        if not isinstance(data, list) or len(data) != 5 or data[0] != SNAPSHOT_FORMAT:
            raise SnapshotError(f"not a snapshot of format {SNAPSHOT_FORMAT}")
        _, tracker, ledger, queued, policy = data
        return restored_values(tracker, ledger, queued, self.policy.restore(policy))

    def embargo_until(self, context: DecisionContext, epoch: int) -> int | None:
        """The first epoch that may germinate again; None without an embargo."""
        embargo, elapsed = self.config.heuristic.embargo_epochs_after_cull, context.epochs_since_cull
        return None if elapsed is None or elapsed >= embargo else epoch - elapsed + embargo

    def _context(self, ledger: LedgerState, epoch: int, *, held: bool, draw: float) -> DecisionContext:
        opened = ledger.open
        return DecisionContext(
            self._layout,
            self._ledger.penalties(ledger, epoch),
            ledger.cursor,
            None if ledger.last_cull_epoch is None else epoch - ledger.last_cull_epoch,
            any(c.kind is ActionKind.CULL and c.status is CommandStatus.ISSUED for c in opened),
            any(c.kind is ActionKind.GERMINATE for c in opened),
            frozenset(c.seed_id for c in opened if c.seed_id and c.status is CommandStatus.EXECUTED)
            if opened
            else _NOBODY,
            held,
            draw,
        )

    def _late(self, context: DecisionContext) -> tuple[Decision, ...]:
        return (Decision(context.layout.wait, "late report: observed only", 1.0),)

    def _overruled(
        self, decisions: tuple[Decision, ...], failures: Sequence[Failure], hold: str | None
    ) -> tuple[Decision, ...]:
        """The decisions after an operator's hold, with the failures of earlier commands told."""
        if hold is not None:
            reason = f"held by operator: {hold}"
            decisions = tuple(
                d._replace(action=self._layout.wait, reason=reason, confidence=1.0, risk_level=None)
                for d in decisions
            )
        if failures:
            decisions = tuple(d._replace(reason=d.reason + _told(d, decisions, failures)) for d in decisions)
        return decisions

    def _events(
        self,
        before: TrackerState,
        report: EpochReport,
        signals: TrainingSignals,
        changes: SeedChanges,
        transitions: Sequence[Transition],
        commands: Sequence[AdaptationCommand],
    ) -> Iterator[TelemetryEvent]:
        yield from training_events(
            before, signals, plateau_alarm=self._plateau_alarm, surgery=changes.surgery
        )
        yield from seed_events(report.epoch, changes)
        yield from gradient_events(report.epoch, before, report.seeds)
        yield from command_events(report.epoch, transitions, commands)

    def _warnings(self, tracker: TrackerState, changes: SeedChanges) -> tuple[str, ...]:
        warnings = illegal_moves(changes) if changes.moved else ()
        if self._percent and looks_like_fractions(tracker):
            hint = 'accuracies never exceeded 1.0: create the run with "accuracy_unit": "fraction"'
            return (*warnings, hint)
        return warnings


def _outcomes(queued: tuple[QueuedOutcome, ...], report: EpochReport) -> tuple[QueuedOutcome, ...]:
    if not report.outcomes:
        return queued
    return queued + tuple(QueuedOutcome(o.command_id, o.status, o.detail) for o in report.outcomes)


def _told(decision: Decision, decisions: Sequence[Decision], failures: Sequence[Failure]) -> str:
    """What became of earlier commands, in the reason of the decision each concerns (else germination's)."""
    seeds = {d.seed.seed_id for d in decisions if d.seed is not None}
    concerned = decision.seed.seed_id if decision.seed is not None else None
    return "".join(
        f" ({failure.kind} {failure.status.lower()}: {failure.detail[:_LONGEST_DETAIL] or 'no reason given'})"
        for failure in failures
        if (failure.seed_id if failure.seed_id in seeds else None) == concerned
    )


def _commands(
    decisions: Sequence[Decision], decision_id: str, now: datetime, epoch: int
) -> tuple[AdaptationCommand, ...]:
    acting = [decision for decision in decisions if decision.kind is not ActionKind.WAIT]
    return tuple(
        to_command(decision, command_id(decision_id, number), now, epoch)
        for number, decision in enumerate(acting or [_joined(decisions)], 1)
    )


def _joined(decisions: Sequence[Decision]) -> Decision:
    """One WAIT for all: reasons joined, the lowest confidence, the seed if there is just one."""
    if len(decisions) == 1:
        return decisions[0]
    seeds = [decision.seed for decision in decisions if decision.seed is not None]
    reason = "; ".join(dict.fromkeys(decision.reason for decision in decisions))
    return Decision(
        decisions[0].action,
        reason,
        min(decision.confidence for decision in decisions),
        seeds[0] if len(seeds) == 1 else None,
    )


def to_command(decision: Decision, command: str, now: datetime, epoch: int) -> AdaptationCommand:
    """The command that carries a decision about `epoch` to the trainer."""
    seed = decision.seed
    reason = decision.reason
    return command_for(
        decision.kind,
        command_id=command,
        issued_at=now,
        epoch=epoch,
        reason=reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 1] + "…",
        confidence=decision.confidence,
        seed=None if seed is None else (seed.seed_id, seed.slot_id, seed.stage),
        blueprint_id=decision.blueprint_id,
        risk_level=decision.risk_level,
    )
