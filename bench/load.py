"""A cheap load generator: raw sockets, requests put together from text, one process of its own.

Run as a module it prints one JSON object: ``requests``, ``decisions``, ``seconds``, ``p50_us``, ``p99_us``,
``errors``, and ``cpu_seconds``, the time that the processes of the servers took meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple, cast

import uvloop

from bench.processes import family_cpu_seconds

REPORT: Final = (
    '{"epoch":%d,"attempt":0,"global_step":%d,"train_loss":0.4321,"val_loss":0.5432,"train_accuracy":81.25,'
    '"val_accuracy":%s,"seeds":[{"seed_id":"seed-1","slot_id":"slot-1","blueprint_id":"norm",'
    '"stage":"TRAINING","alpha":0.0,"metrics":{"epochs_in_current_stage":3,"initial_val_accuracy":70.5,'
    '"current_val_accuracy":%s,"accuracy_at_stage_start":71.5},"telemetry":{"gradient_norm":1.25,'
    '"gradient_health":0.9,"has_vanishing":false,"has_exploding":false}}],"available_slots":2,'
    '"epoch_duration_ms":1234.5}'
)
"""About 515 bytes: one seed in training, which goes on improving, so that nearly all decisions are WAIT."""


KEY: Final = "TAMIYO_API_KEY"
"""The environment's variable with the key that requests send; without it they send none."""


def report_of(epoch: int) -> str:
    """The report of an epoch; the host's accuracy rises and falls a little."""
    return REPORT % (epoch, epoch * 100, 74.0 + (epoch * 7 % 10) / 10, round(74.0 + epoch / 1000, 3))


def post(path: str, body: str) -> bytes:
    """One HTTP request."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{_authorization()}"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()


@cache
def _authorization() -> str:
    key = os.environ.get(KEY)
    return "" if key is None else f"authorization: Bearer {key}\r\n"


class Load(NamedTuple):
    """What is sent again and again over one connection.

    Attributes:
        request: gives the request that reports an epoch, of this connection's runs.
        decisions: made by each.
    """

    request: Callable[[int], bytes]
    decisions: int = 1


BATCH: Final = 1024


def single(run_id: str) -> Load:
    """Reports of one run, one a request."""
    return Load(lambda epoch: post(f"/runs/{run_id}/epoch", report_of(epoch)))


SHORT_RUN: Final = 60
"""Epochs of a short training."""


def short(run_id: str) -> Load:
    """Reports of one training after another, such as a network has learned from: WAIT is right."""

    def request(number: int) -> bytes:
        run, epoch = divmod(number, SHORT_RUN)
        return post(f"/runs/{run_id}-{run}/epoch", learning_report(epoch))

    return Load(request)


def learning_report(epoch: int) -> str:
    """The report of an epoch of a training that saturates, as long as those of `report_of`."""
    left = 0.95**epoch
    accuracy = round(72.0 - 20.0 * left, 3)
    values = {
        '"train_loss":0.4321': f'"train_loss":{0.2 + left:.4f}',
        '"val_loss":0.5432': f'"val_loss":{0.3 + left:.4f}',
        '"train_accuracy":81.25': f'"train_accuracy":{accuracy + 3.0:.2f}',
        '"epochs_in_current_stage":3': f'"epochs_in_current_stage":{epoch}',
        '"initial_val_accuracy":70.5': '"initial_val_accuracy":50.5',
        '"accuracy_at_stage_start":71.5': '"accuracy_at_stage_start":51.5',
    }
    report = REPORT % (epoch, epoch * 100, accuracy, accuracy)
    for usual, learning in values.items():
        report = report.replace(usual, learning)
    return report


def predictions(_run_id: str) -> Load:
    """The same reports for a server that only predicts."""
    return Load(lambda epoch: post("/predict", report_of(epoch)))


def batches(run_id: str) -> Load:
    """Reports of many runs in each request."""

    def request(epoch: int) -> bytes:
        report = report_of(epoch)
        items = ",".join(f'{{"run_id":"{run_id}-{number}","report":{report}}}' for number in range(BATCH))
        return post("/epochs", f'{{"reports":[{items}]}}')

    return Load(request, BATCH)


LOADS: Final = {"single": single, "short": short, "predict": predictions, "batch": batches}


class Trainer(asyncio.Protocol):
    """One connection that reports epoch after epoch, each as soon as the last is answered.

    The first report, which creates the runs, is answered before `begin`: it is not measured.

    Args:
        load: what to send.
        epoch: number of the first report.
    """

    def __init__(self, load: Load, epoch: int) -> None:
        loop = asyncio.get_running_loop()
        self.latencies: list[float] = []
        self.errors = 0
        self.load = load
        self.ready = loop.create_future()
        self.done = loop.create_future()
        self._epoch = 0
        self._deadline = 0.0
        self._buffer = bytearray()
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
        if is_complete(self._buffer):
            self._answered(time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        """End; to lose the connection before it was closed is an error."""
        self.errors += not self._transport.is_closing()
        for waiting in (self.ready, self.done):
            if not waiting.done():
                waiting.set_result(None)

    def _answered(self, now: float) -> None:
        self.errors += not is_good(self._buffer, self.load.decisions)
        self._buffer = bytearray()
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
        request = self.load.request(self._epoch)
        self._sent = time.perf_counter()
        self._transport.write(request)


def is_complete(answer: bytearray) -> bool:
    """Whether all of an answer is there, its length told or in chunks."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    start = head.find(b"content-length: ")
    if start < 0:
        return answer.endswith(b"\r\n0\r\n\r\n")
    length = int(head[start + 16 :].split(b"\r\n", 1)[0])
    return len(answer) >= end + 4 + length


def is_good(answer: bytearray, decisions: int) -> bool:
    """Whether an answer is 200, and within a batch every result."""
    if not answer.startswith(b"HTTP/1.1 200"):
        return False
    return decisions == 1 or answer.count(b'"status":200') == decisions


async def load(
    kind: str, ports: Sequence[int], pids: Sequence[int], connections: int, seconds: float, prefix: str
) -> dict[str, Any]:
    """Report over this many connections, each with runs of its own, for about this long.

    Args:
        kind: of the load, see `LOADS`.
        ports: of the servers; connections are dealt out to them in turn.
        pids: processes whose time is taken, with all that descend from them.
        connections: in all.
        seconds: no report is sent after them.
        prefix: of the runs' ids.
    """
    loop = asyncio.get_running_loop()
    # Trainings do not all begin at the same moment: each connection is at another epoch.
    trainers = [
        Trainer(LOADS[kind](f"{prefix}-{number}"), number * SHORT_RUN // connections)
        for number in range(connections)
    ]
    for number, trainer in enumerate(trainers):
        await loop.create_connection(partial(_same, trainer), "127.0.0.1", ports[number % len(ports)])
        await trainer.ready
    before = sum(map(family_cpu_seconds, pids))
    started = time.perf_counter()
    for trainer in trainers:
        trainer.begin(started + seconds)
    await asyncio.gather(*(trainer.done for trainer in trainers))
    elapsed = time.perf_counter() - started
    used = sum(map(family_cpu_seconds, pids)) - before
    latencies = sorted(latency for trainer in trainers for latency in trainer.latencies)
    return {
        "requests": len(latencies),
        "decisions": sum(len(trainer.latencies) * trainer.load.decisions for trainer in trainers),
        "seconds": elapsed,
        "p50_us": 1e6 * latencies[len(latencies) // 2],
        "p99_us": 1e6 * latencies[int(len(latencies) * 0.99)],
        "cpu_seconds": used,
        "errors": sum(trainer.errors for trainer in trainers),
    }


def _same(trainer: Trainer) -> Trainer:
    return trainer


def main() -> None:
    """Run the load that the arguments describe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(LOADS))
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--core", type=int, required=True)
    told = parser.parse_args()
    os.sched_setaffinity(0, {told.core})
    work = load(told.kind, told.port, told.pid, told.connections, told.seconds, told.prefix)
    json.dump(uvloop.run(work), sys.stdout)


if __name__ == "__main__":
    main()
