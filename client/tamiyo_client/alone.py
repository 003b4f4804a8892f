"""Answering a trainer while the service does not: WAIT, or what the trainer's own fallback says."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from tamiyo_leyline import AdaptationCommand, EpochReport

from tamiyo_client.conduct import Conduct
from tamiyo_client.decision import Decision, own_decision
from tamiyo_client.errors import TamiyoError
from tamiyo_client.outbox import Outbox

logger = logging.getLogger("tamiyo_client")

_MAX_COMMANDS: Final = 64


class Alone:
    """One run's answers of the client's own, each kept in the outbox together with its report.

    Args:
        run_id: the run.
        conduct: the client's settings.
        outbox: where reports without an answer wait.
    """

    def __init__(self, run_id: str, conduct: Conduct, outbox: Outbox) -> None:
        self._run_id: Final = run_id
        self._conduct: Final = conduct
        self._outbox: Final = outbox
        self._epochs = 0

    def begin(self, message: str) -> None:
        """Say that the service is silent: as a warning once for each silence, not for each epoch."""
        logger.log(logging.DEBUG if self._epochs else logging.WARNING, "run %s %s", self._run_id, message)
        self._epochs += 1

    def end(self, late: int) -> None:
        """Say that the service answers again, after `late` reports were sent late."""
        if self._epochs:
            logger.warning("run %s: Tamiyo answers again, %d reports were sent late", self._run_id, late)
        self._epochs = 0

    def decide(self, sealed: EpochReport, error: TamiyoError) -> Decision:
        """The answer to a report whose answer `error` took."""
        self.begin(f"epoch {sealed.epoch} is decided without Tamiyo: {error}")
        reason = f"{type(error).__name__}: {error}"
        commands = self._fallback_commands(sealed)
        return self._kept(
            sealed, own_decision(sealed.epoch, sealed.attempt, reason, error=error, commands=commands)
        )

    def put_off(self, sealed: EpochReport) -> Decision:
        """The answer to a report that has to wait for earlier ones."""
        earlier = len(self._outbox.missed)
        reason = f"catching up: {earlier} earlier reports have yet to reach Tamiyo"
        return self._kept(sealed, own_decision(sealed.epoch, sealed.attempt, reason))

    def _kept(self, sealed: EpochReport, decision: Decision) -> Decision:
        if not self._outbox.miss(sealed):
            self._conduct.notices.once(
                f"run {self._run_id}: Tamiyo is silent for so long that the oldest reports are dropped"
            )
        self._outbox.own_decision(decision)
        return decision

    def _fallback_commands(self, report: EpochReport) -> tuple[AdaptationCommand, ...]:
        if self._conduct.fallback is None:
            return ()
        try:
            return _current(self._conduct.fallback.decide(report), report.epoch)
        except Exception:
            # Whatever the trainer's own policy raises must not end its training.
            logger.exception("run %s: the fallback failed, the answer is WAIT", self._run_id)
            return ()


def _current(commands: Iterable[AdaptationCommand], epoch: int) -> tuple[AdaptationCommand, ...]:
    commands = tuple(commands)
    if not all(isinstance(command, AdaptationCommand) for command in commands):
        raise TypeError("a fallback returns AdaptationCommands")
    return tuple(command for command in commands if command.expires_after_epoch >= epoch)[:_MAX_COMMANDS]
