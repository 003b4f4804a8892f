"""The micro-batcher: questions of all runs that wait become one forward pass.

::

    at_once ── few rows on the CPU: asked at once, which costs less than handing them over
    advise ──▶ waiting ──▶ all that wait for one network, when the thread is free ──▶ one forward pass
           ◀── call_soon_threadsafe, once for all of them ◀────────────────────────────┘

Nobody waits for others to come: a pass gathers while the one before is under way, or while the event loop is
busy with those who are about to join it. Every report has its deadline, every queue its limit, and whatever
goes wrong is told as advice: the policy falls back, the report is answered.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple, Protocol

import structlog
from tamiyo_core import Advice, AskingPolicy, Question, RowAdvice

from tamiyo_service.errors import TamiyoError
from tamiyo_service.learned.artifacts import Network
from tamiyo_service.observability.sparing import Sparing
from tamiyo_service.observability.tallies import NetworkTally
from tamiyo_service.runs.advising import Questions

AT_ONCE_ROWS: Final = 64
"""Rows that the event loop may ask a network on the CPU itself: that takes a few tenths of a millisecond."""
LARGEST_PASS: Final = 4096
"""Rows after which no further report joins a pass."""
_QUIET_SECONDS: Final = 60.0
"""Between two warnings that a network gives no advice, for one and the same cause."""

Answers = Sequence[RowAdvice | str]

_LOG: Final = structlog.get_logger(__name__)


class Networks(Protocol):
    """Where networks are: a `Registry`."""

    def ready(self, sha256: str) -> Network | None:
        """The network of an artifact if it is loaded."""

    async def load(self, sha256: str) -> Network:
        """The network of an artifact.

        Raises:
            ModelRejectedError: if it cannot be used.
        """


class _Item(NamedTuple):
    """Reports that came together, on their way."""

    asked: Sequence[Questions]
    rows: int
    future: asyncio.Future[list[Advice]]


class _Pass(NamedTuple):
    """What a network is asked together."""

    network: Network
    items: list[_Item]


class Batcher:
    """Asks networks; an `Advisor`. For use in one event loop.

    Args:
        networks: has them.
        deadline: seconds that a report waits for advice.
        limit: questions that may wait.
    """

    def __init__(self, networks: Networks, *, deadline: float, limit: int) -> None:
        self._networks = networks
        self._deadline = deadline
        self._limit = limit
        self._waiting: dict[str, list[_Item]] = {}
        self._late: set[str] = set()
        self._pending = 0
        self._busy = False
        self._scheduled = False
        self._passes: SimpleQueue[_Pass | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sparing = Sparing(_QUIET_SECONDS)
        self.tally: Final = NetworkTally()

    @property
    def pending(self) -> int:
        """Questions that wait in line."""
        return self._pending

    def at_once(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice] | None:
        """As `Advisor.at_once`: from a network on the CPU that nobody else is asking."""
        network = self._networks.ready(policy.sha256)
        if network is None:
            return None
        began = time.perf_counter()
        advice = self._here(policy, network, asked)
        if advice is not None:
            self.tally.asking.observe(time.perf_counter() - began, len(asked))
        return advice

    async def advise(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice]:
        """As `Advisor.advise`, within the deadline."""
        began = time.perf_counter()
        try:
            return await self._advise(policy, asked)
        finally:
            self.tally.asking.observe(time.perf_counter() - began, len(asked))

    async def _advise(self, policy: AskingPolicy, asked: Sequence[Questions]) -> list[Advice]:
        until = asyncio.get_running_loop().time() + self._deadline
        network = self._networks.ready(policy.sha256)
        if network is None:
            try:
                network = await self._loaded(policy.sha256, until)
            except TimeoutError:
                why = f"the network was not loaded within {self._deadline:g} s"
                return self._without(why, policy, "deadline", asked)
            except TamiyoError as error:
                why = f"the network cannot be used: {error.message}"
                return self._without(why, policy, "rejected", asked)
        elif self._late:
            self._late.discard(policy.sha256)
        advice = self._here(policy, network, asked)
        return advice if advice is not None else await self._in_line(policy, network, asked, until)

    async def _loaded(self, sha256: str, until: float) -> Network:
        """A network by that moment. Who comes after others waited in vain does not wait until it is there."""
        try:
            async with asyncio.timeout_at(0.0 if sha256 in self._late else until):
                network = await self._networks.load(sha256)
        except TimeoutError:
            self._late.add(sha256)
            raise
        except TamiyoError:
            self._late.discard(sha256)
            raise
        self._late.discard(sha256)
        return network

    def _here(
        self, policy: AskingPolicy, network: Network, asked: Sequence[Questions]
    ) -> list[Advice] | None:
        """Advice in this very turn of the loop; None: that would hold up others."""
        if network.device != "cpu" or self._busy or sum(map(len, asked)) > AT_ONCE_ROWS:
            return None
        return self._noted(policy, self._pass(network, asked))

    async def close(self) -> None:
        """Stop the thread; what waits is told that there is no advice."""
        for items in self._waiting.values():
            _tell(items, ["the service is stopping"] * sum(len(item.asked) for item in items))
        self._waiting.clear()
        if self._thread is not None:
            self._passes.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def _in_line(
        self, policy: AskingPolicy, network: Network, asked: Sequence[Questions], until: float
    ) -> list[Advice]:
        rows = sum(map(len, asked))
        if self._pending + rows > self._limit:
            why = f"{self._pending} questions wait for the network"
            return self._without(why, policy, "overloaded", asked)
        loop = asyncio.get_running_loop()
        item = _Item(asked, rows, loop.create_future())
        # What is still in line then is passed by.
        lapse = loop.call_at(until, _tell, (item,), ())
        self._pending += rows
        self._waiting.setdefault(network.sha256, []).append(item)
        self._schedule(loop)
        try:
            advice = await item.future
        finally:
            lapse.cancel()
            self._pending -= rows
        if not advice:
            return self._without(f"no advice within {self._deadline:g} s", policy, "deadline", asked)
        return self._noted(policy, advice)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over at the end of this turn of the loop: those who are served in it join."""
        if not self._busy and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Give the thread all that wait for one network, as many as make one pass."""
        self._scheduled = False
        while self._waiting and not self._busy:
            sha256, items = next(iter(self._waiting.items()))
            del self._waiting[sha256]
            taken, left = _as_many_as_fit([item for item in items if not item.future.done()])
            if left:
                self._waiting[sha256] = left
            network = self._networks.ready(sha256)
            if taken and network is not None:
                self._busy = True
                self._start().put(_Pass(network, taken))

    def _start(self) -> SimpleQueue[_Pass | None]:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="tamiyo-network", daemon=True)
            self._thread.start()
        return self._passes

    def _run(self) -> None:
        assert self._loop is not None
        while (given := self._passes.get()) is not None:
            asked = [questions for item in given.items for questions in item.asked]
            advice: list[Advice] = ["the network broke off"] * len(asked)
            try:
                advice = self._pass(given.network, asked)
            finally:
                # Whatever happens, nobody waits for longer than the pass took.
                self._loop.call_soon_threadsafe(self._settle, given.items, advice)

    def _settle(self, items: Sequence[_Item], advice: Sequence[Advice]) -> None:
        self._busy = False
        _tell(items, advice)
        self._hand_over()

    def _pass(self, network: Network, asked: Sequence[Questions]) -> list[Advice]:
        began = time.perf_counter()
        advice = _ask(network, asked)
        self.tally.passes.observe(time.perf_counter() - began)
        self.tally.rows.observe(sum(map(len, asked)))
        return advice

    def _noted(self, policy: AskingPolicy, advice: list[Advice]) -> list[Advice]:
        self.tally.advised((policy.name, policy.version), advice)
        return advice

    def _without(
        self, why: str, policy: AskingPolicy, cause: str, asked: Sequence[Questions]
    ) -> list[Advice]:
        self.tally.fallbacks[(policy.name, policy.version), cause] += len(asked)
        untold = self._sparing.due((policy.version, cause), len(asked))
        if untold is not None:
            _LOG.warning(
                "no_advice", reason=why, reports=len(asked), policy=policy.version, untold_reports=untold
            )
        return [why] * len(asked)


def _ask(network: Network, asked: Sequence[Questions]) -> list[Advice]:
    """Advice for every report from one forward pass; if that fails, from one pass for each."""
    questions: list[Question] = [question for one in asked for question in one]
    try:
        answers = network.advise(questions)
    except (ValueError, RuntimeError) as error:
        if len(asked) == 1:
            return [f"the network failed: {error}"]
        return [advice for one in asked for advice in _ask(network, [one])]
    if len(questions) == len(asked):
        return [answer if isinstance(answer, str) else (answer,) for answer in answers]
    return _by_report(answers, asked)


def _by_report(answers: Answers, asked: Sequence[Questions]) -> list[Advice]:
    advice: list[Advice] = []
    place = 0
    for questions in asked:
        rows = answers[place : place + len(questions)]
        place += len(questions)
        # One question without an answer leaves the report without advice: one policy decides all of it.
        trouble = next((row for row in rows if isinstance(row, str)), None)
        advice.append(trouble or tuple(row for row in rows if isinstance(row, RowAdvice)))
    return advice


def _as_many_as_fit(items: list[_Item]) -> tuple[list[_Item], list[_Item]]:
    count = rows = 0
    while count < len(items) and rows < LARGEST_PASS:
        rows += items[count].rows
        count += 1
    return items[:count], items[count:]


def _tell(items: Sequence[_Item], advice: Sequence[Advice]) -> None:
    place = 0
    for item in items:
        if not item.future.done():
            item.future.set_result(list(advice[place : place + len(item.asked)]))
        place += len(item.asked)
