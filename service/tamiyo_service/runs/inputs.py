"""Numbered inputs of a run that are no reports: holds, rewinds, outcomes, notes and the like."""

from __future__ import annotations

from datetime import datetime

from tamiyo_service.clock import to_micros
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.runs.snapshots import snapshot
from tamiyo_service.store.rows import Entry, InputKind


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
        state=snapshot(session.engine, after.state),
    )
