"""SQLite as services find it: several of them open a file that none has made yet."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from tamiyo_service.store.dialect import database_at

SERVICES = 8
TIMES = 25


@pytest.mark.parametrize("attempt", range(8))
def test_a_new_file_can_be_opened_and_closed_by_many_at_once(tmp_path: Path, attempt: int) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    gate = threading.Barrier(SERVICES)

    def come_and_go() -> set[str]:
        modes = set()
        gate.wait()
        for _ in range(TIMES):
            database = database_at(url)
            with database.writer.begin() as connection:
                modes.add(connection.execute(text("PRAGMA journal_mode")).scalar_one())
                connection.execute(text("CREATE TABLE IF NOT EXISTS anything (a)"))
            # The last one who leaves puts the log away, for which it keeps everybody out.
            database.dispose()
        return modes

    with ThreadPoolExecutor(SERVICES) as services:
        visits = [services.submit(come_and_go) for _ in range(SERVICES)]
        assert [visit.result() for visit in visits] == [{"wal"}] * SERVICES
