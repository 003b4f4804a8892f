"""A write that leaves nothing behind: whether the database takes writes again is known only by writing."""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import Connection, delete, insert
from tamiyo_leyline import RunStatus

from tamiyo_service.store.dialect import insert_rows
from tamiyo_service.store.expired import RETIRED_MARK
from tamiyo_service.store.rows import Entry, InputKind
from tamiyo_service.store.schema import journal, runs

_CHARACTERS: Final = 32_768
"""Of the trial's input: a few pages more than a full file has, and room for several reports."""


def try_to_write(connection: Connection) -> None:
    """Within a transaction: add a run with an input, where the service's own go, and delete both.

    Nobody ever sees them. The commit writes to the disk all the same: it has to be part of the trial, for
    SQLite looks for room on the disk only then.
    """
    # Random, so that PostgreSQL does not compress it and replicas do not wait for each other.
    run_id = f"{RETIRED_MARK}{secrets.token_hex(8)}"
    values = {"config": "{}", "rules_version": "", "policy": "", "created_at": 0}
    added = insert(runs).values(run_id=run_id, status=RunStatus.ACTIVE.value, **values)
    run_pk = connection.execute(added.returning(runs.c.run_pk)).scalar_one()
    insert_rows(connection, journal, [_entry(run_pk)])
    connection.execute(delete(runs).where(runs.c.run_pk == run_pk))


def _entry(run_pk: int) -> Entry:
    return Entry(
        run_pk=run_pk,
        seq=1,
        kind=InputKind.NOTE,
        attempt=0,
        epoch=None,
        at=0,
        action=None,
        risk=None,
        policy=None,
        backfill=False,
        hold=None,
        warnings=None,
        events=None,
        payload=secrets.token_hex(_CHARACTERS // 2),
        reply=None,
        state="",
    )
