"""Several processes on one port: one database, no lost request while they are replaced, none left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.processes import ServiceProcess, service_process
from tests.service.samples import report

PATIENCE = 150.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service_process(tmp_path_factory.mktemp("workers"), workers="2") as running:
        yield running
        workers = children(running.process.pid)
        assert running.stop() == 0
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def children(pid: int) -> set[int]:
    """Processes that serve for this one."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and b"spawn_main" in command:
            found.add(int(folder.name))
    return found


def awaited(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Trainer(threading.Thread):
    """Reports epoch after epoch of one run until told to stop, over a new connection now and then."""

    def __init__(self, url: str, run_id: str) -> None:
        super().__init__()
        self._url, self.run_id = url, run_id
        self.enough = threading.Event()
        self.epoch = 0
        self.failures: list[str] = []
        self.refusals: list[str] = []

    def run(self) -> None:
        while not self.enough.is_set():
            with httpx.Client(base_url=self._url, timeout=20) as http:
                for _ in range(5):
                    self._report(http)

    def _report(self, http: httpx.Client) -> None:
        """Report the next epoch; a connection that closes before the answer, and a 503, are tried again."""
        self.epoch += 1
        for _ in range(100):
            try:
                response = http.post(f"/runs/{self.run_id}/epoch", json=report(self.epoch))
            except httpx.TransportError:
                continue
            if response.status_code == 200:
                return
            if response.status_code != 503:
                break
            self.refusals.append(response.json()["code"])
            time.sleep(0.02)
        self.failures.append(f"epoch {self.epoch}: {response.status_code} {response.text}")


@pytest.fixture
def trainers(service: ServiceProcess, request: pytest.FixtureRequest) -> Iterator[list[Trainer]]:
    trainers = [Trainer(service.url, f"{request.node.name}-{number}") for number in range(4)]
    for trainer in trainers:
        trainer.start()
    yield trainers
    for trainer in trainers:
        trainer.enough.set()
        trainer.join()


def finish(service: ServiceProcess, trainers: list[Trainer]) -> None:
    """Stop reporting, and find every epoch decided exactly once."""
    for trainer in trainers:
        trainer.enough.set()
        trainer.join()
        assert trainer.failures == []
    with httpx.Client(base_url=service.url, timeout=20) as http:
        for trainer in trainers:
            run = http.get(f"/runs/{trainer.run_id}").json()
            assert sum(run["counts"].values()) == run["last_epoch"] == trainer.epoch


def advance(trainers: list[Trainer], epochs: int) -> None:
    """Wait until every trainer is this much further."""
    wanted = [trainer.epoch + epochs for trainer in trainers]
    awaited(
        lambda: all(t.epoch >= epoch for t, epoch in zip(trainers, wanted, strict=True)), "trainers go on"
    )


def test_workers_share_the_runs(service: ServiceProcess, trainers: list[Trainer]) -> None:
    assert len(children(service.process.pid)) == 2
    advance(trainers, 20)
    finish(service, trainers)


def test_a_worker_that_dies_is_replaced(service: ServiceProcess, trainers: list[Trainer]) -> None:
    before = children(service.process.pid)
    advance(trainers, 5)
    os.kill(min(before), signal.SIGKILL)
    awaited(lambda: len(children(service.process.pid) - before) == 1, "a new worker")
    advance(trainers, 5)
    finish(service, trainers)


def test_workers_are_replaced_one_by_one_while_they_serve(
    service: ServiceProcess, trainers: list[Trainer]
) -> None:
    before = children(service.process.pid)
    advance(trainers, 5)
    service.process.send_signal(signal.SIGHUP)
    awaited(lambda: children(service.process.pid).isdisjoint(before), "two new workers")
    advance(trainers, 5)
    finish(service, trainers)
    assert all("shutting_down" not in trainer.refusals for trainer in trainers)


def test_no_worker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    with service_process(tmp_path, workers="2") as killed:
        workers = children(killed.process.pid)
        killed.kill()
        awaited(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "no worker left")


def test_workers_that_cannot_start_end_the_service_with_an_error(tmp_path: Path) -> None:
    with service_process(tmp_path, workers="2", log_level="error") as running:
        (tmp_path / "tamiyo.db").rename(tmp_path / "aside.db")
        (tmp_path / "tamiyo.db").mkdir()
        os.kill(min(children(running.process.pid)), signal.SIGKILL)
        assert running.process.wait(PATIENCE) == 3
