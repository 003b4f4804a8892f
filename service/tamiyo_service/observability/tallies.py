"""Tallies: what each part of the service counts as it works, in plain numbers.

Counting happens where decisions are made, thousands of times a second, so it is an addition to an object that
is at hand. Names, labels and the exposition come in when somebody asks: see `collector`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from tamiyo_core import Advice, RowAdvice

if TYPE_CHECKING:
    from tamiyo_service.store.rows import Entry

SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)
"""Upper bounds of durations: from what a flush of the swiftest disk takes to what nobody waits for."""
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Upper bounds of how many there are of something at a time."""
RECENT_ROWS: Final = 512
"""Answers of a network whose entropy is looked at."""

Policy = tuple[str, str]
"""Name and version."""


class Histogram:
    """How often something took how much.

    Args:
        bounds: upper bounds of the buckets, ascending; one more is above them.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds: Final = bounds
        self.counts: Final = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, as often as it occurred."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class CacheTally:
    """Of the runs in memory.

    Attributes:
        at_once: turns that could be taken at once.
        waited: how long the others waited for theirs, in seconds, reading the run included.
        hits: of those the ones whose run was in memory.
        loads: runs that were read.
        evictions: idle runs that made room.
    """

    def __init__(self) -> None:
        self.at_once = 0
        self.waited: Final = Histogram()
        self.hits = 0
        self.loads = 0
        self.evictions = 0


class ReportTally:
    """Of reports.

    Attributes:
        answering: seconds from the whole report to its answer, of reports that came by themselves.
        deciding: seconds that deciding took those that waited for it, the network left out.
        replayed: replies that were stored before.
        refusals: requests of any kind, and reports of a batch, that were refused, by code.
    """

    def __init__(self) -> None:
        self.answering: Final = Histogram()
        self.deciding: Final = Histogram()
        self.replayed = 0
        self.refusals: Final[Counter[str]] = Counter()


_NATURE: Final = itemgetter(2, 6, 7, 8)
"""Kind, action, risk and policy of an entry."""


class StoreTally:
    """Of a store.

    Attributes:
        inputs: entries that are stored, by kind, action, risk and policy.
        storing: seconds from handing a write in until it was durable.
        groups: tasks that were written together.
        writing: seconds that writing a group took.
        swift: groups that were written in the event loop.
        listener: told of entries when they are durable, wherever that is found out; None: nobody.
        failures: groups the database did not take, and questions it did not answer, by "write" or "read".
    """

    def __init__(self) -> None:
        self.inputs: Final[Counter[tuple[Any, ...]]] = Counter()
        self.storing: Final = Histogram()
        self.groups: Final = Histogram(SIZES)
        self.writing: Final = Histogram()
        self.swift = 0
        self.failures: Final[Counter[str]] = Counter()
        self.listener: Callable[[Sequence[Entry]], None] | None = None

    def stored(self, entries: Sequence[Entry]) -> None:
        """Count entries that are durable."""
        self.inputs.update(map(_NATURE, entries))
        if self.listener is not None:
            self.listener(entries)


class NetworkTally:
    """Of the networks that are asked.

    Attributes:
        asking: seconds that reports waited for advice.
        passes: seconds that forward passes took.
        rows: questions that were asked together.
        fallbacks: reports without advice, by policy and cause.
        recent: log-probabilities of the last answers, by policy.
    """

    def __init__(self) -> None:
        self.asking: Final = Histogram()
        self.passes: Final = Histogram()
        self.rows: Final = Histogram(SIZES)
        self.fallbacks: Final[Counter[tuple[Policy, str]]] = Counter()
        self.recent: Final[dict[Policy, deque[RowAdvice]]] = {}

    def advised(self, policy: Policy, advice: Sequence[Advice]) -> None:
        """Count what a network said."""
        recent = self.recent.get(policy)
        if recent is None:
            recent = self.recent.setdefault(policy, deque(maxlen=RECENT_ROWS))
        answered = [one for one in advice if not isinstance(one, str)]
        recent.extend(chain.from_iterable(answered))
        if len(answered) < len(advice):
            self.fallbacks[policy, "unanswered"] += len(advice) - len(answered)


class LiveTally:
    """Of the live streams.

    Attributes:
        sent: events sent.
        dropped: followers that read too slowly.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = 0


class RetentionTally:
    """Of the sweeps.

    Attributes:
        done: what sweeps have deleted: runs, inputs, archived_bytes.
        sweeps: how they ended: "done" or "failed".
    """

    def __init__(self) -> None:
        self.done: Final[Counter[str]] = Counter()
        self.sweeps: Final[Counter[str]] = Counter()
