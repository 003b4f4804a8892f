"""Numbered inputs of a run that are no reports: holds, rewinds, outcomes, notes and the like."""

from __future__ import annotations

from datetime import datetime

from tamiyo_leyline import RunStatus

from tamiyo_service.clock import to_micros
from tamiyo_service.errors import RunCompletedError
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.runs.snapshots import override_text, snapshot
from tamiyo_service.store.rows import Entry, InputKind, StatusRow


def input_entry(session: Session, after: Standing, kind: InputKind, payload: str, now: datetime) -> Entry:
    """The journal's entry of an input.

    Args:
        session: of the run, its turn held.
        after: where the run stands after the input.
        kind: of the input.
        payload: its content as JSON.
        now: UTC.
    """
    return Entry(
        run_pk=session.run_pk,
        seq=after.seq,
        kind=kind,
        attempt=after.attempt,
        epoch=None,
        at=to_micros(now),
        action=None,
        risk=None,
        policy=None,
        backfill=False,
        hold=after.hold,
        warnings=None,
        events=None,
        payload=payload,
        reply=None,
        state=snapshot(after.engine, after.state),
        override=override_text(after.override),
    )


def status_row(session: Session, after: Standing) -> StatusRow:
    """The status a run has once it stands there."""
    status = RunStatus.HELD if after.hold is not None else RunStatus.ACTIVE
    return StatusRow(session.run_pk, RunStatus.COMPLETED if after.result else status, after.result)


def require_open(session: Session) -> None:
    """Return if a run goes on.

    Raises:
        RunCompletedError: if it is over.
    """
    result = session.standing.result
    if result is not None:
        raise RunCompletedError(f"run {session.run_id} is completed ({result}); rewind it to reopen it")
