"""Another process keeps the SQLite file locked: who writes waits, everybody else is served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.faults.services import running
from tests.faults.trainers import Trainers, lively, require_exact, require_numbered
from tests.service.processes import free_port

RUNS: Final = [f"run-{number}" for number in range(6)]
_HOLD: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM runs")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def locked(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is about to delete everything, and has the lock; at the end it changes its mind."""
    command = [sys.executable, "-c", _HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield other


async def test_who_writes_waits_for_another_process_and_everybody_else_is_served_meanwhile(
    tmp_path: Path,
) -> None:
    database = tmp_path / "tamiyo.db"
    trainers = Trainers(f"http://127.0.0.1:{(port := free_port())}", run_ids=RUNS)
    with (
        running(f"sqlite:///{database}", port, stall_seconds=0.2) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        trainers.start()
        for ends_by_itself in (True, False):
            await trainers.progress(40)
            with locked(database) as other:
                await trainers.until(lambda: http.get("/readyz").status_code == 503)
                assert "slow or stuck" in http.get("/readyz").json()["detail"]
                standing = {run_id: len(replies) for run_id, replies in trainers.told.items()}
                assert http.get("/healthz").status_code == 200
                for run_id, epochs in standing.items():
                    assert http.get(f"/runs/{run_id}").json()["last_epoch"] == epochs - 1
                assert http.get("/decisions").status_code == 200
                assert {run_id: len(replies) for run_id, replies in trainers.told.items()} == standing
                if not ends_by_itself:
                    other.kill()
        await trainers.progress(40)
        assert http.get("/readyz").status_code == 200
        await trainers.finish()
        assert trainers.refused == []
        require_exact(service.url, trainers.told)
        assert http.post("/runs/run-0/epoch", json=lively(0)).headers["tamiyo-replayed"] == "true"
    require_numbered(f"sqlite:///{database}", trainers.told)
