"""Replay: the logged inputs of a run through another policy or configuration.

::

    same world ──▶ a decision differs, but what it commanded came to nothing ──▶ same world
        │
        └──▶ one culls, germinates or fossilizes, and the other does not ──▶ open loop, to the end

*In the same world* the trainer would have reported just this had the other policy been in charge, and the
ledger holds what the other one has commanded: the commands that both gave, under their logged ids. What only
the run's own policy commanded was refused or failed, so it is left out, with its outcomes.

*Structural divergence*: from there on the trainer has other seeds than it would have had. Its reports are
still all there is, so they go on; but each later decision answers only "what would it do in the situation
that the run's own policy led to". The ledger follows the trainer from that report on: it holds the logged
commands with their logged outcomes, so that embargo, penalties and rotation fit the seeds that are reported,
and nothing is commanded again because a trainer that was never asked did not obey.

Tracker and policy see every report from the first one on, with the settings of the replay. Holds, an
operator's orders and late reports count as they did for the run; so a replay through the run's own policy and
configuration agrees everywhere. A rewind goes on from the state after an earlier report: states are values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from tamiyo_leyline import ActionKind, AdaptationCommand, CommandOutcome, CommandType, EpochReport

from tamiyo_core.engine import Engine, Observation, Step
from tamiyo_core.ledger import KINDS, CommandLedger
from tamiyo_core.overriding import Override
from tamiyo_core.policy import Advice, Decision
from tamiyo_core.state import RunState

_WAIT: Final = ActionKind.WAIT.value


class Logged(NamedTuple):
    """A report as a run took it in, and what the run answered."""

    report: EpochReport
    decision_id: str
    now: datetime
    """When it was decided, UTC."""
    commands: tuple[AdaptationCommand, ...]
    """Of the reply."""
    told: tuple[CommandOutcome, ...] = ()
    """Outcomes told between the report before and this one, in order."""
    futile: frozenset[str] = frozenset()
    """Ids of those commands of the reply that came to nothing: refused or failed in the end."""
    hold: str | None = None
    draw: float = 1.0
    backfill: bool = False
    override: Override | None = None


class ReplayState(NamedTuple):
    """Where a replay stands after a report."""

    run: RunState
    open_loop: bool = False
    """Whether the two have left the trainer in different structure."""


class ReplayedSlot(NamedTuple):
    """One slot, or the question of germination, decided twice."""

    decision: Decision
    """Of the replayed policy."""
    logged: AdaptationCommand | None
    """What the run commanded; None: it waited."""
    futile: bool
    """Whether that came to nothing."""

    @property
    def logged_action(self) -> str:
        """Name of the action that the run took."""
        return _WAIT if self.logged is None else action_of(self.logged)

    @property
    def agrees(self) -> bool:
        """Whether both took the same action."""
        return self.logged_action == self.decision.action.name

    @property
    def parts(self) -> bool:
        """Whether the trainer would have been left in different structure."""
        if self.agrees:
            return False
        logged_counts = self.logged is not None and not self.futile
        return logged_counts or self.decision.kind is not ActionKind.WAIT


class Replayed(NamedTuple):
    """One report, decided again."""

    logged: Logged
    step: Step
    """Of the replayed policy."""
    slots: tuple[ReplayedSlot, ...]
    """In the order of its decisions."""
    open_loop: bool
    """Whether the report comes after a structural divergence."""
    state: ReplayState

    @property
    def agrees(self) -> bool:
        """Whether both took the same action for every slot."""
        return all(slot.agrees for slot in self.slots)

    @property
    def diverges_structurally(self) -> bool:
        """Whether this is the report at which the two part ways: the first of its kind."""
        return self.state.open_loop and not self.open_loop

    @property
    def logged_action(self) -> str:
        """The first action that the run took, WAIT when there was none."""
        acting = [command for command in self.logged.commands if command.command_type in KINDS]
        return action_of(acting[0]) if acting else _WAIT


class ReplayQuestion(NamedTuple):
    """A logged report taken in, its questions not yet answered."""

    state: ReplayState
    logged: Logged
    observation: Observation


class Replay:
    """Decides logged reports again; immutable, safe to share.

    Args:
        engine: of the configuration and the policy to replay with.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine
        self._ledger = CommandLedger(engine.config)

    def initial(self) -> ReplayState:
        """The state before any report."""
        return ReplayState(self.engine.initial())

    def step(self, state: ReplayState, logged: Logged, advice: Advice | None = None) -> Replayed:
        """Take a logged report in and decide about it.

        Args:
            state: after the report before; it is left as it is.
            logged: the report, with what belongs to it.
            advice: to the questions that `observe` gives, for a policy that asks a network.

        Raises:
            IllegalDecisionError: if the policy breaks its contract.
        """
        return self.conclude(self.observe(state, logged), advice)

    def observe(self, state: ReplayState, logged: Logged) -> ReplayQuestion:
        """The first half of a step: take the report in, and see what is to be asked."""
        run = state.run
        for outcome in logged.told:
            run = self.engine.queue_outcome(run, outcome)
        observation = self.engine.observe(run, logged.report, held=logged.hold is not None, draw=logged.draw)
        return ReplayQuestion(state, logged, observation)

    def conclude(self, question: ReplayQuestion, advice: Advice | None = None) -> Replayed:
        """The second half: decide, and compare with what the run commanded.

        Raises:
            IllegalDecisionError: if the policy breaks its contract.
        """
        before, logged, observation = question
        step = self.engine.conclude(
            observation,
            decision_id=logged.decision_id,
            now=logged.now,
            hold=logged.hold,
            backfill=logged.backfill,
            advice=advice,
            override=logged.override,
        )
        slots = _slots(step.decisions, logged)
        open_loop = before.open_loop or any(slot.parts for slot in slots)
        run = step.state
        if not logged.backfill and not all(slot.agrees for slot in slots):
            noted = logged.commands if open_loop else _shared(slots) or step.commands
            ledger = self._ledger.issue(observation.ledger.state, noted, step.signals.seeds)
            run = run._replace(ledger=ledger)
        return Replayed(logged, step, slots, before.open_loop, ReplayState(run, open_loop))


def action_of(command: AdaptationCommand) -> str:
    """Name of the action that a command carries."""
    return action_name(command.command_type, command.blueprint_id)


def action_name(command_type: CommandType, blueprint_id: str | None) -> str:
    """Name of the action that a command of this type carries.

    Args:
        command_type: of the command.
        blueprint_id: what it germinates, if it does.
    """
    kind = KINDS.get(command_type, ActionKind.WAIT)
    return f"{kind}_{blueprint_id.upper()}" if blueprint_id else kind.value


def _slots(decisions: Sequence[Decision], logged: Logged) -> tuple[ReplayedSlot, ...]:
    commanded = {
        command.target_seed_id: command for command in logged.commands if command.command_type in KINDS
    }
    slots = []
    for decision in decisions:
        command = commanded.get(None if decision.seed is None else decision.seed.seed_id)
        futile = command is not None and command.command_id in logged.futile
        slots.append(ReplayedSlot(decision, command, futile))
    return tuple(slots)


def _shared(slots: Sequence[ReplayedSlot]) -> list[AdaptationCommand]:
    """The commands that both gave, under the ids that the run's outcomes name."""
    return [slot.logged for slot in slots if slot.logged is not None and slot.agrees]
