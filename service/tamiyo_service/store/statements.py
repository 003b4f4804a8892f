"""The questions the service asks of its tables, as SQLAlchemy Core statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select, tuple_

from tamiyo_service.store.expired import RETIRED_MARK
from tamiyo_service.store.rows import DecisionFilter, DecisionKey, RunFilter
from tamiyo_service.store.schema import command_outcomes, journal, run_labels, runs

Condition = Callable[[Any], ColumnElement[bool]]

_ENTRY = [column for column in journal.columns if column.name != "id"]
_OUTCOME = [column for column in command_outcomes.columns if column.name != "id"]


def run_named(run_id: str) -> Select[Any]:
    """The run of that id."""
    return select(*runs.columns).where(runs.c.run_id == run_id)


def last_entry(run_pk: int) -> Select[Any]:
    """The latest input of a run."""
    return _entries(run_pk).order_by(journal.c.seq.desc()).limit(1)


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
    decision = tuple_(command_outcomes.c.run_pk, command_outcomes.c.attempt, command_outcomes.c.epoch)
    return select(*_OUTCOME).where(decision.in_(keys)).order_by(command_outcomes.c.id)


def counts(run_pk: int) -> Select[Any]:
    """Decisions of a run by action."""
    wanted = select(journal.c.action, func.count()).where(journal.c.run_pk == run_pk, _is_report())
    return wanted.group_by(journal.c.action).order_by(journal.c.action)


def last_report_moment(run_pk: int) -> Select[Any]:
    """When the run last reported."""
    reports = select(journal.c.at).where(journal.c.run_pk == run_pk, _is_report())
    return reports.order_by(journal.c.seq.desc()).limit(1)


def decisions(wanted: DecisionFilter, limit: int) -> Select[Any]:
    """Decisions that pass the filter, in the order of their ids."""
    statement = select(journal.c.id, runs.c.run_id, *_ENTRY).join(runs, runs.c.run_pk == journal.c.run_pk)
    # Within one run numbers and ids rise together, and its index is by number.
    order = journal.c.id if wanted.run_pk is None else journal.c.seq
    statement = statement.where(*_decision_conditions(wanted, order))
    return statement.order_by(order.asc() if wanted.ascending else order.desc()).limit(limit)


def list_runs(wanted: RunFilter, limit: int) -> Select[Any]:
    """Runs that pass the filter, the newest first."""
    statement = select(*runs.columns).where(is_present(), *_run_conditions(wanted))
    return statement.order_by(runs.c.run_pk.desc()).limit(limit)


def is_present() -> ColumnElement[bool]:
    """Whether a run is not on its way out; it cannot be found by its name anyway."""
    return ~runs.c.run_id.startswith(RETIRED_MARK)


def _entries(run_pk: int) -> Select[Any]:
    return select(*_ENTRY).where(journal.c.run_pk == run_pk)


def _is_report() -> ColumnElement[bool]:
    return journal.c.epoch.is_not(None)


def _decision_conditions(wanted: DecisionFilter, order: ColumnElement[int]) -> list[ColumnElement[bool]]:
    column = journal.c
    bounds: list[tuple[int | str | None, Condition]] = [
        (wanted.run_pk, column.run_pk.__eq__),
        (wanted.since_epoch, column.epoch.__ge__),
        (wanted.until_epoch, column.epoch.__le__),
        (wanted.policy, column.policy.__eq__),
        (wanted.risk, column.risk.__eq__),
        (wanted.since, column.at.__ge__),
        (wanted.until, column.at.__lt__),
        (wanted.after, order.__gt__ if wanted.ascending else order.__lt__),
    ]
    present = [is_present()] if wanted.run_pk is None else []
    return [_is_report(), *present, *_chosen(bounds), *_action_conditions(wanted)]


def _chosen(bounds: list[tuple[int | str | None, Condition]]) -> list[ColumnElement[bool]]:
    return [condition(value) for value, condition in bounds if value is not None]


def _action_conditions(wanted: DecisionFilter) -> list[ColumnElement[bool]]:
    if not wanted.actions and not wanted.germinate:
        return []
    action = journal.c.action
    choices: list[ColumnElement[bool]] = [action.in_(sorted(wanted.actions))] if wanted.actions else []
    if wanted.germinate:
        choices.append(action.startswith("GERMINATE_", autoescape=True))
    # Written out, so that the index without the many WAITs may answer.
    acting = [] if "WAIT" in wanted.actions else [action != literal_column("'WAIT'")]
    return [*acting, or_(*choices)]


def _run_conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    bounds: list[tuple[int | str | None, Condition]] = [
        (wanted.before, runs.c.run_pk.__lt__),
        (wanted.policy, runs.c.policy.__eq__),
        (wanted.status, runs.c.status.__eq__),
        (wanted.silent_since, _last_sign().__le__),
    ]
    return [*(_has_label(key, value) for key, value in wanted.labels), *_chosen(bounds)]


def _has_label(key: str, value: str) -> ColumnElement[bool]:
    holders = select(run_labels.c.run_pk).where(run_labels.c.key == key, run_labels.c.value == value)
    return runs.c.run_pk.in_(holders)


def _last_sign() -> ColumnElement[int]:
    """The moment of a run's last report, or of its creation."""
    last = select(journal.c.at).where(journal.c.run_pk == runs.c.run_pk, _is_report())
    last = last.order_by(journal.c.seq.desc()).limit(1)
    return func.coalesce(last.correlate(runs).scalar_subquery(), runs.c.created_at)
