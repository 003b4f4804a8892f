"""Many trainers at once, none of which gives up, and what must be true of what they were told."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import select
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.dialect import database_at
from tamiyo_service.store.schema import journal, runs

from tests.service.conftest import serving
from tests.service.samples import report, seed

Essence = list[dict[str, Any]]
"""Commands, apart from when they were issued."""
PATIENCE: Final = 60.0
"""Seconds after which what a test waits for is taken not to come."""
PAUSE: Final = 0.02
"""Seconds between two tries of who is not served, so as to leave the machine to those who mend it."""


def lively(epoch: int) -> dict[str, Any]:
    """A report whose decisions depend on all that came before: a plateau, and on it a seed that fails."""
    fields: dict[str, Any] = {"val_accuracy": 50.0 + epoch % 2 * 0.01, "train_loss": 1.0 / (epoch + 1)}
    if epoch % 12 >= 8:
        fields["seeds"] = [seed(seed_id=f"seed-{epoch // 12}")]
        fields["available_slots"] = 0
    return report(epoch, **fields)


def essence(reply: bytes) -> Essence:
    """What a reply tells to do."""
    commands = orjson.loads(reply)["commands"]
    return [{key: value for key, value in command.items() if key != "issued_at"} for command in commands]


class AtWork(ABC):
    """Many who work at once, each until it is enough."""

    def __init__(self) -> None:
        self._enough = False
        self._work: asyncio.Future[Any] | None = None

    @property
    @abstractmethod
    def decisions(self) -> int:
        """Acknowledged so far."""

    def begin(self, *work: Coroutine[Any, Any, None]) -> None:
        """Begin to work."""
        self._work = asyncio.gather(*work)
        # When a test fails nobody asks them what became of them.
        self._work.add_done_callback(lambda work: work.cancelled() or work.exception())

    async def progress(self, decisions: int) -> None:
        """Wait until so many more decisions have been acknowledged."""
        wanted = self.decisions + decisions
        await self.until(lambda: self.decisions >= wanted)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds, while they work."""
        assert self._work is not None
        async with asyncio.timeout(PATIENCE):
            while not holds():
                if self._work.done():
                    await self._work
                await asyncio.sleep(0.002)

    async def finish(self) -> None:
        """Let everybody finish what they are at."""
        assert self._work is not None
        self._enough = True
        async with asyncio.timeout(PATIENCE):
            await self._work


class Trainers(AtWork):
    """Trainers of a run each, which report epoch after epoch, each until it is acknowledged.

    Args:
        url: of the service, or of all replicas: each epoch goes to the next of them.
        run_ids: their runs.
        patient: whether they try again what is not answered, or refused for the moment.
        key: that they call with; None: none.
        pause: seconds that an epoch takes them.

    Attributes:
        told: the bytes of every acknowledged reply, by run, in the order of the epochs.
        refused: codes and Retry-After of the refusals.
    """

    def __init__(
        self,
        *url: str,
        run_ids: Sequence[str],
        patient: bool = True,
        key: str | None = None,
        pause: float = 0.0,
    ) -> None:
        super().__init__()
        self.told: dict[str, list[bytes]] = {run_id: [] for run_id in run_ids}
        self.refused: list[tuple[str, str | None]] = []
        self._urls = url
        self._patient = patient
        self._headers = bearer(key)
        self._pause = pause

    @property
    def decisions(self) -> int:
        """Acknowledged so far."""
        return sum(map(len, self.told.values()))

    def start(self) -> None:
        """Begin to train."""
        self.begin(*map(self._train, self.told))

    async def _train(self, run_id: str) -> None:
        replies = self.told[run_id]
        async with httpx.AsyncClient(timeout=30, headers=self._headers) as http:
            while not self._enough:
                url = self._urls[len(replies) % len(self._urls)]
                replies.append(await self._acknowledged(http, f"{url}/runs/{run_id}/epoch", len(replies)))
                await asyncio.sleep(self._pause)

    async def _acknowledged(self, http: httpx.AsyncClient, url: str, epoch: int) -> bytes:
        while True:
            try:
                answer = await http.post(url, json=lively(epoch))
            except httpx.TransportError:
                if not self._patient:
                    raise
                await asyncio.sleep(PAUSE)
                continue
            if answer.status_code == 200:
                return answer.content
            assert self._patient, answer.text
            assert answer.status_code == 503, answer.text
            self.refused.append((answer.json()["code"], answer.headers.get("retry-after")))
            await asyncio.sleep(PAUSE)


def bearer(key: str | None) -> dict[str, str]:
    """The headers of who calls with a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def require_exact(url: str, told: dict[str, list[bytes]], key: str | None = None) -> None:
    """Return if a service has just these decisions: each once, each byte of them, in its place.

    It is asked about every epoch once more, and lists them.
    """
    with httpx.Client(base_url=url, timeout=30, headers=bearer(key)) as http:
        for run_id, replies in told.items():
            assert [item["epoch"] for item in listed(http, run_id)] == list(range(len(replies)))
            for epoch, reply in enumerate(replies):
                again = http.post(f"/runs/{run_id}/epoch", json=lively(epoch))
                assert (again.content, again.headers.get("tamiyo-replayed")) == (reply, "true")


def listed(http: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """All decisions of a run, in the order of their epochs."""
    return list(_pages(http, f"/runs/{run_id}/decisions?limit=1000&order=asc"))


def _pages(http: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = http.get(f"{path}{cursor}").json()
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def require_numbered(database_url: str, told: dict[str, list[bytes]]) -> None:
    """Return if the inputs of every run are numbered from one on, without a gap."""
    database = database_at(database_url)
    numbers = select(journal.c.seq).join(runs, runs.c.run_pk == journal.c.run_pk).order_by(journal.c.seq)
    with database.readers.connect() as connection:
        for run_id, replies in told.items():
            found = connection.execute(numbers.where(runs.c.run_id == run_id)).scalars().all()
            assert found == list(range(1, len(replies) + 1))
    database.dispose()


async def alone(run_id: str, epochs: Sequence[int]) -> list[Essence]:
    """What a run is told that one service alone serves, and that nothing ever interrupts."""
    async with serving(MemoryStore()) as service:
        answers = [await service.http.post(f"/runs/{run_id}/epoch", json=lively(epoch)) for epoch in epochs]
    return [essence(answer.content) for answer in answers]


async def require_undisturbed(told: dict[str, list[bytes]]) -> None:
    """Return if every run was told what it would have been told without any fault."""
    for run_id, replies in told.items():
        assert [essence(reply) for reply in replies] == await alone(run_id, range(len(replies)))
