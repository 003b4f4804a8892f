"""From the tallies to samples, when somebody asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from tamiyo_core import RowAdvice
from tamiyo_leyline import LEYLINE_VERSION, RiskLevel, __version__
from tamiyo_leyline.topology import TOPOLOGIES

from tamiyo_service.learned.batcher import Batcher
from tamiyo_service.learned.shadows import Shadows
from tamiyo_service.live.hub import Hub
from tamiyo_service.observability import families
from tamiyo_service.observability.families import Numbers, one
from tamiyo_service.observability.tallies import Histogram, ReportTally
from tamiyo_service.retention.sweeper import Sweeper
from tamiyo_service.runs.session import Sessions
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import InputKind

_GERMINATE: Final = "GERMINATE"
_OTHER: Final = "other"
_BUILT_IN: Final = frozenset(name for topology in TOPOLOGIES.values() for name in topology.names)


@dataclass(frozen=True)
class Observed:
    """What is looked at.

    Attributes:
        store: keeps everything.
        sessions: the runs in memory.
        reports: counts them.
        batcher: asks networks.
        shadows: decide behind the requests.
        live: tells those who follow.
        sweeper: deletes what need not be kept.
    """

    store: Store
    sessions: Sessions
    reports: ReportTally
    batcher: Batcher
    shadows: Shadows
    live: Hub
    sweeper: Sweeper


class Scrape(Collector):
    """All samples of one moment.

    Args:
        observed: what they are of.
        ready: whether decisions can be made.
        silent: active runs without a report, by for how long.
    """

    def __init__(self, observed: Observed, *, ready: bool, silent: Mapping[str, int]) -> None:
        self._observed = observed
        self._ready = ready
        self._silent = silent

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield families.BUILD.gauge([((__version__, LEYLINE_VERSION), 1)])
        yield families.READY.gauge(one(self._ready))
        yield families.SILENT.gauge(((span,), number) for span, number in self._silent.items())
        yield from self._reports()
        yield from self._store()
        yield from self._cache()
        yield from self._networks()
        yield from self._around()
        yield from ProcessCollector(registry=None).collect()

    def _reports(self) -> Iterator[Metric]:
        # Another thread may be counting: a copy is taken at one go.
        inputs = dict(self._observed.store.tally.inputs)
        decided = [(nature[1:], count) for nature, count in inputs.items() if nature[0] == InputKind.REPORT]
        yield families.DECISIONS.counter(
            _summed(
                ((_kind(action), policy, RiskLevel(risk).name), count)
                for (action, risk, policy), count in decided
            )
        )
        yield families.GERMINATIONS.counter(
            _summed(
                ((_blueprint(action),), count)
                for (action, _, _), count in decided
                if _kind(action) == _GERMINATE
            )
        )
        yield families.INPUTS.counter(_summed(((kind.value,), count) for (kind, *_), count in inputs.items()))
        tally = self._observed.reports
        yield families.REPLAYED.counter(one(tally.replayed))
        yield families.REFUSALS.counter(((code,), count) for code, count in tally.refusals.items())
        yield families.REPORT_SECONDS.histogram([((), tally.answering)])
        yield families.PHASE_SECONDS.histogram(((phase,), seconds) for phase, seconds in self._phases())

    def _phases(self) -> Iterator[tuple[str, Histogram]]:
        sessions = self._observed.sessions.tally
        turn = Histogram(sessions.waited.bounds)
        turn.counts[:] = sessions.waited.counts
        turn.counts[0] += sessions.at_once
        turn.total = sessions.waited.total
        yield "turn", turn
        yield "deciding", self._observed.reports.deciding
        yield "network", self._observed.batcher.tally.asking
        yield "storing", self._observed.store.tally.storing

    def _store(self) -> Iterator[Metric]:
        store, tally = self._observed.store, self._observed.store.tally
        yield families.WRITE_QUEUE.gauge(one(store.writes_waiting()))
        yield families.WRITE_AGE.gauge(one(store.write_age()))
        yield families.WRITE_GROUP.histogram([((), tally.groups)])
        yield families.WRITE_SECONDS.histogram([((), tally.writing)])
        yield families.SWIFT_WRITES.counter(one(tally.swift))
        yield families.STORE_ERRORS.counter(
            ((operation,), tally.failures[operation]) for operation in ("read", "write")
        )

    def _cache(self) -> Iterator[Metric]:
        sessions = self._observed.sessions
        yield families.CACHED_RUNS.gauge(one(len(sessions)))
        yield families.CACHE_HITS.counter(one(sessions.tally.at_once + sessions.tally.hits))
        yield families.CACHE_LOADS.counter(one(sessions.tally.loads))
        yield families.CACHE_EVICTIONS.counter(one(sessions.tally.evictions))

    def _networks(self) -> Iterator[Metric]:
        tally = self._observed.batcher.tally
        yield families.FALLBACKS.counter(
            ((*policy, cause), count) for (policy, cause), count in tally.fallbacks.items()
        )
        yield families.PASS_SECONDS.histogram([((), tally.passes)])
        yield families.PASS_ROWS.histogram([((), tally.rows)])
        yield families.NETWORK_QUEUE.gauge(one(self._observed.batcher.pending))
        yield families.ENTROPY.gauge(
            (policy, mean_entropy(recent)) for policy, recent in tally.recent.items() if recent
        )
        yield families.SHADOWS.counter(
            ((*policy, result), count)
            for policy, counts in self._observed.shadows.counts().items()
            for result, count in counts._asdict().items()
        )

    def _around(self) -> Iterator[Metric]:
        live, sweeper = self._observed.live, self._observed.sweeper.tally
        yield families.STREAMS.gauge(one(live.open_streams))
        yield families.EVENTS_SENT.counter(one(live.tally.sent))
        yield families.STREAMS_DROPPED.counter(one(live.tally.dropped))
        yield families.SWEEPS.counter(((end,), sweeper.sweeps[end]) for end in ("done", "failed"))
        yield families.SWEPT_RUNS.counter(one(sweeper.done["runs"]))
        yield families.SWEPT_INPUTS.counter(one(sweeper.done["inputs"]))
        yield families.ARCHIVED.counter(one(sweeper.done["archived_bytes"]))


def mean_entropy(answers: Iterable[RowAdvice]) -> float:
    """Mean entropy of some answers' action probabilities, nats."""
    entropies = [
        -sum(math.exp(log_prob) * log_prob for log_prob in answer.log_probs if log_prob != -math.inf)
        for answer in answers
    ]
    return math.fsum(entropies) / len(entropies)


def _summed(numbers: Numbers) -> Numbers:
    summed: Counter[tuple[str, ...]] = Counter()
    for labels, number in numbers:
        summed[labels] += int(number)
    return summed.items()


def _kind(action: str) -> str:
    return _GERMINATE if action.startswith(_GERMINATE) else action


def _blueprint(action: str) -> str:
    """The blueprint of a GERMINATE; trainers bring their own, and any number of them."""
    name = action.removeprefix(f"{_GERMINATE}_").lower()
    return name if name in _BUILT_IN else _OTHER
