"""What the tests of retention share."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyarrow import dataset
from tamiyo_leyline import RunStatus
from tamiyo_service.retention.archive import Archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.store import MemoryStore, Store
from tamiyo_service.store.expired import Expired
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    Entry,
    InputKind,
    NewRun,
    OutcomeRow,
    RunRow,
    StatusRow,
    Write,
)

from tests.service.clocks import SteppingClock

RULES = Rules(completed_for=timedelta(days=90), silent_for=timedelta(days=30))
TABLES = ("runs", "journal", "command_outcomes", "client_decisions")


async def at_once(_seconds: float) -> None:
    """A pause that takes no time."""


def sweep_of(
    store: Store, clock: SteppingClock, archive: Archive | None = None, rules: Rules = RULES
) -> Sweep:
    """A sweep that rests nowhere."""
    return Sweep(store, rules, clock, archive=archive, pause=at_once)


async def make_run(
    store: Store, clock: SteppingClock, run_id: str, epochs: int = 3, *, done: bool = False
) -> RunRow:
    """A run with outcomes and a client decision, the last thing of which happens now."""
    at = round(clock().timestamp() * 1e6)
    config = '{"labels": {"team": "vision"}}'
    run, _ = await store.create_run(NewRun(run_id, config, "1", "heuristic", at, (("team", "vision"),)))
    entries = [_entry(run, seq, at) for seq in range(1, epochs + 1)]
    outcomes = (OutcomeRow(run.run_pk, 0, 1, f"{run_id}@0.1.1", "EXECUTED", 2, "dé"),)
    await store.append(Write(tuple(entries), outcomes), lambda _error: None)
    await store.add_client_decisions([ClientDecisionRow(run.run_pk, 0, 1, at, '{"epoch": 1}')])
    if done:
        status = StatusRow(run.run_pk, RunStatus.COMPLETED, "succeeded")
        last = _entry(run, epochs + 1, at)._replace(
            kind=InputKind.COMPLETE, epoch=None, action=None, reply=None
        )
        await store.append(Write((last,), status=status), lambda _error: None)
    stored = await store.run(run_id)
    assert stored is not None
    return stored


def _entry(run: RunRow, seq: int, at: int) -> Entry:
    return Entry(
        run_pk=run.run_pk,
        seq=seq,
        kind=InputKind.REPORT,
        attempt=0,
        epoch=seq,
        at=at,
        action="WAIT" if seq % 2 else "CULL",
        risk=1,
        policy="heuristic",
        backfill=seq == 1,
        hold="held" if seq == 2 else None,
        warnings='["wärning"]' if seq == 1 else None,
        events=None,
        payload=f'{{"epoch": {seq}}}',
        reply=f'{{"epoch": {seq}}}',
        state=f'["state", {seq}]',
        advice="[[[-0.1, null, -2.5], 0.25, 0.0]]" if seq == 2 else None,
    )


def archived(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of one table of an archive."""
    rows: list[dict[str, Any]] = dataset.dataset(folder / table).to_table().to_pylist()
    return rows


def parts(folder: Path) -> dict[str, list[str]]:
    """The files of an archive by table."""
    return {table: sorted(path.name for path in (folder / table).iterdir()) for table in TABLES}


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class RevivingStore(MemoryStore):
    """Something reaches one run just before it would be retired."""

    def __init__(self) -> None:
        super().__init__()
        self.revived: RunRow | None = None

    async def retire(self, runs: Sequence[Expired], at: int, *, to_archive: bool) -> list[Expired]:
        if self.revived is not None:
            await self.add_client_decisions([ClientDecisionRow(self.revived.run_pk, 0, 99, at, "{}")])
        return await super().retire(runs, at, to_archive=to_archive)
