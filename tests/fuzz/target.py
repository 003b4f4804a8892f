"""The service under attack: a real process that asks for keys, with runs in every state."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from tamiyo_leyline.api import MAX_BATCH_REPORTS

from tests.service.processes import service_process
from tests.service.samples import PLATEAU_EPOCHS, report

RUNS: Final = tuple(f"run-{number:03d}" for number in range(100))
"""Runs that most requests are about. Every fifth is held."""
DOOMED: Final = tuple(f"doomed-{number:03d}" for number in range(200))
"""Runs that are there to be deleted and completed, so that the others stay."""
EPOCHS: Final = tuple(range(PLATEAU_EPOCHS + 1))
_HELD_EVERY: Final = 5


@dataclass(frozen=True)
class Target:
    """Where the service is, and a key that may do everything."""

    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request has to carry."""
        return {"authorization": f"Bearer {self.key}"}


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A service as users start it, on SQLite in `folder`, that has something to lose."""
    key = create_key(folder)
    with service_process(folder, auth="required") as service:
        found = Target(service.url, key)
        with httpx.Client(base_url=found.url, headers=found.headers, timeout=60.0) as http:
            populate(http)
        yield found


def create_key(folder: Path) -> str:
    """A key for everything, in the database that a service on this folder will use."""
    command = [sys.executable, "-m", "tamiyo_cli", "keys", "create", "--name", "fuzz", "--scope", "admin"]
    command += ["--database-url", f"sqlite:///{folder / 'tamiyo.db'}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    key: str = json.loads(done.stdout)["key"]
    return key


def populate(http: httpx.Client) -> None:
    """Give every run labels, reports until its first germination, a note; hold some."""
    reports = [item(run_id, epoch) for epoch in EPOCHS for run_id in (*RUNS, *DOOMED)]
    for number, run_id in enumerate((*RUNS, *DOOMED)):
        http.put(f"/runs/{run_id}", json={"labels": {"team": f"t{number % 3}"}}).raise_for_status()
    for start in range(0, len(reports), MAX_BATCH_REPORTS):
        answer = http.post("/epochs", json={"reports": reports[start : start + MAX_BATCH_REPORTS]})
        assert {result["status"] for result in answer.json()["results"]} == {200}
    for run_id in RUNS[::_HELD_EVERY]:
        http.put(f"/runs/{run_id}/hold", json={"reason": "looking"}).raise_for_status()
        http.post(f"/runs/{run_id}/notes", json={"text": "held"}).raise_for_status()


def item(run_id: str, epoch: int) -> dict[str, Any]:
    """One report of a batch."""
    return {"run_id": run_id, "report": report(epoch)}
