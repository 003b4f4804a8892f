"""What runs have done so far, for many runs at once: a few statements, however many decisions they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from tamiyo_service.store import statements
from tamiyo_service.store.rows import Overview, entry_of

_WAIT: Final = "WAIT"


def overviews(connection: Connection, run_pks: Sequence[int]) -> dict[int, Overview]:
    """Overviews of these runs, by run.

    Nobody counts the many WAITs: the inputs of a run are numbered, so they are what the others leave.
    """
    lasts = {row.run_pk: entry_of(row) for row in connection.execute(statements.last_entries(run_pks))}
    reported = dict(map(tuple, connection.execute(statements.last_report_moments(run_pks))))
    others = dict(map(tuple, connection.execute(statements.other_counts(run_pks))))
    counts: dict[int, dict[str, int]] = {run_pk: {} for run_pk in run_pks}
    for run_pk, action, count in connection.execute(statements.acting_counts(run_pks)):
        counts[run_pk][action] = count
    for run_pk, last in lasts.items():
        waits = last.seq - others.get(run_pk, 0) - sum(counts[run_pk].values())
        if waits:
            counts[run_pk][_WAIT] = waits
    return {
        run_pk: Overview(lasts.get(run_pk), reported.get(run_pk), dict(sorted(counts[run_pk].items())))
        for run_pk in run_pks
    }
