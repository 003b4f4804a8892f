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

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from tamiyo_leyline import (
    ActionKind,
    AdaptationCommand,
    CommandStatus,
    CommandType,
    RunConfig,
    SeedSignals,
    SeedStage,
    SeedStateReport,
)

from tamiyo_core.changes import SeedChanges
from tamiyo_core.rules import LATE_COMMANDS, PENALTY_FLOOR
from tamiyo_core.state import Failure, LedgerState, Penalty, QueuedOutcome, TrackedCommand

TRANSITIONS: Final[dict[CommandStatus, frozenset[CommandStatus]]] = {
    CommandStatus.ISSUED: frozenset(
        {CommandStatus.EXECUTED, CommandStatus.REFUSED, CommandStatus.FAILED, CommandStatus.EXPIRED}
    ),
    CommandStatus.EXECUTED: frozenset({CommandStatus.FAILED}),
    CommandStatus.EXPIRED: frozenset({CommandStatus.EXECUTED}),
    CommandStatus.REFUSED: frozenset(),
    CommandStatus.FAILED: frozenset(),
}
"""Every move a command may make."""

_KINDS: Final = {
    CommandType.GERMINATE: ActionKind.GERMINATE,
    CommandType.ADVANCE_STAGE: ActionKind.FOSSILIZE,
    CommandType.CULL: ActionKind.CULL,
}
_ENDS_SEED: Final = (ActionKind.CULL, ActionKind.FOSSILIZE)


class Transition(NamedTuple):
    """A command's move to another status, and the report that showed it."""

    command_id: str
    status: CommandStatus
    epoch: int
    detail: str = ""


class LedgerStep(NamedTuple):
    """The ledger after a report."""

    state: LedgerState
    transitions: tuple[Transition, ...] = ()
    warnings: tuple[str, ...] = ()


class CommandLedger:
    """The transition table of commands, as a pure function of state and report.

    Args:
        config: of the run: blueprint rotation, embargo and penalties.
    """

    def __init__(self, config: RunConfig) -> None:
        self._rotation = config.rotation
        self._on_cull = config.heuristic.blueprint_penalty_on_cull
        self._decay = config.heuristic.blueprint_penalty_decay
        self._decay_epochs = config.heuristic.blueprint_penalty_decay_epochs

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
            return LedgerStep(self._forget(state, seeds))
        page = _Page(self, state, epoch, seeds)
        for outcome in outcomes:
            page.answer(outcome)
        page.see(changes)
        page.settle()
        return LedgerStep(self._forget(page.written(), seeds), tuple(page.transitions), tuple(page.warnings))

    def issue(
        self,
        state: LedgerState,
        commands: Iterable[AdaptationCommand],
        seeds: Sequence[SeedSignals] = (),
    ) -> LedgerState:
        """Note the commands of a reply; failures told so far have been told.

        Args:
            state: after the report that the reply answers.
            commands: of the reply.
            seeds: of the report, for the blueprints of the seeds concerned.
        """
        blueprints = {seed.seed_id: seed.blueprint_id for seed in seeds}
        tracked = tuple(
            _tracked(command, blueprints) for command in commands if command.command_type in _KINDS
        )
        if not tracked and not state.failures:
            return state
        return state._replace(open=state.open + tracked, failures=())

    def holds(self, state: LedgerState, command_id: str) -> bool:
        """Whether an outcome of this command can still count."""
        return any(command.command_id == command_id for command in (*state.open, *state.late))

    def penalties(self, state: LedgerState, epoch: int) -> dict[str, float]:
        """Each blueprint's penalty at `epoch`: p · decay^(elapsed epochs / decay_epochs), below 0.1 none."""
        if not state.penalties:
            return {}
        now = {entry.blueprint_id: self._decayed(entry, epoch) for entry in state.penalties}
        return {name: value for name, value in now.items() if value >= PENALTY_FLOOR}

    def _decayed(self, entry: Penalty, epoch: int) -> float:
        elapsed: float = (epoch - entry.epoch) / self._decay_epochs
        return float(entry.value * self._decay**elapsed)

    def penalised(self, state: LedgerState, blueprint_id: str, epoch: int) -> tuple[Penalty, ...]:
        """The penalties after one more cull of `blueprint_id`."""
        values = self.penalties(state, epoch)
        values[blueprint_id] = values.get(blueprint_id, 0.0) + self._on_cull
        return tuple(Penalty(name, value, epoch) for name, value in sorted(values.items()))

    def past(self, cursor: int, blueprint_id: str) -> int:
        """The cursor moved past `blueprint_id`: where it stands, if the rotation does not have it."""
        length = len(self._rotation)
        for step in range(length):
            if self._rotation[(cursor + step) % length] == blueprint_id:
                return (cursor + step + 1) % length
        return cursor

    def _forget(self, state: LedgerState, seeds: Sequence[SeedStateReport]) -> LedgerState:
        """Drop what concerns seeds that are no longer reported: memory stays bounded."""
        if not state.culled_seeds:
            return state
        reported = {seed.seed_id for seed in seeds}
        return state._replace(
            culled_seeds=tuple(seed_id for seed_id in state.culled_seeds if seed_id in reported)
        )


class _Page:
    """One report's entries: the only place where the ledger's values change, private to `advance`."""

    def __init__(
        self, ledger: CommandLedger, state: LedgerState, epoch: int, seeds: Sequence[SeedStateReport]
    ) -> None:
        self._ledger = ledger
        self._state = state
        self._epoch = epoch
        self._live = {seed.seed_id for seed in seeds if seed.stage.is_live}
        self._commands = {command.command_id: command for command in (*state.late, *state.open)}
        self._shown: set[str] = set()
        self.transitions: list[Transition] = []
        self.warnings: list[str] = []

    def answer(self, outcome: QueuedOutcome) -> None:
        """Take in what the trainer says of a command."""
        command = self._commands.get(outcome.command_id)
        if command is None:
            self.warnings.append(f"outcome of {outcome.command_id} came too late to count")
        elif outcome.status in TRANSITIONS[command.status]:
            self._move(command, outcome.status, outcome.detail)
            self._take_effect(command, outcome.status)
        elif outcome.status is not command.status:
            self.warnings.append(
                f"outcome {outcome.status} of {outcome.command_id} ignored: it was {command.status} before"
            )

    def see(self, changes: SeedChanges) -> None:
        """Take in what the seeds themselves show."""
        for seed in changes.appeared:
            self._forget_cull(seed.seed_id)
            self._see_germination(seed)
        for move in changes.moved:
            if move.now.stage is SeedStage.FOSSILIZED:
                self._confirm(ActionKind.FOSSILIZE, move.now.seed_id)
            elif move.before.stage.is_live and not move.now.stage.is_live:
                self._see_cull(move.before.seed_id, move.before.blueprint_id)
        for track in changes.left:
            if not self._confirm(ActionKind.FOSSILIZE, track.seed_id):
                self._see_cull(track.seed_id, track.blueprint_id)

    def settle(self) -> None:
        """Close what this report decides: broken promises and commands nobody answered."""
        for command in tuple(self._commands.values()):
            if command.status is CommandStatus.ISSUED and self._epoch > command.expires_after_epoch:
                self._move(command, CommandStatus.EXPIRED, "not answered in time")
            elif command.status is CommandStatus.EXECUTED and self._broken(command):
                self._move(command, CommandStatus.FAILED, f"seed {command.seed_id} is still live")
                self._tell(command, CommandStatus.FAILED, "the seed is still live")

    def written(self) -> LedgerState:
        """The ledger's state after this report."""
        commands = self._commands.values()
        late = tuple(command for command in commands if command.status is CommandStatus.EXPIRED)
        return self._state._replace(
            open=tuple(command for command in commands if self._is_open(command)), late=late[-LATE_COMMANDS:]
        )

    def _is_open(self, command: TrackedCommand) -> bool:
        if command.status is CommandStatus.ISSUED:
            return True
        if command.status is not CommandStatus.EXECUTED or command.command_id in self._shown:
            return False
        if command.kind in _ENDS_SEED:
            return command.seed_id in self._live
        return command.executed_epoch == self._epoch

    def _broken(self, command: TrackedCommand) -> bool:
        executed_before = command.executed_epoch is not None and command.executed_epoch < self._epoch
        return command.kind in _ENDS_SEED and executed_before and command.seed_id in self._live

    def _move(self, command: TrackedCommand, status: CommandStatus, detail: str = "") -> None:
        executed = self._epoch if status is CommandStatus.EXECUTED else command.executed_epoch
        self._commands[command.command_id] = command._replace(status=status, executed_epoch=executed)
        self.transitions.append(Transition(command.command_id, status, self._epoch, detail))

    def _take_effect(self, command: TrackedCommand, status: CommandStatus) -> None:
        if status is CommandStatus.EXECUTED:
            if command.kind is ActionKind.CULL and command.seed_id is not None and not command.counted:
                self._count_cull(command.seed_id, command.blueprint_id)
            elif command.kind is ActionKind.GERMINATE:
                self._count_germination(command)
        elif status in (CommandStatus.REFUSED, CommandStatus.FAILED):
            self._tell(command, status, self.transitions[-1].detail)
            if command.kind is ActionKind.GERMINATE and command.status is CommandStatus.ISSUED:
                self._move_cursor(command)

    def _tell(self, command: TrackedCommand, status: CommandStatus, detail: str) -> None:
        failure = Failure(command.command_id, command.kind, command.seed_id, status, detail)
        self._state = self._state._replace(failures=(*self._state.failures, failure))

    def _see_germination(self, seed: SeedStateReport) -> None:
        for command in self._commands.values():
            if (
                command.kind is ActionKind.GERMINATE
                and command.blueprint_id == seed.blueprint_id
                and command.command_id not in self._shown
                and self._counts(command)
            ):
                self._show(command)
                return

    def _see_cull(self, seed_id: str, blueprint_id: str) -> None:
        self._confirm(ActionKind.CULL, seed_id)
        self._count_cull(seed_id, blueprint_id)

    def _confirm(self, kind: ActionKind, seed_id: str) -> bool:
        """Mark the commands of this kind for this seed as done; whether there was one."""
        matching = [
            command
            for command in self._commands.values()
            if command.kind is kind and command.seed_id == seed_id and self._counts(command)
        ]
        for command in matching:
            self._show(command)
        return bool(matching)

    def _counts(self, command: TrackedCommand) -> bool:
        """Whether what the seeds show can be this command's effect."""
        if command.status is CommandStatus.EXECUTED:
            return True
        return command.status is CommandStatus.ISSUED and self._epoch <= command.expires_after_epoch

    def _show(self, command: TrackedCommand) -> None:
        self._shown.add(command.command_id)
        if command.status is CommandStatus.ISSUED:
            self._move(command, CommandStatus.EXECUTED)
            if command.kind is ActionKind.GERMINATE:
                self._count_germination(command)

    def _count_germination(self, command: TrackedCommand) -> None:
        self._state = self._state._replace(germinations=self._state.germinations + 1)
        self._move_cursor(command)

    def _move_cursor(self, command: TrackedCommand) -> None:
        if command.blueprint_id is not None:
            cursor = self._ledger.past(self._state.cursor, command.blueprint_id)
            self._state = self._state._replace(cursor=cursor)

    def _count_cull(self, seed_id: str, blueprint_id: str | None) -> None:
        """Embargo and penalty, once for each seed."""
        if seed_id in self._state.culled_seeds:
            return
        penalties = self._state.penalties
        if blueprint_id is not None:
            penalties = self._ledger.penalised(self._state, blueprint_id, self._epoch)
        self._state = self._state._replace(
            last_cull_epoch=self._epoch,
            penalties=penalties,
            culled_seeds=(*self._state.culled_seeds, seed_id),
        )
        for command in tuple(self._commands.values()):
            if command.kind is ActionKind.CULL and command.seed_id == seed_id:
                self._commands[command.command_id] = command._replace(counted=True)

    def _forget_cull(self, seed_id: str) -> None:
        kept = tuple(culled for culled in self._state.culled_seeds if culled != seed_id)
        self._state = self._state._replace(culled_seeds=kept)


def _tracked(command: AdaptationCommand, blueprints: Mapping[str, str]) -> TrackedCommand:
    seed_id = command.target_seed_id
    return TrackedCommand(
        command.command_id,
        _KINDS[command.command_type],
        seed_id,
        command.blueprint_id if seed_id is None else blueprints.get(seed_id),
        command.expires_after_epoch,
    )
