"""What an idle run costs in memory while the service keeps it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Final

from tamiyo_service import Settings, create_app
from tamiyo_service.store import MemoryStore

from bench.load import report_of

RUNS: Final = 500
EPOCHS: Final = 20


def bytes_per_cached_run(runs: int = RUNS, epochs: int = EPOCHS) -> float:
    """Bytes a cached, idle run holds after this many epochs with one seed."""
    return asyncio.run(_measured(runs, epochs))


async def _measured(runs: int, epochs: int) -> float:
    """Reports every run, forgets all, then lets each be loaded again by repeating its last report."""
    store = MemoryStore()
    await _report_all(store, runs, epochs)
    app = create_app(Settings(), store=store)
    last = report_of(epochs).encode()
    await app.state.services.intake.report("run-0", last)
    gc.collect()
    tracemalloc.start()
    for number in range(1, runs):
        await app.state.services.intake.report(f"run-{number}", last)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / (runs - 1)


async def _report_all(store: MemoryStore, runs: int, epochs: int) -> None:
    intake = create_app(Settings(), store=store).state.services.intake
    reports = [report_of(epoch).encode() for epoch in range(epochs + 1)]
    for number in range(runs):
        for report in reports:
            await intake.report(f"run-{number}", report)


if __name__ == "__main__":
    print(f"{bytes_per_cached_run():.0f} bytes for each cached run")
