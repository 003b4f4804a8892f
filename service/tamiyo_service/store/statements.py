"""The questions the service asks of its tables, as SQLAlchemy Core statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    text,
)

from tamiyo_service.store.expired import RETIRED_MARK
from tamiyo_service.store.rows import DecisionKey
from tamiyo_service.store.schema import command_outcomes, journal, run_labels, runs

_ENTRY = [column for column in journal.columns if column.name != "id"]
_OUTCOME = [column for column in command_outcomes.columns if column.name != "id"]


_RUN_NAMED: Final = select(*runs.columns).where(runs.c.run_id == bindparam("run_id"))
_LAST_ENTRY_NAMED: Final = (
    select(*_ENTRY)
    .where(
        journal.c.run_pk
        == select(runs.c.run_pk).where(runs.c.run_id == bindparam("run_id")).scalar_subquery()
    )
    .order_by(journal.c.seq.desc())
    .limit(1)
)


def run_named(connection: Connection, run_id: str) -> Row[Any] | None:
    """The run of that id."""
    return connection.execute(_RUN_NAMED, {"run_id": run_id}).first()


def last_entry(run_pk: int) -> Select[Any]:
    """The latest input of a run."""
    return _entries(run_pk).order_by(journal.c.seq.desc()).limit(1)


def last_entry_named(connection: Connection, run_id: str) -> Row[Any] | None:
    """The latest input of the run of that id."""
    return connection.execute(_LAST_ENTRY_NAMED, {"run_id": run_id}).first()


def version(run_pk: int) -> Select[Any]:
    """The number of the latest input of a run, 0 before the first; no row without the run."""
    latest = select(func.max(journal.c.seq)).where(journal.c.run_pk == run_pk).scalar_subquery()
    return select(func.coalesce(latest, 0)).where(runs.c.run_pk == run_pk)


def entry_before(run_pk: int, seq: int) -> Select[Any]:
    """The input just before number `seq`."""
    return _entries(run_pk).where(journal.c.seq == seq - 1)


def report(key: DecisionKey) -> Select[Any]:
    """The report of one epoch of one attempt."""
    return _entries(key.run_pk).where(journal.c.epoch == key.epoch, journal.c.attempt == key.attempt)


def latest_report(run_pk: int, epoch: int) -> Select[Any]:
    """The report of that epoch in the latest attempt that has it."""
    wanted = _entries(run_pk).where(journal.c.epoch == epoch)
    return wanted.order_by(journal.c.attempt.desc()).limit(1)


def report_up_to(run_pk: int, attempt: int, epoch: int) -> Select[Any]:
    """The last report of an attempt whose epoch is at most `epoch`."""
    wanted = _entries(run_pk).where(journal.c.attempt == attempt, journal.c.epoch <= epoch)
    return wanted.order_by(journal.c.epoch.desc()).limit(1)


def rewinds(run_pks: Sequence[int]) -> Select[Any]:
    """Run, attempt and payload of every rewind of these runs."""
    wanted = select(journal.c.run_pk, journal.c.attempt, journal.c.payload)
    # Written out, not as a parameter: the partial index answers only to its own condition.
    is_rewind = journal.c.kind == literal_column("'rewind'")
    return wanted.where(journal.c.run_pk.in_(run_pks), is_rewind).order_by(journal.c.attempt)


def outcomes(keys: Sequence[DecisionKey]) -> Select[Any]:
    """Outcomes of the commands of these decisions."""
    # Joined, because SQLite looks through the whole table for an IN of several columns; written out, because
    # hundreds of parameters take SQLAlchemy longer than all the rest.
    rows = ", ".join(f"({int(key.run_pk)}, {int(key.attempt)}, {int(key.epoch)})" for key in keys)
    names = [column(f"column{number}", BigInteger) for number in (1, 2, 3)]
    asked = text(f"VALUES {rows}").columns(*names).cte("asked")
    same = (command_outcomes.c[name] == told for name, told in zip(DecisionKey._fields, asked.c, strict=True))
    chosen = select(*_OUTCOME).select_from(asked.join(command_outcomes, and_(*same)))
    return chosen.order_by(command_outcomes.c.id)


def last_entries(run_pks: Sequence[int]) -> Select[Any]:
    """The latest input of each of these runs."""
    latest = _latest(journal.alias().c)
    is_last = and_(journal.c.run_pk == runs.c.run_pk, journal.c.seq == latest)
    return select(*_ENTRY).select_from(runs.join(journal, is_last)).where(runs.c.run_pk.in_(run_pks))


def last_report_moments(run_pks: Sequence[int]) -> Select[Any]:
    """Run and moment of the last report of each of these runs; None without one."""
    return select(runs.c.run_pk, _last_report_moment()).where(runs.c.run_pk.in_(run_pks))


def acting_counts(run_pks: Sequence[int]) -> Select[Any]:
    """Run, action and number of the decisions of these runs that were no WAIT."""
    acting = journal.c.action != literal_column("'WAIT'")
    wanted = select(journal.c.run_pk, journal.c.action, func.count())
    return wanted.where(journal.c.run_pk.in_(run_pks), acting).group_by(journal.c.run_pk, journal.c.action)


def other_counts(run_pks: Sequence[int]) -> Select[Any]:
    """Run and number of its inputs that were no reports."""
    wanted = select(journal.c.run_pk, func.count())
    others = wanted.where(journal.c.run_pk.in_(run_pks), journal.c.epoch.is_(None))
    return others.group_by(journal.c.run_pk)


def labels(run_pks: Sequence[int]) -> Select[Any]:
    """Run, key and value of the labels of these runs."""
    wanted = select(run_labels.c.run_pk, run_labels.c.key, run_labels.c.value)
    return wanted.where(run_labels.c.run_pk.in_(run_pks)).order_by(run_labels.c.run_pk, run_labels.c.key)


def kept(run_pk: int) -> Select[Any]:
    """The key of a run, which then stays until the transaction ends; no row if it is retired or gone."""
    present = select(runs.c.run_pk).where(runs.c.run_pk == run_pk, is_present())
    # The same lock as of a row that refers to the run: only who takes the run out waits for it.
    return present.with_for_update(read=True, key_share=True)


def is_present() -> ColumnElement[bool]:
    """Whether a run is not on its way out; it cannot be found by its name anyway."""
    return ~runs.c.run_id.startswith(RETIRED_MARK)


def _entries(run_pk: int) -> Select[Any]:
    return select(*_ENTRY).where(journal.c.run_pk == run_pk)


def is_report() -> ColumnElement[bool]:
    """Whether an input is a report."""
    return journal.c.epoch.is_not(None)


def last_sign() -> ColumnElement[int]:
    """The moment of a run's last report, or of its creation."""
    return func.coalesce(_last_report_moment(), runs.c.created_at)


def _last_report_moment() -> ScalarSelect[int]:
    last = select(journal.c.at).where(journal.c.run_pk == runs.c.run_pk, is_report())
    return last.order_by(journal.c.seq.desc()).limit(1).correlate(runs).scalar_subquery()


def _latest(entry: Any) -> ScalarSelect[int]:
    latest = select(func.max(entry.seq)).where(entry.run_pk == runs.c.run_pk)
    return latest.correlate(runs).scalar_subquery()
