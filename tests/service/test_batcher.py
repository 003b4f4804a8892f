"""The micro-batcher: one forward pass for all that wait, and an answer whatever happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from structlog.testing import capture_logs
from tamiyo_core import Advice, Question, RowAdvice
from tamiyo_core.learned import LearnedPolicy
from tamiyo_core.observation import TENSOR
from tamiyo_leyline import RunConfig
from tamiyo_service.errors import ModelRejectedError
from tamiyo_service.learned.artifacts import Network
from tamiyo_service.learned.batcher import AT_ONCE_ROWS, Batcher
from tamiyo_service.runs.advising import Asked, advice

POLICY = LearnedPolicy(RunConfig(), version="test-1", sha256="a" * 64, observation=TENSOR)
OTHER = LearnedPolicy(RunConfig(), version="test-2", sha256="b" * 64, observation=TENSOR)
GENEROUS = 30.0


def question(number: float) -> Question:
    return Question((number,), (True, True))


class Echo:
    """Answers with the number it is asked; NaN is a bad row, an infinite one breaks the whole pass."""

    def __init__(self, sha256: str, device: str = "cuda:0") -> None:
        self.sha256 = sha256
        self.device = device
        self.passes: list[list[float]] = []
        self.threads: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def advise(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        numbers = [row.features[0] for row in questions]
        self.passes.append(numbers)
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.open.wait(GENEROUS)
        if any(abs(number) == float("inf") for number in numbers):
            raise ValueError("a question without end")
        return [
            "not a number" if number != number else RowAdvice((-0.5, -1.0), number, 0.0) for number in numbers
        ]


class Shelf:
    """Networks that are ready, or still to be loaded, or cannot be."""

    def __init__(self, *networks: Echo) -> None:
        self.there = {network.sha256: network for network in networks}
        self.loadable: dict[str, Echo] = {}
        self.arrived = asyncio.Event()

    def ready(self, sha256: str) -> Network | None:
        return self.there.get(sha256)

    async def load(self, sha256: str) -> Network:
        await self.arrived.wait()
        if sha256 not in self.loadable:
            raise ModelRejectedError("its sha256 is another")
        self.there[sha256] = self.loadable[sha256]
        return self.there[sha256]


@pytest.fixture
def network() -> Iterator[Echo]:
    echo = Echo(POLICY.sha256)
    yield echo
    echo.open.set()


@pytest.fixture
async def shelf(network: Echo) -> Shelf:
    return Shelf(network, Echo(OTHER.sha256))


@pytest.fixture
async def batcher(shelf: Shelf) -> AsyncIterator[Batcher]:
    batcher = Batcher(shelf, deadline=GENEROUS, limit=1000)
    yield batcher
    await batcher.close()


def values(advice: Advice) -> list[float]:
    assert not isinstance(advice, str), advice
    return [row.value for row in advice]


async def test_all_that_wait_are_asked_in_one_pass(batcher: Batcher, network: Echo) -> None:
    network.open.clear()
    first = asyncio.ensure_future(batcher.advise(POLICY, [(question(0),)]))
    await asyncio.to_thread(network.entered.wait, GENEROUS)
    rest = [
        asyncio.ensure_future(batcher.advise(POLICY, [(question(n), question(n + 0.5))])) for n in range(1, 9)
    ]
    await asyncio.sleep(0)
    network.open.set()
    assert values((await first)[0]) == [0]
    assert [values((await one)[0]) for one in rest] == [[n, n + 0.5] for n in range(1, 9)]
    assert network.passes == [[0], [x for n in range(1, 9) for x in (n, n + 0.5)]]
    assert network.threads == {"tamiyo-network"}


async def test_those_who_come_in_the_same_turn_share_the_first_pass(batcher: Batcher, network: Echo) -> None:
    await asyncio.gather(*(batcher.advise(POLICY, [(question(n),)]) for n in range(5)))
    assert network.passes == [[0, 1, 2, 3, 4]]


async def test_networks_are_asked_apart(batcher: Batcher, network: Echo, shelf: Shelf) -> None:
    one, other = await asyncio.gather(
        batcher.advise(POLICY, [(question(1),)]), batcher.advise(OTHER, [(question(2),)])
    )
    assert (values(one[0]), values(other[0])) == ([1], [2])
    assert (network.passes, shelf.there[OTHER.sha256].passes) == ([[1]], [[2]])


async def test_a_bad_row_concerns_its_report_alone(batcher: Batcher) -> None:
    bad, good = await batcher.advise(
        POLICY, [(question(1), question(float("nan"))), (question(2), question(3))]
    )
    assert bad == "not a number"
    assert values(good) == [2, 3]


async def test_a_pass_that_fails_is_repeated_for_each_report(batcher: Batcher, network: Echo) -> None:
    bad, good = await batcher.advise(POLICY, [(question(float("inf")),), (question(2),)])
    assert bad == "the network failed: a question without end"
    assert values(good) == [2]
    assert len(network.passes) == 3


async def test_a_network_on_the_cpu_is_asked_at_once(shelf: Shelf) -> None:
    cpu = shelf.there[POLICY.sha256] = Echo(POLICY.sha256, "cpu")
    batcher = Batcher(shelf, deadline=GENEROUS, limit=1000)
    advice = batcher.at_once(POLICY, [(question(1),), (question(2),)])
    assert advice is not None
    assert [values(one) for one in advice] == [[1], [2]]
    assert cpu.threads == {threading.current_thread().name}
    assert batcher.at_once(POLICY, [(question(n),) for n in range(AT_ONCE_ROWS + 1)]) is None
    assert batcher.at_once(OTHER, [(question(1),)]) is None, "it is on a GPU"
    many = await batcher.advise(POLICY, [(question(n),) for n in range(AT_ONCE_ROWS + 1)])
    assert [values(one)[0] for one in many] == list(range(AT_ONCE_ROWS + 1))
    assert "tamiyo-network" in cpu.threads, "what takes long is for the thread"
    await batcher.close()


async def test_a_network_that_the_thread_is_asking_is_not_asked_at_once(shelf: Shelf) -> None:
    cpu = shelf.there[POLICY.sha256] = Echo(POLICY.sha256, "cpu")
    cpu.open.clear()
    batcher = Batcher(shelf, deadline=GENEROUS, limit=1000)
    large = [(question(n),) for n in range(AT_ONCE_ROWS + 1)]
    under_way = asyncio.ensure_future(batcher.advise(POLICY, large))
    await asyncio.to_thread(cpu.entered.wait, GENEROUS)
    assert batcher.at_once(POLICY, [(question(1),)]) is None
    cpu.open.set()
    await under_way
    assert batcher.at_once(POLICY, [(question(1),)]) is not None
    await batcher.close()


async def test_who_waits_too_long_does_without_and_delays_nobody(shelf: Shelf, network: Echo) -> None:
    batcher = Batcher(shelf, deadline=0.05, limit=1000)
    network.open.clear()
    stuck = asyncio.ensure_future(batcher.advise(POLICY, [(question(1),)]))
    await asyncio.to_thread(network.entered.wait, GENEROUS)
    behind = await batcher.advise(POLICY, [(question(2),)])
    assert await stuck == behind == ["no advice within 0.05 s"]
    network.open.set()
    assert values((await _until_advised(batcher, 3))[0]) == [3]
    assert [2] not in network.passes, "nobody waits for it any more"
    await batcher.close()


async def test_a_network_that_gives_no_advice_does_not_fill_the_log(shelf: Shelf, network: Echo) -> None:
    batcher = Batcher(shelf, deadline=0.0, limit=1000)
    network.open.clear()
    with capture_logs() as entries:
        for number in range(5):
            await batcher.advise(POLICY, [(question(number),)] * 2)
        await batcher.advise(OTHER, [(question(7),)])
    told = [(entry["policy"], entry["reports"], entry["untold_reports"]) for entry in entries]
    assert told == [("test-1", 2, 0), ("test-2", 1, 0)]
    assert sum(batcher.tally.fallbacks.values()) == 11
    network.open.set()
    await batcher.close()


async def _until_advised(batcher: Batcher, number: float) -> list[Advice]:
    while True:
        advice = await batcher.advise(POLICY, [(question(number),)])
        if not isinstance(advice[0], str):
            return advice


async def test_a_caller_that_leaves_stalls_nobody(batcher: Batcher, network: Echo) -> None:
    network.open.clear()
    stuck = asyncio.ensure_future(batcher.advise(POLICY, [(question(1),)]))
    await asyncio.to_thread(network.entered.wait, GENEROUS)
    leaving = asyncio.ensure_future(batcher.advise(POLICY, [(question(2),)]))
    staying = asyncio.ensure_future(batcher.advise(POLICY, [(question(3),)]))
    await asyncio.sleep(0)
    leaving.cancel()
    network.open.set()
    assert [values((await one)[0]) for one in (stuck, staying)] == [[1], [3]]
    assert network.passes == [[1], [3]]


async def test_more_questions_than_may_wait_are_turned_away_at_once(shelf: Shelf, network: Echo) -> None:
    batcher = Batcher(shelf, deadline=GENEROUS, limit=3)
    network.open.clear()
    waiting = asyncio.ensure_future(batcher.advise(POLICY, [(question(n),) for n in range(3)]))
    await asyncio.to_thread(network.entered.wait, GENEROUS)
    assert await batcher.advise(POLICY, [(question(4),)]) == ["3 questions wait for the network"]
    network.open.set()
    await waiting
    assert values((await batcher.advise(POLICY, [(question(4),)]))[0]) == [4]
    await batcher.close()


async def test_a_network_is_loaded_when_it_is_first_needed() -> None:
    shelf = Shelf()
    shelf.loadable[POLICY.sha256] = Echo(POLICY.sha256)
    batcher = Batcher(shelf, deadline=GENEROUS, limit=10)
    waiting = asyncio.ensure_future(batcher.advise(POLICY, [(question(1),)]))
    await asyncio.sleep(0)
    shelf.arrived.set()
    assert values((await waiting)[0]) == [1]
    refused = await batcher.advise(OTHER, [(question(1),), (question(2),)])
    assert refused == ["the network cannot be used: its sha256 is another"] * 2
    await batcher.close()


async def test_a_network_that_does_not_come_is_not_waited_for() -> None:
    batcher = Batcher(Shelf(), deadline=0.05, limit=10)
    advice = await batcher.advise(POLICY, [(question(1),)])
    assert advice == ["the network was not loaded within 0.05 s"]


async def test_closing_leaves_nobody_waiting(shelf: Shelf, network: Echo) -> None:
    batcher = Batcher(shelf, deadline=GENEROUS, limit=10)
    network.open.clear()
    under_way = asyncio.ensure_future(batcher.advise(POLICY, [(question(1),)]))
    await asyncio.to_thread(network.entered.wait, GENEROUS)
    waiting = asyncio.ensure_future(batcher.advise(POLICY, [(question(2),)]))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(batcher.close())
    assert await waiting == ["the service is stopping"]
    network.open.set()
    await closing
    assert values((await under_way)[0]) == [1]


async def test_networks_of_reports_that_come_together_are_asked_together(shelf: Shelf) -> None:
    shelf.there.clear()
    shelf.loadable = {one.sha256: Echo(one.sha256, "cpu") for one in (POLICY, OTHER)}
    loading: list[str] = []

    class Noting(Shelf):
        async def load(self, sha256: str) -> Network:
            loading.append(sha256)
            return await shelf.load(sha256)

    batcher = Batcher(Noting(), deadline=GENEROUS, limit=1000)
    asked: Asked = [(POLICY, (question(1),)), (None, ()), (OTHER, (question(2),)), (POLICY, (question(3),))]
    advised = asyncio.ensure_future(advice(batcher, asked))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert loading == [POLICY.sha256, OTHER.sha256], "neither waits for the other"
    shelf.arrived.set()
    told = [None if one is None else values(one) for one in await advised]
    assert told == [[1], None, [2], [3]]
    await batcher.close()


async def test_a_network_that_was_waited_for_in_vain_is_used_once_it_is_there(shelf: Shelf) -> None:
    shelf.there.clear()
    batcher = Batcher(shelf, deadline=0.05, limit=1000)
    assert await batcher.advise(POLICY, [(question(1),)]) == ["the network was not loaded within 0.05 s"]
    batcher._deadline = 2 * GENEROUS
    again = await asyncio.wait_for(batcher.advise(POLICY, [(question(2),)]), GENEROUS)
    assert again == ["the network was not loaded within 60 s"], "it is not waited for again"
    shelf.arrived.set()
    (refused,) = await batcher.advise(POLICY, [(question(3),)])
    assert refused == "the network cannot be used: its sha256 is another"
    shelf.arrived.clear()
    shelf.loadable[POLICY.sha256] = Echo(POLICY.sha256, "cpu")
    waiting = asyncio.ensure_future(batcher.advise(POLICY, [(question(4),)]))
    await asyncio.sleep(0)
    shelf.arrived.set()
    assert values((await waiting)[0]) == [4], "a new attempt to load it is waited for"
    await batcher.close()
