"""Which outcomes of a report the service refuses, because it never issued their commands."""

from __future__ import annotations

import re
from typing import Final

from tamiyo_leyline import CommandOutcome, EpochReport, ProblemCode

from tamiyo_client.errors import TamiyoError

_FIELD: Final = re.compile(r"outcomes\.(\d{1,9})\.command_id", re.ASCII)


def unknown_outcomes(report: EpochReport, error: TamiyoError) -> tuple[CommandOutcome, ...]:
    """The outcomes of `report` that `error` says are of unknown commands; empty: it is about something else.

    If it names none of them, they are all meant: any one may be it, and would spoil every later report too.
    """
    problem = error.problem
    if problem is None or problem.code is not ProblemCode.UNKNOWN_COMMAND:
        return ()
    fields = (_FIELD.fullmatch(fault.field) for fault in problem.errors)
    named = {int(field[1]) for field in fields if field}
    return (
        tuple(outcome for number, outcome in enumerate(report.outcomes) if number in named) or report.outcomes
    )
