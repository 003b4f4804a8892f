"""Dropping from memory what the store has no more."""

from __future__ import annotations

from tamiyo_service.runs.session import Sessions
from tamiyo_service.store.rows import RunRow


async def forget(sessions: Sessions, run: RunRow) -> None:
    """Make sure that a run which was taken out of the store is not answered for from memory.

    Awaits the run's turn, so that a session in use, or just being read, is caught too. Looking for a run that
    is not in memory costs one question to the store, which finds nothing.
    """
    session = await sessions.turn(run.run_id)
    if session is None:
        return
    # A run of the same name may have begun meanwhile.
    if session.run_pk == run.run_pk:
        sessions.forget(session)
    sessions.release(session)
