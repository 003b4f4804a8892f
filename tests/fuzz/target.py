"""The service under attack: a real process, with runs in every state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def target(folder: Path) -> Iterator[str]:
    """The URL of a service as users start it, on SQLite in `folder`, that has something to lose."""
    with service_process(folder) as service:
        with httpx.Client(base_url=service.url, timeout=60.0) as http:
            populate(http)
        yield service.url


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
