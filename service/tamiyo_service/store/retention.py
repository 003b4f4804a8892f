"""How expired runs are found, taken out and erased, as SQLAlchemy Core on one connection.

A run may have a hundred thousand inputs, too many to delete in one transaction while others wait to be
written. So it is retired first, in one small transaction that checks that nothing has reached it: it gets a
name that no request can have, and a last input whose number makes every process that still has the run in
memory meet a conflict and look it up again, in vain. Then it is erased in slices, the oldest inputs first and
the latest together with the run itself, so that the numbers a late writer might take stay taken to the end.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, and_, delete, false, func, insert, or_, select, update
from tamiyo_leyline import RunStatus

from tamiyo_service.store import statements
from tamiyo_service.store.expired import (
    RETIRED_MARK,
    Belonging,
    Cutoffs,
    Expired,
    ExpiredPage,
    Retired,
    former_name,
    retired_name,
)
from tamiyo_service.store.rows import ClientDecisionRow, Entry, InputKind, OutcomeRow, RunRow, run_of
from tamiyo_service.store.schema import client_decisions, command_outcomes, journal, runs, shadow_decisions

AT_ONCE_ROWS: Final = 500
"""Rows that a run may have of each kind, and all together, to be deleted in one transaction."""
_TABLES: Final[dict[type[Any], Table]] = {
    Entry: journal,
    OutcomeRow: command_outcomes,
    ClientDecisionRow: client_decisions,
}


def expired(connection: Connection, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
    """The expired ones among the `limit` runs that come after run `after`."""
    window = select(runs.c.run_pk).where(runs.c.run_pk > after).order_by(runs.c.run_pk).limit(limit)
    last = connection.execute(select(func.max(window.subquery().c.run_pk))).scalar()
    if last is None:
        return ExpiredPage((), None)
    rows = connection.execute(_expired(cutoffs, after, last)).all()
    return ExpiredPage(tuple(_found(*row) for row in rows), last)


def retire(connection: Connection, expired: Expired, at: int, *, to_archive: bool) -> bool:
    """Take a run out, if it still is as it was when it was looked at; whether it was."""
    run = expired.run
    # Inserts of other processes take a lock on the run: once this has it, what is counted stays true.
    lock = select(runs.c.run_id).where(runs.c.run_pk == run.run_pk).with_for_update()
    if connection.execute(lock).scalar() != run.run_id:
        return False
    found = connection.execute(select(_seq(run.run_pk), _client_decisions(run.run_pk))).one()
    if tuple(found) != (expired.seq, expired.client_decisions):
        return False
    _take_out(connection, run, expired.seq, at, to_archive=to_archive)
    return True


def remove(connection: Connection, run_pk: int, at: int) -> bool:
    """Delete a run that has few rows, retire one that has many; whether it is retired."""
    lock = select(*runs.columns).where(runs.c.run_pk == run_pk).with_for_update()
    row = connection.execute(lock).first()
    if row is None:
        return False
    run = run_of(row)
    tables = (*_TABLES.values(), shadow_decisions)
    rows = sum(_count_up_to(connection, table, run_pk, AT_ONCE_ROWS + 1) for table in tables)
    if rows <= AT_ONCE_ROWS:
        connection.execute(delete(runs).where(runs.c.run_pk == run_pk))
    elif not run.run_id.startswith(RETIRED_MARK):
        seq = connection.execute(select(_seq(run_pk))).scalar_one()
        _take_out(connection, run, seq, at, to_archive=False)
    return rows > AT_ONCE_ROWS


def retired(connection: Connection, before: int, limit: int) -> list[Retired]:
    """Runs that were retired before a moment and are not yet gone."""
    wanted = (
        select(*runs.columns, journal.c.payload)
        .join(journal, journal.c.run_pk == runs.c.run_pk)
        # The first condition follows from the second, and lets an index answer.
        .where(runs.c.run_id >= RETIRED_MARK, runs.c.run_id.startswith(RETIRED_MARK))
        .where(journal.c.kind == InputKind.PRUNE, journal.c.at < before)
        .order_by(runs.c.run_pk)
        .limit(limit)
    )
    return [_retired(*row) for row in connection.execute(wanted)]


def erase(connection: Connection, run_pk: int, rows: int) -> int:
    """Delete about `rows` rows of a retired run, and the run itself when no more than twice as many are left.

    Returns:
        How many were deleted; 0: the run is gone.
    """
    for table in (shadow_decisions, command_outcomes, client_decisions):
        if erased := _erase_oldest(connection, table, run_pk, rows):
            return erased
    left = _count_up_to(connection, journal, run_pk, 2 * rows + 1)
    if left > 2 * rows:
        return _erase_oldest(connection, journal, run_pk, rows)
    gone = connection.execute(delete(runs).where(runs.c.run_pk == run_pk)).rowcount
    return left + gone


def belongings(
    connection: Connection, kind: type[Belonging], run_pk: int, after: int, limit: int
) -> list[tuple[int, Belonging]]:
    """Rows of a run with their positions, those after a position, in order; the input of `retire` is none."""
    table = _TABLES[kind]
    order = _order(table)
    columns = [column for column in table.columns if column.name != "id"]
    wanted = select(order.label("position"), *columns).where(table.c.run_pk == run_pk, order > after)
    if table is journal:
        wanted = wanted.where(journal.c.kind != InputKind.PRUNE)
    found = connection.execute(wanted.order_by(order).limit(limit))
    return [(row[0], kind._make(row[1:])) for row in found]


def _expired(cutoffs: Cutoffs, after: int, last: int) -> Select[Any]:
    seq = select(func.max(journal.c.seq)).where(journal.c.run_pk == runs.c.run_pk)
    reached = (
        select(journal.c.at).where(journal.c.run_pk == runs.c.run_pk).order_by(journal.c.seq.desc()).limit(1)
    )
    told = select(func.max(client_decisions.c.at)).where(client_decisions.c.run_pk == runs.c.run_pk)
    clients = select(func.count()).where(client_decisions.c.run_pk == runs.c.run_pk)
    looked = (
        select(
            *runs.columns,
            func.coalesce(seq.correlate(runs).scalar_subquery(), 0).label("seq"),
            clients.correlate(runs).scalar_subquery().label("client_decisions"),
            func.coalesce(reached.correlate(runs).scalar_subquery(), runs.c.created_at).label("last_at"),
            func.coalesce(told.correlate(runs).scalar_subquery(), runs.c.created_at).label("told_at"),
        )
        .where(runs.c.run_pk > after, runs.c.run_pk <= last, runs.c.created_at <= cutoffs.latest)
        .where(statements.is_present())
        .subquery()
    )
    column = looked.c
    completed = column.status == RunStatus.COMPLETED
    due = [
        and_(of_status, column.last_at <= moment, column.told_at <= moment)
        for of_status, moment in ((completed, cutoffs.completed), (~completed, cutoffs.silent))
        if moment is not None
    ]
    return select(looked).where(or_(false(), *due)).order_by(column.run_pk)


def _seq(run_pk: int) -> Any:
    latest = select(func.max(journal.c.seq)).where(journal.c.run_pk == run_pk)
    return func.coalesce(latest.scalar_subquery(), 0)


def _client_decisions(run_pk: int) -> Any:
    return select(func.count()).where(client_decisions.c.run_pk == run_pk).scalar_subquery()


def _take_out(connection: Connection, run: RunRow, seq: int, at: int, *, to_archive: bool) -> None:
    renamed = update(runs).where(runs.c.run_pk == run.run_pk).values(run_id=retired_name(run))
    connection.execute(renamed)
    last = connection.execute(statements.last_entry(run.run_pk)).first()
    last_input = _last_input(run.run_pk, seq, None if last is None else Entry._make(last), at, to_archive)
    connection.execute(insert(journal).values(last_input._asdict()))


def _last_input(run_pk: int, seq: int, last: Entry | None, at: int, to_archive: bool) -> Entry:
    """A retired run's last input; like the one before it in all that may still be read."""
    return Entry(
        run_pk=run_pk,
        seq=seq + 1,
        kind=InputKind.PRUNE,
        attempt=0 if last is None else last.attempt,
        epoch=None,
        at=at,
        action=None,
        risk=None,
        policy=None,
        backfill=False,
        hold=None if last is None else last.hold,
        warnings=None,
        events=None,
        payload=json.dumps({"archive": to_archive}),
        reply=None,
        state="" if last is None else last.state,
        override=None if last is None else last.waiting_override,
    )


def _found(*columns: Any) -> Expired:
    *run, seq, told, last_at, told_at = columns
    return Expired(run_of(run), seq, told, max(last_at, told_at))


def _retired(*columns: Any) -> Retired:
    *run, payload = columns
    row = run_of(run)
    return Retired(row._replace(run_id=former_name(row.run_id)), json.loads(payload)["archive"])


def _order(table: Table) -> Any:
    """Within one run, what rises from row to row."""
    return table.c.seq if table is journal else table.c.id


def _erase_oldest(connection: Connection, table: Table, run_pk: int, rows: int) -> int:
    oldest = select(table.c.id).where(table.c.run_pk == run_pk)
    if table is journal:
        oldest = oldest.order_by(journal.c.seq)
    # Two processes may erase the same run.
    chosen = oldest.limit(rows).with_for_update(skip_locked=True)
    return connection.execute(delete(table).where(table.c.id.in_(chosen))).rowcount


def _count_up_to(connection: Connection, table: Table, run_pk: int, limit: int) -> int:
    some = select(table.c.id).where(table.c.run_pk == run_pk).limit(limit).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()
