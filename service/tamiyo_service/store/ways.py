"""Ways through the tables: which index answers which of a list's filters.

A condition that belongs to a partial index is written out, as a literal: such an index answers only to the
very words. A condition that is left to be checked is written so that no index is taken for its sake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, FromClause, exists, func, literal_column, or_, select
from tamiyo_leyline import PolicyChoice, RiskLevel

from tamiyo_service.store.prefixes import begins_with
from tamiyo_service.store.rows import DecisionFilter, RunFilter
from tamiyo_service.store.schema import LABEL_HEAD, journal, run_labels, runs
from tamiyo_service.store.statements import is_report, last_sign

Check = ColumnElement[bool]
Checks = Mapping[str, Check]

_WAIT: Final = "WAIT"
_ACTING: Final = journal.c.action != literal_column("'WAIT'")
_DEFAULT_POLICY: Final = PolicyChoice().name
_OTHER_POLICY: Final = journal.c.policy != literal_column("'heuristic'")
_AT_RISK: Final = journal.c.risk > literal_column(str(int(RiskLevel.GREEN)))
_ACTION: Final = frozenset({"action"})
_EPOCHS: Final = frozenset({"since_epoch", "until_epoch"})
_BY_MOMENT: Final = (journal.c.at, journal.c.id)
_BY_NUMBER: Final = (journal.c.seq,)


class Way(NamedTuple):
    """An index to go along.

    Attributes:
        source: tables it leads through.
        order: columns that tell the list's order.
        conditions: what narrows it down.
        answers: which of the filter's parts are met by that.
        holds: which others can be told from the index alone.
        since, until: the moments' bounds, where the order is by moment.
    """

    source: FromClause
    order: tuple[ColumnElement[Any], ...]
    conditions: tuple[Check, ...] = ()
    answers: frozenset[str] = frozenset()
    holds: frozenset[str] = frozenset()
    since: Check | None = None
    until: Check | None = None

    def unanswered(self, checks: Checks) -> Checks:
        """What remains to be checked row by row."""
        return {part: check for part, check in checks.items() if part not in self.answers}


def ways_to_decisions(wanted: DecisionFilter) -> list[Way]:
    """Ways to decisions of all runs, in the order of the moments decided."""
    found = list(_ways_by_action(wanted))
    if wanted.risk is not None and wanted.risk > RiskLevel.GREEN:
        found.append(_by_moment((journal.c.risk == wanted.risk, _AT_RISK), "risk"))
    if wanted.policy not in (None, _DEFAULT_POLICY):
        found.append(_by_moment((journal.c.policy == wanted.policy, _OTHER_POLICY), "policy"))
    if not found:
        found.append(_by_moment((is_report(),), holds=_EPOCHS))
    since = None if wanted.since is None else journal.c.at >= wanted.since
    until = None if wanted.until is None else journal.c.at < wanted.until
    return [way._replace(since=since, until=until) for way in found]


def ways_within_run(wanted: DecisionFilter) -> list[Way]:
    """Ways to the decisions of one run, in the order of their numbers."""
    of_run = journal.c.run_pk == wanted.run_pk
    if _only_acting(wanted):
        return [Way(journal, _BY_NUMBER, (of_run, _ACTING), holds=_ACTION)]
    return [Way(journal, _BY_NUMBER, (of_run,))]


def ways_to_runs(wanted: RunFilter) -> list[Way]:
    """Ways to runs, in the order of their creation."""
    found = [
        Way(
            run_labels.join(runs, runs.c.run_pk == run_labels.c.run_pk),
            (run_labels.c.run_pk,),
            _is_label(run_labels.c, key, value),
            frozenset({f"label {key}:{value}"}),
        )
        for key, value in wanted.labels
    ]
    order = (runs.c.run_pk,)
    if wanted.status is not None:
        found.append(Way(runs, order, (runs.c.status == wanted.status,), frozenset({"status"})))
    if wanted.policy is not None:
        found.append(Way(runs, order, (runs.c.policy == wanted.policy,), frozenset({"policy"})))
    return found or [Way(runs, order)]


def decision_checks(wanted: DecisionFilter) -> Checks:
    """The filter's parts, each to be checked on a row."""
    column = journal.c
    epoch, action = by_itself(column.epoch), by_itself(column.action)
    choices: list[Check] = [action.in_(sorted(wanted.actions))] if wanted.actions else []
    if wanted.germinate:
        choices.append(action.startswith("GERMINATE_", autoescape=True))
    moments = list(_moments(wanted, by_itself(column.at)))
    checks = _chosen(
        {
            "since_epoch": (wanted.since_epoch, epoch.__ge__),
            "until_epoch": (wanted.until_epoch, epoch.__le__),
            "policy": (wanted.policy, by_itself(column.policy).__eq__),
            "risk": (wanted.risk, by_itself(column.risk).__eq__),
        }
    )
    if choices:
        checks["action"] = or_(*choices)
    if wanted.prefixes:
        checks["prefixes"] = _of_runs(wanted.prefixes)
    if moments:
        checks["moments"] = moments[0] if len(moments) == 1 else moments[0] & moments[1]
    return checks


def run_checks(wanted: RunFilter) -> Checks:
    """The filter's parts, each to be checked on a run."""
    checks = _chosen(
        {
            "status": (wanted.status, by_itself(runs.c.status).__eq__),
            "policy": (wanted.policy, by_itself(runs.c.policy).__eq__),
            "silent": (wanted.silent_since, last_sign().__le__),
        }
    )
    if wanted.prefixes:
        checks["prefixes"] = begins_with(by_itself(runs.c.run_id), wanted.prefixes)
    return checks | {f"label {key}:{value}": _has_label(key, value) for key, value in wanted.labels}


def _ways_by_action(wanted: DecisionFilter) -> Iterator[Way]:
    if not _only_acting(wanted):
        return
    if len(wanted.actions) == 1 and not wanted.germinate:
        (action,) = wanted.actions
        yield _by_moment((journal.c.action == action, _ACTING), "action")
    else:
        yield _by_moment((_ACTING,), holds=_ACTION)


def _by_moment(conditions: tuple[Check, ...], *answers: str, holds: frozenset[str] = frozenset()) -> Way:
    return Way(journal, _BY_MOMENT, conditions, frozenset({*answers, "moments"}), holds)


def _only_acting(wanted: DecisionFilter) -> bool:
    """Whether none of the many WAITs is asked for."""
    return (wanted.germinate or bool(wanted.actions)) and _WAIT not in wanted.actions


def _moments(wanted: DecisionFilter, at: ColumnElement[int]) -> Iterator[Check]:
    if wanted.since is not None:
        yield at >= wanted.since
    if wanted.until is not None:
        yield at < wanted.until


def _chosen(parts: Mapping[str, tuple[int | str | None, Callable[[Any], Check]]]) -> dict[str, Check]:
    return {part: check(value) for part, (value, check) in parts.items() if value is not None}


def by_itself(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column's value, which no index answers for."""
    return func.coalesce(column, literal_column("NULL"), type_=column.type)


def _of_runs(prefixes: tuple[str, ...]) -> Check:
    of_entry = runs.c.run_pk == journal.c.run_pk
    named = select(runs.c.run_pk).where(of_entry, begins_with(by_itself(runs.c.run_id), prefixes))
    return exists(named.correlate(journal))


def way_to_named(prefixes: tuple[str, ...]) -> Way:
    """The way to runs by the beginnings of their ids: right where these are few, for they are sorted."""
    named = (begins_with(runs.c.run_id, prefixes),)
    return Way(runs, (by_itself(runs.c.run_pk),), named, frozenset({"prefixes"}))


def _has_label(key: str, value: str) -> Check:
    held = run_labels.alias()
    of_run = held.c.run_pk == runs.c.run_pk
    return exists(select(held.c.run_pk).where(of_run, *_is_label(held.c, key, value)))


def _is_label(column: Any, key: str, value: str) -> tuple[Check, ...]:
    # The head is what PostgreSQL has an index on.
    head = func.substr(column.value, literal_column("1"), literal_column(str(LABEL_HEAD)))
    return (column.key == key, column.value == value, head == value[:LABEL_HEAD])
