"""Pages of the lists, on one connection: decisions of all runs or of one, and runs.

No index knows every combination of filters, and a filter may match next to nothing. So a page looks at a
bounded number of rows, along the index that leaves the fewest: it holds what matched among them, and tells
where the search goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal_column, select, tuple_

from tamiyo_service.store.prefixes import begins_with
from tamiyo_service.store.rows import (
    DecisionFilter,
    DecisionRow,
    Found,
    Position,
    RunFilter,
    RunRow,
    entry_of,
    run_of,
)
from tamiyo_service.store.schema import journal, runs
from tamiyo_service.store.statements import is_present, is_report
from tamiyo_service.store.ways import (
    Way,
    by_itself,
    decision_checks,
    run_checks,
    way_to_named,
    ways_to_decisions,
    ways_to_runs,
    ways_within_run,
)

LOOKED_AT: Final = 5_000
"""Entries that a page looks at, where the index tells all that has to be checked."""
LOOKED_AT_IN_ROWS: Final = 1_000
"""Entries that a page looks at, where their rows have to be read: they may be scattered over the file."""
RUNS_LOOKED_AT: Final = 200
"""Runs that a page looks at, perhaps each with its last report, a page of the file again."""
FEW: Final = 5_000
"""Entries stored between two pages among which latecomers are looked for one by one."""
LATE_MICROS: Final = 60_000_000
"""Where there are more: how long after its moment a decision may be stored and still be met by who goes
forward. That is far longer than a write waits, and than clocks differ that are kept right."""

_ENTRY: Final = [column for column in journal.columns if column.name != "id"]


class _Rows(NamedTuple):
    """What to take along a way.

    Attributes:
        columns: of each row, the way's order first.
        checks: what a row has to meet.
        seldom: the same, where so few rows fail that nobody looks out for them.
    """

    columns: tuple[ColumnElement[Any], ...]
    checks: Sequence[ColumnElement[bool]]
    seldom: Sequence[ColumnElement[bool]]


class Walk(NamedTuple):
    """How to go along a way.

    Attributes:
        ascending: in which direction.
        after: position of the last item of the page before.
        looked_at: rows to look at, at most.
    """

    ascending: bool
    after: Position | None
    looked_at: int

    def along(self, way: Way, *columns: Any, last: Position | None = None) -> Select[Any]:
        """What lies along a way, from the page before on, up to a last position.

        Each end has one condition, the closest: SQLite begins at one of several, and not always at that.
        """
        begin, end = (way.since, way.until) if self.ascending else (way.until, way.since)
        if self.after is not None:
            keys, values = tuple_(*way.order), tuple_(*self.after)
            begin = keys > values if self.ascending else keys < values
        if last is not None:
            keys, values = tuple_(*way.order), tuple_(*last)
            end = keys <= values if self.ascending else keys >= values
        ends = [condition for condition in (begin, end) if condition is not None]
        statement = select(*columns).select_from(way.source).where(*way.conditions, *ends)
        return statement.order_by(*(key.asc() if self.ascending else key.desc() for key in way.order))


def decisions(
    connection: Connection, wanted: DecisionFilter, limit: int, settled: int | None = None
) -> Found[DecisionRow]:
    """Decisions that pass the filter: of all runs by the moment decided, of one run by their number.

    What several processes decide is not stored in the order of its moments. Who goes forward through all runs
    meets such latecomers at the beginning of the next page: a position tells up to which id everything has
    been seen.

    Args:
        connection: of a reader.
        wanted: the filter.
        limit: size of the page.
        settled: for a list of all runs that goes forward: all entries with lower ids can be seen.
    """
    if settled is None:
        found = _decisions(connection, wanted, limit, [])
        return Found(_named(connection, wanted, found.rows), found.resume)
    late: list[Row[Any]] = []
    if wanted.after is not None:
        *position, seen = wanted.after
        wanted = replace(wanted, after=tuple(position))
        late = _latecomers(connection, wanted, limit, seen, settled)
        if len(late) == limit:
            return Found(_named(connection, wanted, late), (*position, late[-1].id + 1))
    found = _decisions(connection, wanted, limit - len(late), [journal.c.id < settled])
    rows = _named(connection, wanted, [*late, *found.rows])
    return Found(rows, None if found.resume is None else (*found.resume, settled))


def decisions_below(
    connection: Connection, wanted: DecisionFilter, limit: int, below: int
) -> Found[DecisionRow]:
    """The same pages of what was there at one moment, whatever is stored meanwhile.

    Args:
        connection: of a reader.
        wanted: the filter.
        limit: size of the page.
        below: what was settled at that moment; entries from this id on are left out.
    """
    found = _decisions(connection, wanted, limit, [by_itself(journal.c.id) < below])
    return Found(_named(connection, wanted, found.rows), found.resume)


def decision_counts(connection: Connection, wanted: DecisionFilter) -> dict[str, int]:
    """How many decisions of one run pass the filter, by action: a look at each of its inputs at most."""
    (way,) = ways_within_run(wanted)
    checks = way.unanswered(decision_checks(wanted)).values()
    action = journal.c.action
    counted = select(action, func.count()).where(*way.conditions, is_report(), *checks).group_by(action)
    return dict(sorted((str(name), int(count)) for name, count in connection.execute(counted)))


def _decisions(
    connection: Connection, wanted: DecisionFilter, limit: int, rare: Sequence[ColumnElement[bool]]
) -> Found[Row[Any]]:
    walk = Walk(wanted.ascending, wanted.after, LOOKED_AT)
    if wanted.run_pk is None:
        way = _best(connection, walk, ways_to_decisions(wanted))
    else:
        way = _best(connection, walk, ways_within_run(wanted))
    checks = way.unanswered(decision_checks(wanted))
    if not checks.keys() <= way.holds:
        walk = walk._replace(looked_at=LOOKED_AT_IN_ROWS)
    rows = _Rows((*way.order, *_ENTRY), list(checks.values()), [is_report(), *rare])
    return _page(connection, walk, way, rows, limit)


def _latecomers(
    connection: Connection, wanted: DecisionFilter, limit: int, seen: int, settled: int
) -> list[Row[Any]]:
    """What has been stored since the page before although it was decided before the end of that page."""
    assert wanted.after is not None
    at, number = journal.c.at, journal.c.id
    new = (number >= seen, number < settled)
    if settled - seen <= FEW:
        # However far a clock was set back.
        passed = [tuple_(by_itself(at), number) <= tuple_(*wanted.after)]
    else:
        passed = [at > wanted.after[0] - LATE_MICROS, tuple_(at, number) <= tuple_(*wanted.after)]
    statement = select(at, number, *_ENTRY).where(is_report(), *passed, *new)
    statement = statement.where(*decision_checks(wanted).values())
    return list(connection.execute(statement.order_by(number).limit(limit)))


def _named(connection: Connection, wanted: DecisionFilter, rows: Sequence[Row[Any]]) -> list[DecisionRow]:
    """The rows with their runs' ids, without those of runs that are gone."""
    names = _names(connection, sorted({row.run_pk for row in rows}))
    width = 2 if wanted.run_pk is None else 1
    return [
        DecisionRow(tuple(row[:width]), names[row.run_pk], entry_of(row[width:]))
        for row in rows
        if row.run_pk in names
    ]


def list_runs(connection: Connection, wanted: RunFilter, limit: int) -> Found[RunRow]:
    """Runs that pass the filter, the newest first."""
    walk = Walk(False, wanted.after, RUNS_LOOKED_AT)
    if wanted.prefixes and _are_few(connection, wanted.prefixes):
        way = way_to_named(wanted.prefixes)
    else:
        way = _best(connection, walk, ways_to_runs(wanted))
    checks = way.unanswered(run_checks(wanted))
    if checks.keys() == {"prefixes"}:
        walk = walk._replace(looked_at=LOOKED_AT)
    rows = _Rows((*way.order, *runs.columns), list(checks.values()), [is_present()])
    found = _page(connection, walk, way, rows, limit)
    return Found([run_of(row[1:]) for row in found.rows], found.resume)


def _are_few(connection: Connection, prefixes: tuple[str, ...]) -> bool:
    """Whether so few runs have such ids that they may be sorted."""
    named: Select[Any] = select(literal_column("1")).where(begins_with(runs.c.run_id, prefixes))
    counted = select(func.count()).select_from(named.limit(LOOKED_AT).subquery())
    return int(connection.execute(counted).scalar_one()) < LOOKED_AT


def _best(connection: Connection, walk: Walk, ways: Sequence[Way]) -> Way:
    """The way with the fewest rows, as far as they are counted; of equals the first."""
    if len(ways) == 1:
        return ways[0]
    lengths = []
    for way in ways:
        rows = walk.along(way, way.order[-1]).limit(walk.looked_at).subquery()
        lengths.append(connection.execute(select(func.count()).select_from(rows)).scalar_one())
    return ways[lengths.index(min(lengths))]


def _page(connection: Connection, walk: Walk, way: Way, wanted: _Rows, limit: int) -> Found[Row[Any]]:
    """The wanted rows along a way."""
    last = _last_to_look_at(connection, walk, way) if wanted.checks else None
    statement = walk.along(way, *wanted.columns, last=last).where(*wanted.checks, *wanted.seldom)
    rows = list(connection.execute(statement.limit(limit + 1)))
    if len(rows) > limit:
        rows = rows[:limit]
        last = tuple(rows[-1][: len(way.order)])
    return Found(rows, last)


def _last_to_look_at(connection: Connection, walk: Walk, way: Way) -> Position | None:
    """Where the search of one page ends; None: at the end of everything."""
    farthest = walk.along(way, *way.order).offset(walk.looked_at - 1).limit(1)
    row = connection.execute(farthest).first()
    return None if row is None else tuple(row)


def _names(connection: Connection, run_pks: Sequence[int]) -> dict[int, str]:
    """The runs' ids by their keys; of runs that are there."""
    if not run_pks:
        return {}
    named = select(runs.c.run_pk, runs.c.run_id).where(runs.c.run_pk.in_(run_pks), is_present())
    return {row.run_pk: row.run_id for row in connection.execute(named)}
