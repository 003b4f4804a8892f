"""One report's entries in the ledger: how outcomes and visible effects move the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tamiyo_leyline import ActionKind, CommandStatus, SeedStage, SeedStateReport

from tamiyo_core.changes import SeedChanges
from tamiyo_core.rotation import cursor_past
from tamiyo_core.rules import LATE_COMMANDS, LONGEST_DETAIL
from tamiyo_core.state import Failure, LedgerState, QueuedOutcome, TrackedCommand

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

ENDS_SEED: Final = (ActionKind.CULL, ActionKind.FOSSILIZE)
"""What a seed does not outlive."""


class Transition(NamedTuple):
    """A command's move to another status, and the report that showed it."""

    command_id: str
    status: CommandStatus
    epoch: int
    detail: str = ""


class LedgerPage:
    """The only place where the ledger's values change; it lives for one report.

    In this order: every outcome (`answer`), then what the seeds show (`see`), then what time decides
    (`settle`).

    Args:
        state: after the report before; it is left as it is.
        epoch: of the report.
        seeds: as reported.
        rotation: of blueprints, for the cursor.
        penalise: gives the state in which a blueprint has been penalised at an epoch.
    """

    def __init__(
        self,
        state: LedgerState,
        epoch: int,
        seeds: Sequence[SeedStateReport],
        *,
        rotation: Sequence[str],
        penalise: Callable[[LedgerState, str, int], LedgerState],
    ) -> None:
        self._state = state
        self._epoch = epoch
        self._live = {seed.seed_id for seed in seeds if seed.stage.is_live}
        self._rotation = rotation
        self._penalise = penalise
        self._commands = {command.command_id: command for command in (*state.late, *state.open)}
        self._shown: set[str] = set()
        self._reborn: set[str] = set()
        self.fossilized: set[str] = set()
        """Seeds that are gone because a FOSSILIZE took effect."""
        self.transitions: list[Transition] = []
        self.warnings: list[str] = []

    def answer(self, outcome: QueuedOutcome) -> None:
        """Take in what the trainer says of a command."""
        command = self._commands.get(outcome.command_id)
        if outcome.command_id == self._state.wait:
            return
        if command is None:
            self.warnings.append(
                f"outcome of {outcome.command_id} changes nothing: it is settled already, or no command"
            )
        elif outcome.status in TRANSITIONS[command.status]:
            self._move(command, outcome.status, outcome.detail)
            self._take_effect(command, outcome)
        elif outcome.status is not command.status:
            self.warnings.append(
                f"outcome {outcome.status} of {outcome.command_id} ignored: it was {command.status} before"
            )

    def see(self, changes: SeedChanges) -> None:
        """Take in what the seeds themselves show."""
        for track in changes.left:
            if self._confirm(ActionKind.FOSSILIZE, track.seed_id):
                self.fossilized.add(track.seed_id)
            else:
                self._see_cull(track.seed_id, track.blueprint_id)
        for move in changes.moved:
            if move.now.stage is SeedStage.FOSSILIZED:
                self._confirm(ActionKind.FOSSILIZE, move.now.seed_id)
            elif move.before.stage.is_live and move.now.stage.is_failed:
                self._see_cull(move.before.seed_id, move.before.blueprint_id)
        for seed in changes.appeared:
            self._begin_anew(seed.seed_id)
            self._see_germination(seed.blueprint_id)

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
        commands = [c for c in self._commands.values() if c.seed_id not in self._reborn]
        late = tuple(command for command in commands if command.status is CommandStatus.EXPIRED)
        return self._state._replace(
            open=tuple(command for command in commands if self._is_open(command)), late=late[-LATE_COMMANDS:]
        )

    def _is_open(self, command: TrackedCommand) -> bool:
        if command.status is CommandStatus.ISSUED:
            return True
        if command.status is not CommandStatus.EXECUTED or command.command_id in self._shown:
            return False
        if command.kind in ENDS_SEED:
            return command.seed_id in self._live
        return command.executed_epoch == self._epoch

    def _broken(self, command: TrackedCommand) -> bool:
        executed_before = command.executed_epoch is not None and command.executed_epoch < self._epoch
        return command.kind in ENDS_SEED and executed_before and command.seed_id in self._live

    def _move(self, command: TrackedCommand, status: CommandStatus, detail: str = "") -> None:
        executed = self._epoch if status is CommandStatus.EXECUTED else command.executed_epoch
        self._commands[command.command_id] = command._replace(status=status, executed_epoch=executed)
        self.transitions.append(Transition(command.command_id, status, self._epoch, detail))

    def _take_effect(self, command: TrackedCommand, outcome: QueuedOutcome) -> None:
        germinate = command.kind is ActionKind.GERMINATE
        if outcome.status is CommandStatus.EXECUTED:
            if germinate:
                self._count_germination(command)
            elif command.kind is ActionKind.CULL and command.seed_id is not None and not command.counted:
                self._count_cull(command.seed_id, command.blueprint_id)
        elif outcome.status is not CommandStatus.EXPIRED:
            self._tell(command, outcome.status, outcome.detail)
            # A germination that was executed before has moved the cursor already.
            if germinate and command.status is CommandStatus.ISSUED:
                self._move_cursor(command)

    def _tell(self, command: TrackedCommand, status: CommandStatus, detail: str) -> None:
        failure = Failure(command.command_id, command.kind, command.seed_id, status, detail[:LONGEST_DETAIL])
        self._state = self._state._replace(failures=(*self._state.failures, failure))

    def _see_germination(self, blueprint_id: str) -> None:
        for command in self._commands.values():
            if (
                command.kind is ActionKind.GERMINATE
                and command.blueprint_id == blueprint_id
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
            cursor = cursor_past(self._rotation, self._state.cursor, command.blueprint_id)
            self._state = self._state._replace(cursor=cursor)

    def _count_cull(self, seed_id: str, blueprint_id: str | None) -> None:
        """Embargo and penalty, once for each seed."""
        if seed_id in self._state.culled_seeds:
            return
        if blueprint_id is not None:
            self._state = self._penalise(self._state, blueprint_id, self._epoch)
        culled = (*self._state.culled_seeds, seed_id)
        self._state = self._state._replace(last_cull_epoch=self._epoch, culled_seeds=culled)
        for command in tuple(self._commands.values()):
            if command.kind is ActionKind.CULL and command.seed_id == seed_id:
                self._commands[command.command_id] = command._replace(counted=True)

    def _begin_anew(self, seed_id: str) -> None:
        """A new seed answers neither for the cull nor for the commands of another that had its id."""
        self._reborn.add(seed_id)
        kept = tuple(culled for culled in self._state.culled_seeds if culled != seed_id)
        self._state = self._state._replace(culled_seeds=kept)
