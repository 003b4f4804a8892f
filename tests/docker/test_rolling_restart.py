"""Replicas on one PostgreSQL behind nginx are restarted one after the other while trainers train."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tamiyo_client import Decision, TamiyoClient
from tamiyo_leyline import EpochReport
from tamiyo_leyline.api import MAX_BATCH_BYTES, MAX_BATCH_REPORTS

from tests.docker.balancer import balanced
from tests.faults.services import running
from tests.faults.trainers import (
    PATIENCE,
    Trainers,
    alone,
    lively,
    require_exact,
    require_numbered,
    require_undisturbed,
)
from tests.service.postgres import PostgresServer, postgres
from tests.service.processes import free_port

pytestmark = pytest.mark.docker

DEADLINE: Final = 5.0
"""Seconds a call of the client may take."""
ROUNDS: Final = 2


class Replica:
    """A service that is started and ended again and again, on one port."""

    def __init__(self, database_url: str) -> None:
        self.port = free_port()
        self._database_url = database_url
        self._stack = ExitStack()
        self._start()

    def restart(self, *, killed: bool = False) -> None:
        """End it, in an orderly way or not, and start it anew; return when it is ready."""
        if killed:
            self._service.kill()
        else:
            self._service.stop()
        self.end()
        self._start()

    def end(self) -> None:
        """Be gone."""
        self._stack.close()

    def _start(self) -> None:
        self._service = self._stack.enter_context(running(self._database_url, self.port))


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture
def replicas(database_url: str) -> Iterator[list[Replica]]:
    replicas = [Replica(database_url), Replica(database_url)]
    yield replicas
    for replica in replicas:
        replica.end()


@pytest.fixture
def url(replicas: list[Replica], tmp_path: Path) -> Iterator[str]:
    """Where nginx answers for both."""
    with balanced(tmp_path, [replica.port for replica in replicas]) as url:
        yield url


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_no_call_fails_while_replicas_are_replaced(
    replicas: list[Replica], url: str, database_url: str, killed: bool
) -> None:
    trainers = Trainers(url, run_ids=[f"run-{number}" for number in range(8)], patient=False)
    trainers.start()
    for _ in range(ROUNDS):
        for replica in replicas:
            await trainers.progress(40)
            await asyncio.to_thread(replica.restart, killed=killed)
    await trainers.progress(40)
    await trainers.finish()
    require_exact(url, trainers.told)
    require_numbered(database_url, trainers.told)
    await require_undisturbed(trainers.told)


class Training(threading.Thread):
    """A training loop that uses the client as users do."""

    def __init__(self, url: str, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.enough = threading.Event()
        self.decisions: list[Decision] = []
        self._url = url

    def run(self) -> None:
        with TamiyoClient(self._url, deadline=DEADLINE) as client, client.run(self.run_id) as run:
            while not self.enough.is_set():
                self.decisions.append(run.report(EpochReport.model_validate(lively(len(self.decisions)))))


def outline(decision: Decision) -> list[dict[str, Any]]:
    """What a decision tells to do, apart from when it was made."""
    return [command.model_dump(mode="json", exclude={"issued_at"}) for command in decision.commands]


async def test_a_training_that_uses_the_client_never_has_to_decide_for_itself(
    replicas: list[Replica], url: str
) -> None:
    trainings = [Training(url, f"run-{number}") for number in range(4)]
    for training in trainings:
        training.start()
    try:
        for replica in replicas:
            await progressed(trainings, 15)
            await asyncio.to_thread(replica.restart)
        await progressed(trainings, 15)
    finally:
        for training in trainings:
            training.enough.set()
            await asyncio.to_thread(training.join)
    with httpx.Client(base_url=url) as http:
        for training in trainings:
            decisions = training.decisions
            assert {decision.source for decision in decisions} == {"service"}
            assert [outline(decision) for decision in decisions] == await alone(
                training.run_id, range(len(decisions))
            )
            assert http.get(f"/runs/{training.run_id}").json()["status"] == "COMPLETED"


async def progressed(trainings: list[Training], epochs: int) -> None:
    """Wait until every training is this much further."""
    wanted = [len(training.decisions) + epochs for training in trainings]
    async with asyncio.timeout(PATIENCE):
        while any(
            len(training.decisions) < epochs for training, epochs in zip(trainings, wanted, strict=True)
        ):
            assert all(training.is_alive() for training in trainings)
            await asyncio.sleep(0.002)


def test_a_body_that_is_too_large_is_refused_in_words_of_the_service(url: str) -> None:
    answer = httpx.post(f"{url}/epochs", content=b" " * (MAX_BATCH_BYTES + 1), timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_a_batch_of_the_largest_size_passes(url: str) -> None:
    reports = [{"run_id": f"run-{n % 32}", "report": lively(n // 32)} for n in range(MAX_BATCH_REPORTS)]
    body = json.dumps({"reports": reports}).encode().ljust(MAX_BATCH_BYTES)
    answer = httpx.post(f"{url}/epochs", content=body, timeout=30)
    assert [result["status"] for result in answer.json()["results"]] == [200] * MAX_BATCH_REPORTS
