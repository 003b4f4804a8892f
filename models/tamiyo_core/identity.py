"""Names of decisions and commands, and the random number of a report: functions of run, attempt and epoch."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

_COMMAND_ID: Final = re.compile(r"(?P<run>[^@]+)@(?P<attempt>\d+)\.(?P<epoch>\d+)\.(?P<number>\d+)", re.ASCII)


class CommandRef(NamedTuple):
    """Where a command was issued."""

    run_id: str
    attempt: int
    epoch: int
    number: int


def decision_id(run_id: str, attempt: int, epoch: int) -> str:
    """The id of the decision about one report: ``run@attempt.epoch``."""
    return f"{run_id}@{attempt}.{epoch}"


def command_id(decision: str, number: int) -> str:
    """The id of a decision's command, counted from 1."""
    return f"{decision}.{number}"


def parse_command_id(text: str) -> CommandRef | None:
    """The place where a command was issued; None if the text is no command id of ours."""
    match = _COMMAND_ID.fullmatch(text)
    if match is None:
        return None
    return CommandRef(match["run"], int(match["attempt"]), int(match["epoch"]), int(match["number"]))


def uniform_draw(run_id: str, attempt: int, epoch: int, purpose: str) -> float:
    """A number in [0, 1), uniform over runs and epochs and the same for the same report.

    The first 53 bits of a SHA-256 over the arguments, so that a replay draws what the run drew.
    """
    digest = hashlib.sha256(f"{run_id}\n{attempt}\n{epoch}\n{purpose}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
