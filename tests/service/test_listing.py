"""Pages of lists: every filter is answered along an index, and none makes a page look at everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tamiyo_leyline import RunStatus
from tamiyo_service.store import SqlStore, listing
from tamiyo_service.store.dialect import Database, database_at
from tamiyo_service.store.migrate import upgrade
from tamiyo_service.store.overviews import overviews
from tamiyo_service.store.rows import DecisionFilter, DecisionKey, RunFilter
from tamiyo_service.store.statements import outcomes

from tests.service.conftest import sql_store
from tests.service.test_store import append, create, entry

CULL = frozenset({"CULL"})
MANY = frozenset({"CULL", "FOSSILIZE"})
LABEL = ("team", "vision")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = database_at(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    upgrade(database)
    yield database
    database.dispose()


def plans(database: Database, ask: Any) -> list[str]:
    """SQLite's own words on how it answers each statement of a question."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    with database.readers.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        ask(connection)
        event.remove(connection, "before_cursor_execute", note)
        return [
            " | ".join(
                row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            )
            for statement, values in asked
        ]


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "ix_journal_moments"),
        ({"since": 1, "until": 2}, "ix_journal_moments (at>? AND at<?)"),
        ({"since_epoch": 1}, "ix_journal_moments"),
        ({"risk": 1}, "ix_journal_moments"),
        ({"actions": frozenset({"WAIT", "CULL"})}, "ix_journal_moments"),
        ({"actions": CULL}, "ix_journal_actions (action=?"),
        ({"actions": CULL, "until": 5}, "ix_journal_actions (action=? AND at<?"),
        ({"actions": MANY}, "ix_journal_acting"),
        ({"germinate": True}, "ix_journal_acting"),
        ({"risk": 4}, "ix_journal_risks (risk=?"),
        ({"policy": "learned"}, "ix_journal_policies (policy=?"),
        ({"policy": "learned", "since": 1}, "ix_journal_policies (policy=? AND at>?"),
        ({"run_pk": 1}, "sqlite_autoindex_journal_1 (run_pk=?"),
        (
            {"run_pk": 1, "policy": "learned", "since": 1, "since_epoch": 7},
            "sqlite_autoindex_journal_1 (run_pk=?",
        ),
        ({"run_pk": 1, "actions": CULL}, "ix_journal_acting_runs (run_pk=?"),
    ],
)
def test_decisions_are_listed_along_an_index(
    database: Database, wanted: dict[str, Any], index: str, ascending: bool
) -> None:
    first = DecisionFilter(**wanted, ascending=ascending)
    next_one = replace(first, after=(3,) if "run_pk" in wanted else (3, 3))
    answers = plans(database, lambda connection: listing.decisions(connection, first, 10))
    assert any(index in answer for answer in answers)
    answers += plans(database, lambda connection: listing.decisions(connection, next_one, 10))
    assert [answer for answer in answers if index.split(" (")[0] not in answer] == []
    assert [answer for answer in answers if "TEMP B-TREE" in answer] == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "SCAN runs"),
        ({"silent_since": 5}, "SCAN runs"),
        ({"labels": (LABEL,)}, "ix_run_labels_value (key=? AND value=?"),
        ({"status": RunStatus.HELD}, "ix_runs_status (status=?"),
        ({"policy": "learned"}, "ix_runs_policy (policy=?"),
    ],
)
def test_runs_are_listed_along_an_index(database: Database, wanted: dict[str, Any], index: str) -> None:
    for position in (None, (3,)):
        asked = RunFilter(**wanted, after=position)
        for answer in plans(database, lambda connection: listing.list_runs(connection, asked, 10)):  # noqa: B023 - used at once
            assert index in answer or "SEARCH runs USING INTEGER PRIMARY KEY (rowid<?)" in answer
            assert "TEMP B-TREE" not in answer


def test_overviews_read_no_decision_but_the_last(database: Database) -> None:
    for answer in plans(database, lambda connection: overviews(connection, [1, 2])):
        assert "SCAN" not in answer.replace("SCAN runs USING", "")


def test_outcomes_are_looked_up_by_their_decisions(database: Database) -> None:
    keys = [DecisionKey(run_pk, 0, 7) for run_pk in range(100)]
    (answer,) = plans(database, lambda connection: connection.execute(outcomes(keys)).all())
    assert "ix_command_outcomes_decision (run_pk=? AND attempt=? AND epoch=?)" in answer


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = sql_store(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("within_run", [False, True])
async def test_a_page_looks_at_some_of_the_decisions_and_tells_where_to_go_on(
    store: SqlStore, within_run: bool, ascending: bool
) -> None:
    run = await create(store)
    bound = listing.LOOKED_AT_IN_ROWS if within_run else listing.LOOKED_AT
    sought = 3 if ascending is False else bound + 5
    entries = [entry(run, seq, seq, risk=4 if seq == sought else 1) for seq in range(1, bound + 8)]
    await append(store, *entries)
    run_pk = run.run_pk if within_run else None
    # A condition that no index answers: epochs are in no order that a list has.
    wanted = DecisionFilter(run_pk=run_pk, since_epoch=sought, until_epoch=sought, ascending=ascending)
    first = await store.decisions(wanted, 10)
    assert first.rows == []
    assert first.resume is not None
    second = await store.decisions(replace(wanted, after=first.resume), 10)
    assert [row.entry.seq for row in second.rows] == [sought]
    assert second.resume is None


async def test_a_page_looks_at_some_of_the_runs_and_tells_where_to_go_on(store: SqlStore) -> None:
    await create(store, "old")
    others = (f"young-{number}" for number in range(listing.RUNS_LOOKED_AT + 2))
    await asyncio.gather(*(create(store, name, created_at=1000) for name in others))
    wanted = RunFilter(silent_since=500)
    first = await store.runs(wanted, 10)
    assert first.rows == []
    second = await store.runs(replace(wanted, after=first.resume), 10)
    assert [row.run_id for row in second.rows] == ["old"]
    assert second.resume is None


async def test_of_several_indices_the_one_with_the_fewest_entries_answers(
    store: SqlStore, tmp_path: Path
) -> None:
    run = await create(store)
    entries = [entry(run, seq, seq, policy="learned") for seq in range(1, 50)]
    await append(store, *entries, entry(run, 50, 50, action="CULL", risk=4, policy="learned"))
    asked = DecisionFilter(policy="learned", actions=CULL)
    database = database_at(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    *_, page, _names = plans(database, lambda connection: listing.decisions(connection, asked, 10))
    assert "ix_journal_actions" in page
    database.dispose()
