"""Decisions in the log: only for those who ask, and with all that finds them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tamiyo_service.observability.decision_log import log_decisions
from tamiyo_service.store import MemoryStore, Store
from tamiyo_service.store.rows import DecisionKey

from tests.service.conftest import serving, sql_store


@pytest.fixture(params=["memory", "sqlite"])
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else sql_store(tmp_path)


async def test_decisions_are_logged_where_asked_for(either_store: Store) -> None:
    with capture_logs() as entries:
        async with serving(either_store, log_decisions=True) as service:
            (reply,) = await service.reports("r", 3)
            await service.reports("r", 3)
            await service.http.put("/runs/r/hold", json={"reason": "look"})
    (entry,) = [entry for entry in entries if entry["event"] == "decision"]
    assert entry == {
        "event": "decision",
        "log_level": "info",
        "run": "r",
        "attempt": 0,
        "epoch": 3,
        "decision_id": reply["decision_id"],
        "action": "WAIT",
        "risk": "GREEN",
        "policy": "heuristic 1",
    }


async def test_decisions_are_not_logged_otherwise(either_store: Store) -> None:
    with capture_logs() as entries:
        async with serving(either_store) as service:
            await service.reports("r", 0, 1)
    assert [entry for entry in entries if entry["event"] == "decision"] == []


async def test_why_there_was_no_advice_is_logged_with_the_decision() -> None:
    async with serving(MemoryStore()) as service:
        await service.reports("r", 0)
        run = await service.store.run("r")
        assert run is not None
        entry = await service.store.report(DecisionKey(run.run_pk, 0, 0))
    assert entry is not None
    with capture_logs() as entries:
        log_decisions([entry._replace(advice='"too late"')])
    assert [entry["without_advice"] for entry in entries] == ["too late"]
