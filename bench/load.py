"""A cheap load generator: raw sockets, prebuilt requests, one process of its own.

Run as a script it prints one JSON object: ``requests``, ``seconds``, ``p50_us``, ``p99_us``, ``errors``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Final, cast

import uvloop

REPORT: Final = (
    '{"epoch":%d,"attempt":0,"global_step":%d,"train_loss":0.4321,"val_loss":0.5432,"train_accuracy":81.25,'
    '"val_accuracy":%s,"seeds":[{"seed_id":"seed-1","slot_id":"slot-1","blueprint_id":"norm",'
    '"stage":"TRAINING","alpha":0.0,"metrics":{"epochs_in_current_stage":3,"initial_val_accuracy":70.5,'
    '"current_val_accuracy":%s,"accuracy_at_stage_start":71.5},"telemetry":{"gradient_norm":1.25,'
    '"gradient_health":0.9,"has_vanishing":false,"has_exploding":false}}],"available_slots":2,'
    '"epoch_duration_ms":1234.5}'
)
"""About 515 bytes: one seed in training, which goes on improving, so that nearly all decisions are WAIT."""


def report_of(epoch: int) -> str:
    """The report of an epoch; the host's accuracy rises and falls a little."""
    return REPORT % (epoch, epoch * 100, 74.0 + (epoch * 7 % 10) / 10, round(74.0 + epoch / 1000, 3))


def request_for(run_id: str, epoch: int) -> bytes:
    """One HTTP request that reports an epoch."""
    body = report_of(epoch)
    return (
        f"POST /runs/{run_id}/epoch HTTP/1.1\r\nhost: tamiyo\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Trainer(asyncio.Protocol):
    """One connection that reports epoch after epoch of one run, each as soon as the last is answered.

    Args:
        run_id: the run.
        epoch: the first epoch.
        deadline: when to stop, by the performance counter.
    """

    def __init__(self, run_id: str, epoch: int, deadline: float) -> None:
        self.latencies: list[float] = []
        self.errors = 0
        self.done = asyncio.get_running_loop().create_future()
        self._run_id = run_id
        self._epoch = epoch
        self._deadline = deadline
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports have the methods, not the base class.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take in an answer; send the next report once it is complete."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.index(b"content-length: ") + 16
        length = int(self._buffer[start : self._buffer.index(b"\r\n", start)])
        if len(self._buffer) < head + 4 + length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        self._buffer = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._epoch += 1
        self._sent = time.perf_counter()
        self._transport.write(request_for(self._run_id, self._epoch))


async def load(port: int, connections: int, seconds: float, prefix: str) -> dict[str, float]:
    """Report over this many connections, each a run of its own, for about this long."""
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    trainers: list[Trainer] = []
    for number in range(connections):
        trainer = Trainer(f"{prefix}-{number}", 0, started + seconds)
        await loop.create_connection(lambda trainer=trainer: trainer, "127.0.0.1", port)  # type: ignore[misc]  # bound now
        trainers.append(trainer)
    await asyncio.gather(*(trainer.done for trainer in trainers))
    elapsed = time.perf_counter() - started
    latencies = sorted(latency for trainer in trainers for latency in trainer.latencies)
    return {
        "requests": len(latencies),
        "seconds": elapsed,
        "p50_us": 1e6 * latencies[len(latencies) // 2],
        "p99_us": 1e6 * latencies[int(len(latencies) * 0.99)],
        "errors": sum(trainer.errors for trainer in trainers),
    }


def main() -> None:
    """Run the load that the arguments describe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("prefix")
    parser.add_argument("core", type=int)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    work = load(arguments.port, arguments.connections, arguments.seconds, arguments.prefix)
    json.dump(uvloop.run(work), sys.stdout)


if __name__ == "__main__":
    main()
