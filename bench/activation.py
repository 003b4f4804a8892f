"""What the activation of a model's new version costs the decisions made meanwhile.

A real service with the learned policy, its process free to use every core. A few connections report without
pause but a short one; versions of a model that were never loaded are activated one after the other. For each
activation the slowest decision sent while it lasted is compared with the slowest of an equally long stretch
just before it: both have the noise of the machine.

    python -m bench.activation
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.load import learning_report, post
from bench.processes import HERE
from tests.service.artifacts import put_artifact
from tests.service.processes import service_process

RESULTS: Final = HERE / "results"
ACTIVATIONS: Final = 20
CONNECTIONS: Final = 4
PAUSE_SECONDS: Final = 0.002
REST_SECONDS: Final = 0.5


class Taken(NamedTuple):
    """A decision as its trainer saw it, by the performance counter."""

    sent: float
    answered: float


def measure(activations: int = ACTIVATIONS) -> dict[str, Any]:
    """Slowest decisions during activations and beside them, milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        versions = [f"1.{number}.0" for number in range(activations)]
        for version in versions:
            put_artifact(folder / "models", version)
        with service_process(folder, default_policy="learned", models=str(folder / "models")) as service:
            port = int(service.url.rsplit(":", 1)[1])
            return figures_of(*asyncio.run(_watched(port, service.url, versions)))


def figures_of(decisions: list[Taken], periods: list[Taken]) -> dict[str, Any]:
    """The figures.

    Args:
        decisions: that were made.
        periods: from the beginning of each activation to its end.
    """
    during = [_slowest(decisions, *period) for period in periods]
    before = [_slowest(decisions, sent - (answered - sent), sent) for sent, answered in periods]
    added = [one - other for one, other in zip(during, before, strict=True)]
    return {
        "activations": len(periods),
        "decisions": len(decisions),
        "activation_ms": statistics.median(1000 * (end - begin) for begin, end in periods),
        "slowest_before_ms": statistics.median(before),
        "slowest_during_ms": statistics.median(during),
        "added_ms": statistics.median(added),
        "added_most_ms": max(added),
        "slowest_before_most_ms": max(before),
    }


def _slowest(decisions: list[Taken], begin: float, end: float) -> float:
    """Milliseconds of the slowest decision that was under way within a stretch of time."""
    overlapping = [one for one in decisions if one.sent < end and one.answered > begin]
    return max((1000 * (one.answered - one.sent) for one in overlapping), default=0.0)


async def _watched(port: int, url: str, versions: list[str]) -> tuple[list[Taken], list[Taken]]:
    decisions: list[Taken] = []
    trainers = [asyncio.create_task(_train(port, f"run-{n}", decisions)) for n in range(CONNECTIONS)]
    periods = []
    for version in versions:
        await asyncio.sleep(REST_SECONDS)
        began = time.perf_counter()
        await asyncio.to_thread(partial(_activate, f"{url}/models/mine/{version}/activate"))
        periods.append(Taken(began, time.perf_counter()))
    await asyncio.sleep(REST_SECONDS)
    for trainer in trainers:
        trainer.cancel()
    await asyncio.gather(*trainers, return_exceptions=True)
    return decisions, periods


async def _train(port: int, run_id: str, decisions: list[Taken]) -> None:
    """Report one short training after another over one connection, for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    try:
        while True:
            run, epoch = divmod(number, 60)
            number += 1
            sent = time.perf_counter()
            writer.write(post(f"/runs/{run_id}-{run}/epoch", learning_report(epoch)))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            if epoch:
                # The first report creates its run: that is another matter.
                decisions.append(Taken(sent, time.perf_counter()))
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        writer.close()


def _length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1"))
    lines = head.lower().split(b"\r\n")
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


def _activate(url: str) -> None:
    body = json.dumps({"reason": "bench"}).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        answer.read()


def main() -> None:
    """Measure, print, save."""
    figures = measure()
    for name, value in figures.items():
        print(f"{name:24} {value:10.2f}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "activation.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
