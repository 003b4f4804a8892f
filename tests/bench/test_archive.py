"""The archive that the history is measured on: as many real decisions as it says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tamiyo_leyline import DecisionItem
from tamiyo_service import Settings, create_app
from tamiyo_service.store.rows import DecisionFilter

from bench.archive import RARE_ID, RARE_POLICY, Plan, build
from bench.templates import LONG_ID, USUAL_EPOCHS

DECISIONS = 5_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "archive.db"
    build(file, Plan(DECISIONS))
    return file


@pytest.mark.parametrize("decisions", [5_000, 100_000, 10_000_000])
def test_plan_comes_to_the_decisions_asked_for(decisions: int) -> None:
    plan = Plan(decisions)
    planned = plan.long_epochs + 4 * plan.short_runs + USUAL_EPOCHS * plan.usual_runs
    assert planned == pytest.approx(decisions, rel=0.03)


def test_archive_holds_the_decisions_asked_for(built: Path) -> None:
    with closing(sqlite3.connect(built)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM journal WHERE epoch IS NOT NULL").fetchone()
        (late,) = connection.execute(
            "SELECT count(*) FROM (SELECT at < lag(at) OVER (ORDER BY id) AS back FROM journal) WHERE back"
        ).fetchone()
    assert count == pytest.approx(DECISIONS, rel=0.05)
    assert late == 0


async def test_service_reads_the_archive_as_its_own(built: Path) -> None:
    app = create_app(Settings(database_url=f"sqlite:///{built}"))
    async with app.router.lifespan_context(app):
        history = app.state.services.history
        for run_id in (RARE_ID, LONG_ID):
            run = await history.run(run_id)
            view = await history.view(run)
            page = await history.items(DecisionFilter(run_pk=run.run_pk), 1000)
            items = [DecisionItem.model_validate_json(item) for item in page.rows]
            assert len(items) == sum(view.counts.values()) >= 50
            assert {item.run_id for item in items} == {run_id}
            assert {command.command_id.split("@")[0] for item in items for command in item.commands} == {
                run_id
            }
        rare = await history.items(DecisionFilter(policy=RARE_POLICY), 1000)
        assert len(rare.rows) == USUAL_EPOCHS
