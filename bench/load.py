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
from functools import partial
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

    The first report, which creates the run, is answered before `begin`: it is not measured.

    Args:
        run_id: the run.
    """

    def __init__(self, run_id: str) -> None:
        loop = asyncio.get_running_loop()
        self.latencies: list[float] = []
        self.errors = 0
        self.ready = loop.create_future()
        self.done = loop.create_future()
        self._run_id = run_id
        self._epoch = 0
        self._deadline = 0.0
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first report."""
        # uvloop's transports have the methods, not the base class.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def begin(self, deadline: float) -> None:
        """Report until `deadline`, by the performance counter."""
        self._deadline = deadline
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take in an answer; send the next report once it is complete."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.index(b"content-length: ") + 16
        length = int(self._buffer[start : self._buffer.index(b"\r\n", start)])
        if len(self._buffer) >= head + 4 + length:
            self._answered(time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for waiting in (self.ready, self.done):
            if not waiting.done():
                waiting.set_result(None)

    def _answered(self, now: float) -> None:
        self.errors += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if not self.ready.done():
            self.ready.set_result(None)
            return
        self.latencies.append(now - self._sent)
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def _send(self) -> None:
        self._epoch += 1
        self._sent = time.perf_counter()
        self._transport.write(request_for(self._run_id, self._epoch))


async def load(port: int, connections: int, seconds: float, prefix: str) -> dict[str, float]:
    """Report over this many connections, each a run of its own, for about this long."""
    loop = asyncio.get_running_loop()
    trainers = [Trainer(f"{prefix}-{number}") for number in range(connections)]
    for trainer in trainers:
        await loop.create_connection(partial(_same, trainer), "127.0.0.1", port)
        await trainer.ready
    started = time.perf_counter()
    for trainer in trainers:
        trainer.begin(started + seconds)
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


def _same(trainer: Trainer) -> Trainer:
    return trainer


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
