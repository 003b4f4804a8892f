"""CommandLedger: what became of the commands of a run.

::

    ISSUED ──▶ EXECUTED ──▶ FAILED      the trainer did it; its next report contradicts it
       ├─────▶ REFUSED                  the trainer would not
       ├─────▶ FAILED                   the trainer could not
       └─────▶ EXPIRED ──▶ EXECUTED     nobody answered in time; a late answer still counts

Embargo, penalties, the count of germinations and the cursor of the blueprint rotation hang on these
transitions, never on decisions: a command that was lost on the way costs nothing. Every policy shares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tamiyo_leyline import (
    ActionKind,
    AdaptationCommand,
    CommandStatus,
    CommandType,
    RunConfig,
    SeedSignals,
    SeedStateReport,
)

from tamiyo_core.changes import SeedChanges
from tamiyo_core.ledger_page import ENDS_SEED, LedgerPage, Transition
from tamiyo_core.penalties import PenaltyRule
from tamiyo_core.state import LedgerState, QueuedOutcome, TrackedCommand

KINDS: Final = {
    CommandType.GERMINATE: ActionKind.GERMINATE,
    CommandType.ADVANCE_STAGE: ActionKind.FOSSILIZE,
    CommandType.CULL: ActionKind.CULL,
}
"""The action that a command carries; commands of other types change nothing."""


class LedgerStep(NamedTuple):
    """The ledger after a report."""

    state: LedgerState
    transitions: tuple[Transition, ...] = ()
    warnings: tuple[str, ...] = ()
    fossilized: frozenset[str] = frozenset()
    """Seeds that are gone because a FOSSILIZE took effect."""


class Closing(NamedTuple):
    """What the outcomes told after the last report come to."""

    state: LedgerState
    transitions: tuple[Transition, ...]
    ended: Mapping[str, ActionKind]
    """The seeds whose end was executed, and which end."""


class CommandLedger:
    """The transition table of commands, as a pure function of state and report.

    Args:
        config: of the run: blueprint rotation, embargo and penalties.
    """

    def __init__(self, config: RunConfig) -> None:
        self._rotation = config.rotation
        self._blueprints = frozenset(config.topology.names)
        self._penalties = PenaltyRule(config.heuristic)

    def initial(self) -> LedgerState:
        """The state before any report."""
        return LedgerState()

    def advance(
        self,
        state: LedgerState,
        epoch: int,
        seeds: Sequence[SeedStateReport],
        changes: SeedChanges,
        outcomes: Sequence[QueuedOutcome],
    ) -> LedgerStep:
        """Take in what a report says about earlier commands.

        Args:
            state: after the report before.
            epoch: of the report.
            seeds: as reported.
            changes: of the seeds since the report before.
            outcomes: told since then, the oldest first.
        """
        if not (state.open or outcomes or changes.left or changes.moved or changes.appeared):
            return LedgerStep(_forget(state, seeds))
        page = LedgerPage(state, epoch, seeds, rotation=self._rotation, penalise=self._penalised)
        for outcome in outcomes:
            page.answer(outcome)
        page.see(changes)
        page.settle()
        return LedgerStep(
            _forget(page.written(), seeds),
            tuple(page.transitions),
            tuple(page.warnings),
            frozenset(page.fossilized),
        )

    def close(self, state: LedgerState, epoch: int, outcomes: Sequence[QueuedOutcome]) -> Closing:
        """Take in what was told of earlier commands where no report follows that could show it.

        Args:
            state: after the last report.
            epoch: the one after it.
            outcomes: told since then, the oldest first.
        """
        page = LedgerPage(state, epoch, (), rotation=self._rotation, penalise=self._penalised)
        for outcome in outcomes:
            page.answer(outcome)
        executed = {
            transition.command_id
            for transition in page.transitions
            if transition.status is CommandStatus.EXECUTED
        }
        ended = {
            command.seed_id: command.kind
            for command in (*state.late, *state.open)
            if command.command_id in executed and command.kind in ENDS_SEED and command.seed_id is not None
        }
        return Closing(page.written(), tuple(page.transitions), ended)

    def issue(
        self,
        state: LedgerState,
        commands: Sequence[AdaptationCommand],
        seeds: Sequence[SeedSignals] = (),
    ) -> LedgerState:
        """Note the commands of a reply; failures told so far have been told.

        Args:
            state: after the report that the reply answers.
            commands: of the reply.
            seeds: of the report, for the blueprints of the seeds concerned.
        """
        tracked = [command for command in commands if command.command_type in KINDS]
        if not tracked:
            return state._replace(failures=(), wait=commands[-1].command_id if commands else None)
        blueprints = {seed.seed_id: seed.blueprint_id for seed in seeds}
        opened = tuple(_tracked(command, blueprints) for command in tracked)
        return state._replace(open=state.open + opened, failures=(), wait=None)

    def holds(self, state: LedgerState, command_id: str) -> bool:
        """Whether this command is known without looking further: it can still count, or was the last WAIT."""
        known = any(command.command_id == command_id for command in (*state.open, *state.late))
        return known or command_id == state.wait

    def penalties(self, state: LedgerState, epoch: int) -> dict[str, float]:
        """Each penalised blueprint's penalty at `epoch`."""
        return self._penalties.at(state.penalties, epoch)

    def _penalised(self, state: LedgerState, blueprint_id: str, epoch: int) -> LedgerState:
        # A blueprint that the topology does not have can never germinate: there is nothing to bar.
        if blueprint_id not in self._blueprints:
            return state
        return state._replace(penalties=self._penalties.after_cull(state.penalties, blueprint_id, epoch))


def _forget(state: LedgerState, seeds: Sequence[SeedStateReport]) -> LedgerState:
    """Drop what concerns seeds that are no longer reported: memory stays bounded."""
    if not state.culled_seeds:
        return state
    reported = {seed.seed_id for seed in seeds}
    return state._replace(culled_seeds=tuple(s for s in state.culled_seeds if s in reported))


def _tracked(command: AdaptationCommand, blueprints: Mapping[str, str]) -> TrackedCommand:
    seed_id = command.target_seed_id
    return TrackedCommand(
        command.command_id,
        KINDS[command.command_type],
        seed_id,
        command.blueprint_id if seed_id is None else blueprints.get(seed_id),
        command.expires_after_epoch,
    )
