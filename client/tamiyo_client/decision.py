"""What the trainer gets back for every epoch: a decision, always."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from tamiyo_leyline import AdaptationCommand, CommandType, DecisionReply, RiskLevel
from tamiyo_leyline.command import COMMAND_LIFETIME_EPOCHS

from tamiyo_client.errors import TamiyoError

OWN_ID_PREFIX: Final = "client-"
"""Ids of the WAITs this client answers itself begin like this; the service knows nothing of them."""
_REASON_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one epoch report.

    Attributes:
        epoch: the epoch asked about.
        attempt: the attempt of the run it belongs to.
        commands: what to do, never empty; a single REQUEST_STATE means: go on, report again.
        source: ``service``, or ``client`` when Tamiyo gave no usable answer.
        reason: why, in words; never empty.
        error: for source ``client``: what went wrong; None where nothing did (reports being caught up).
        replayed: whether the service had given this very answer before.
        reply: the service's answer in full; None for source ``client``.
    """

    epoch: int
    attempt: int
    commands: tuple[AdaptationCommand, ...]
    source: Literal["service", "client"]
    reason: str
    error: TamiyoError | None = None
    replayed: bool = False
    reply: DecisionReply | None = None


def wait_command(epoch: int, reason: str) -> AdaptationCommand:
    """The client's own WAIT: change nothing, report again. Its confidence 0 says that nobody judged."""
    return AdaptationCommand(
        command_id=OWN_ID_PREFIX + uuid.uuid4().hex,
        issued_at=datetime.now(UTC),
        command_type=CommandType.REQUEST_STATE,
        reason=reason,
        confidence=0.0,
        risk_level=RiskLevel.GREEN,
        annotations={"source": "client"},
        expires_after_epoch=epoch + COMMAND_LIFETIME_EPOCHS,
    )


def own_decision(
    epoch: int,
    attempt: int,
    reason: str,
    *,
    error: TamiyoError | None = None,
    commands: tuple[AdaptationCommand, ...] = (),
) -> Decision:
    """A decision of the client's own: `commands`, or a WAIT where there are none."""
    # A lone surrogate, from the repr of what a trainer handed in, is no text that can be sent.
    reason = reason[:_REASON_LENGTH].encode(errors="replace").decode()
    return Decision(epoch, attempt, commands or (wait_command(epoch, reason),), "client", reason, error)


def service_decision(reply: DecisionReply, *, replayed: bool) -> Decision:
    """The service's decision, without commands that were to be carried out before the epoch asked about."""
    current = tuple(command for command in reply.commands if command.expires_after_epoch >= reply.epoch)
    if not current:
        reason = "every command of the service's answer had expired"
        return own_decision(reply.epoch, reply.attempt, reason)
    reason = "; ".join(command.reason for command in current)
    return Decision(reply.epoch, reply.attempt, current, "service", reason, replayed=replayed, reply=reply)
