"""Engine: one report in, one answer out. Ties tracker, ledger and policy together."""

from __future__ import annotations

from collections.abc import Sequence
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
    SeedStateReport,
    TelemetryEvent,
    TrainingSignals,
)

from tamiyo_core.answer import commands_for, held, observed_only, told
from tamiyo_core.changes import NO_CHANGES, SeedChanges, compare_seeds, illegal_moves, ordered_seeds
from tamiyo_core.events import (
    closing_events,
    command_events,
    fallback_events,
    gradient_events,
    seed_events,
    training_events,
)
from tamiyo_core.identity import uniform_draw
from tamiyo_core.ledger import CommandLedger, LedgerStep
from tamiyo_core.ledger_page import Transition
from tamiyo_core.legality import require_legal
from tamiyo_core.overriding import Override, overruled
from tamiyo_core.policy import Advice, AskingPolicy, Decision, DecisionContext, Policy, Question
from tamiyo_core.rules import QUEUED_OUTCOMES
from tamiyo_core.state import (
    SNAPSHOT_FORMAT,
    LedgerState,
    QueuedOutcome,
    RunState,
    SnapshotError,
    TrackedCommand,
    TrackerState,
    restored_values,
    snapshot_values,
)
from tamiyo_core.tracker import SignalTracker, looks_like_fractions

_NOBODY: Final[frozenset[str]] = frozenset()


class Observation(NamedTuple):
    """A report taken in: everything there is to decide from."""

    state: RunState
    """After the report before."""
    report: EpochReport
    seeds: Sequence[SeedStateReport]
    """As reported, by slot_id."""
    changes: SeedChanges
    ledger: LedgerStep
    tracker: TrackerState
    signals: TrainingSignals
    context: DecisionContext
    questions: tuple[Question, ...]
    """For the network of the run's policy; none: it can decide right away."""


class Considered(NamedTuple):
    """What the policy decides about an observation, before an operator is heard."""

    observation: Observation
    context: DecisionContext
    """With the advice."""
    policy_state: Any
    decisions: tuple[Decision, ...]


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
        for decision in self.decisions:
            if decision.action.kind is not ActionKind.WAIT:
                return decision.action.name
        return "WAIT"


class Close(NamedTuple):
    """What is known of a run once it is over."""

    state: RunState
    events: tuple[TelemetryEvent, ...] = ()
    outcomes: tuple[Transition, ...] = ()
    """What became known of commands since the last report."""


class Engine:
    """Decides for every run of one configuration; immutable, safe to share.

    Args:
        config: validated, with all defaults filled in.
        policy: decides.
    """

    def __init__(self, config: RunConfig, policy: Policy) -> None:
        self.config: Final = config
        self.policy: Final = policy
        self.tracker: Final = SignalTracker(config)
        self._ledger = CommandLedger(config)
        self._layout = config.topology.layout
        self._percent = config.accuracy_unit is AccuracyUnit.PERCENT
        self._plateau_alarm = config.heuristic.plateau_epochs_to_germinate
        self.asks: Final = policy if isinstance(policy, AskingPolicy) else None
        """The policy, if it is one that asks a network."""

    @property
    def needs_draw(self) -> bool:
        """Whether a decision may depend on the random number of the report."""
        samples = self.asks is not None and self.asks.samples
        return samples or self.config.heuristic.blueprint_exploration > 0.0

    def draw_for(self, run_id: str, attempt: int, epoch: int) -> float:
        """The random number of a report, for `observe`; 1.0 where no decision depends on one."""
        return uniform_draw(run_id, attempt, epoch, "exploration") if self.needs_draw else 1.0

    def initial(self) -> RunState:
        """The state before any report."""
        return RunState(self.tracker.initial(), self._ledger.initial(), self.policy.initial())

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
        advice: Advice | None = None,
        override: Override | None = None,
    ) -> Step:
        """Take one report in and decide.

        Args:
            state: after the report before; it is left as it is.
            report: accuracies in percent, its epoch greater than the last one's.
            decision_id: id of the decision to make; commands are numbered after it.
            now: when it is made, UTC.
            hold: the reason of an operator's hold: only WAIT.
            draw: uniform in [0, 1), for policies that explore.
            backfill: a late report: everybody observes it, but it is answered with WAIT whatever the policy
                decides.
            advice: of a network, for a policy that asks one.
            override: an operator's order; a late report leaves it to the next one.

        Raises:
            IllegalDecisionError: if the policy breaks its contract.
        """
        observation = self.observe(state, report, held=hold is not None, draw=draw)
        return self.conclude(
            observation,
            decision_id=decision_id,
            now=now,
            hold=hold,
            backfill=backfill,
            advice=advice,
            override=override,
        )

    def observe(
        self, state: RunState, report: EpochReport, *, held: bool = False, draw: float = 1.0
    ) -> Observation:
        """The first half of a step: take the report in, and see what is to be asked.

        Args:
            state: after the report before; it is left as it is.
            report: accuracies in percent, its epoch greater than the last one's.
            held: whether an operator holds the run.
            draw: uniform in [0, 1), for policies that explore.
        """
        return self.ask(self.take_in(state, report, held=held, draw=draw))

    def take_in(
        self, state: RunState, report: EpochReport, *, held: bool = False, draw: float = 1.0
    ) -> Observation:
        """The first half of `observe`: the report, and nothing asked yet."""
        seeds = ordered_seeds(report)
        changes = compare_seeds(state.tracker.seeds, seeds)
        ledger = self._ledger.advance(
            state.ledger, report.epoch, seeds, changes, _outcomes(state.queued, report)
        )
        tracker, signals = self.tracker.observe(state.tracker, report, changes)
        context = self._context(ledger.state, report.epoch, held=held, draw=draw)
        return Observation(state, report, seeds, changes, ledger, tracker, signals, context, ())

    def ask(self, observation: Observation) -> Observation:
        """The second half of `observe`: with what the network is asked, if there is one."""
        if self.asks is None:
            return observation
        state, _, _, _, _, _, signals, context, _ = observation
        return observation._replace(questions=self.asks.questions(state.policy, signals, context))

    def conclude(
        self,
        observation: Observation,
        *,
        decision_id: str,
        now: datetime,
        hold: str | None = None,
        backfill: bool = False,
        advice: Advice | None = None,
        override: Override | None = None,
    ) -> Step:
        """The second half of a step: decide, and answer.

        Args:
            observation: from `observe`.
            decision_id: id of the decision to make; commands are numbered after it.
            now: when it is made, UTC.
            hold: the reason of an operator's hold: only WAIT.
            backfill: a late report, answered with WAIT.
            advice: to the questions of the observation.
            override: an operator's order; a late report leaves it to the next one.

        Raises:
            IllegalDecisionError: if the policy breaks its contract.
        """
        return self.answer(
            self.consider(observation, advice),
            decision_id=decision_id,
            now=now,
            hold=hold,
            backfill=backfill,
            override=override,
        )

    def consider(self, observation: Observation, advice: Advice | None = None) -> Considered:
        """The first half of `conclude`: what the policy decides."""
        state, _, _, _, _, _, signals, context, questions = observation
        if advice is not None:
            context = context._replace(advice=advice, questions=questions)
        return Considered(observation, context, *self.policy.decide(state.policy, signals, context))

    def answer(
        self,
        considered: Considered,
        *,
        decision_id: str,
        now: datetime,
        hold: str | None = None,
        backfill: bool = False,
        override: Override | None = None,
    ) -> Step:
        """The second half of `conclude`: holds and orders heard, commands and events made; see there."""
        observation, context, policy_state, decisions = considered
        _, report, _, changes, ledger, tracker, signals, _, _ = observation
        if backfill:
            decisions = (observed_only(context),)
        else:
            require_legal(decisions, signals, context, self.config)
        if hold is not None:
            decisions = held(decisions, context, hold)
        order = None
        if override is not None and not backfill:
            decisions, order = overruled(override, decisions, signals, context, self.config)
        decisions = told(decisions, ledger.state.failures)
        commands = commands_for(decisions, decision_id, now, report.epoch)
        after = ledger.state if backfill else self._ledger.issue(ledger.state, commands, signals.seeds)
        return Step(
            RunState(tracker, after, policy_state),
            signals,
            context,
            decisions,
            commands,
            self._events(observation, decisions, commands, order),
            ledger.transitions,
            (*ledger.warnings, *self._warnings(tracker, changes)),
        )

    def queue_outcome(self, state: RunState, outcome: CommandOutcome) -> RunState:
        """Note an outcome told between reports: it takes effect with the next one.

        Telling the same again changes nothing; more than `QUEUED_OUTCOMES` are not remembered.
        """
        queued = QueuedOutcome(outcome.command_id, outcome.status, outcome.detail)
        if any(known[:2] == queued[:2] for known in state.queued):
            return state
        return state._replace(queued=(*state.queued, queued)[-QUEUED_OUTCOMES:])

    def close(self, state: RunState) -> Close:
        """What the outcomes told since the last report come to, as no report follows to show it.

        They count as of the epoch after the last one.
        """
        if not state.queued or state.tracker.epoch is None:
            return Close(state)
        epoch = state.tracker.epoch + 1
        ledger, transitions, ends = self._ledger.close(state.ledger, epoch, state.queued)
        ended = [
            (track, ends[track.seed_id] is ActionKind.FOSSILIZE)
            for track in state.tracker.seeds
            if track.seed_id in ends
        ]
        left = tuple(track for track in state.tracker.seeds if track.seed_id not in ends)
        after = RunState(state.tracker._replace(seeds=left), ledger, state.policy)
        return Close(after, tuple(closing_events(epoch, transitions, ended)), transitions)

    def tracks(self, state: RunState, command: str) -> bool:
        """Whether this command is known from the state alone: it can still count, or was the last WAIT."""
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
        opened, culled = ledger.open, ledger.last_cull_epoch
        executed = [c.seed_id for c in opened if c.status is CommandStatus.EXECUTED and c.seed_id]
        return DecisionContext(
            self._layout,
            self._ledger.penalties(ledger, epoch),
            ledger.cursor,
            None if culled is None else epoch - culled,
            bool(opened) and any(_pending(command, ActionKind.CULL) for command in opened),
            bool(opened) and any(command.kind is ActionKind.GERMINATE for command in opened),
            frozenset(executed) if executed else _NOBODY,
            held,
            draw,
        )

    def _events(
        self,
        observation: Observation,
        decisions: Sequence[Decision],
        commands: Sequence[AdaptationCommand],
        order: TelemetryEvent | None,
    ) -> tuple[TelemetryEvent, ...]:
        state, _, seeds, changes, ledger, _, signals, _, _ = observation
        before = state.tracker
        epoch = signals.metrics.epoch
        events = training_events(
            before, signals.metrics, plateau_alarm=self._plateau_alarm, surgery=changes.surgery
        )
        if changes is not NO_CHANGES:
            events += seed_events(epoch, changes, ledger.fossilized)
        if seeds:
            events += gradient_events(epoch, before, seeds)
        events += command_events(epoch, ledger.transitions, commands)
        events += fallback_events(epoch, decisions)
        if order is not None:
            events.append(order)
        return tuple(events)

    def _warnings(self, tracker: TrackerState, changes: SeedChanges) -> tuple[str, ...]:
        warnings = illegal_moves(changes) if changes.illegal else ()
        if self._percent and looks_like_fractions(tracker):
            hint = 'accuracies never exceeded 1.0: create the run with "accuracy_unit": "fraction"'
            return (*warnings, hint)
        return warnings


def _pending(command: TrackedCommand, kind: ActionKind) -> bool:
    return command.kind is kind and command.status is CommandStatus.ISSUED


def _outcomes(queued: tuple[QueuedOutcome, ...], report: EpochReport) -> tuple[QueuedOutcome, ...]:
    if not report.outcomes:
        return queued
    return queued + tuple(QueuedOutcome(o.command_id, o.status, o.detail) for o in report.outcomes)
