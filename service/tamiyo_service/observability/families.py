"""Every metric: its name, its type, what it tells, its labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from tamiyo_service.observability.tallies import Histogram

Labels = tuple[str, ...]
Numbers = Iterable[tuple[Labels, float]]
Histograms = Iterable[tuple[Labels, Histogram]]


class Family(NamedTuple):
    """A metric.

    Attributes:
        name: in full; that of a counter ends in ``_total``.
        about: what it tells, in one sentence.
        labels: names, in the order of every sample's values.
        is_histogram: whether its series are a histogram's three.
    """

    name: str
    about: str
    labels: Labels = ()
    is_histogram: bool = False

    def counter(self, numbers: Numbers) -> Metric:
        """What has been counted since the process started."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.about, labels=self.labels)
        for labels, number in numbers:
            family.add_metric(labels, number)
        return family

    def gauge(self, numbers: Numbers) -> Metric:
        """How things stand."""
        family = GaugeMetricFamily(self.name, self.about, labels=self.labels)
        for labels, number in numbers:
            family.add_metric(labels, number)
        return family

    def histogram(self, histograms: Histograms) -> Metric:
        """How often something took how much."""
        family = HistogramMetricFamily(self.name, self.about, labels=self.labels)
        for labels, histogram in histograms:
            family.add_metric(labels, _buckets(histogram.bounds, histogram.counts), histogram.total)
        return family


def one(number: float) -> Numbers:
    """A sample without labels."""
    return [((), number)]


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    names = [*(f"{float(bound)}" for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


BUILD: Final = Family("tamiyo_build_info", "Always 1; the labels tell what runs.", ("version", "leyline"))
READY: Final = Family("tamiyo_ready", "Whether decisions can be made and stored: what /readyz says.")
DECISIONS: Final = Family(
    "tamiyo_decisions_total",
    "Decisions stored; their first action, their policy, the highest risk of their commands.",
    ("action", "policy", "risk"),
)
GERMINATIONS: Final = Family(
    "tamiyo_germinations_total",
    "Decisions whose first action germinates a seed; a blueprint of a run's own is other.",
    ("blueprint",),
)
INPUTS: Final = Family("tamiyo_inputs_total", "Numbered inputs of runs stored, reports included.", ("kind",))
REPLAYED: Final = Family("tamiyo_replayed_replies_total", "Reports answered with the reply stored before.")
REFUSALS: Final = Family(
    "tamiyo_refusals_total", "Requests, and reports of a batch, that got a problem document.", ("code",)
)
REPORT_SECONDS: Final = Family(
    "tamiyo_report_seconds", "From a report's arrival to its reply, which is durable then.", is_histogram=True
)
PHASE_SECONDS: Final = Family(
    "tamiyo_decision_phase_seconds",
    "Parts of that time: turn (waiting for the run's turn, reading it), deciding, network, storing.",
    ("phase",),
    is_histogram=True,
)
WRITE_QUEUE: Final = Family(
    "tamiyo_write_queue_rows", "Rows that wait for the disk or are on their way to it."
)
WRITE_AGE: Final = Family("tamiyo_write_age_seconds", "How long the write under way has taken so far.")
WRITE_GROUP: Final = Family(
    "tamiyo_write_group_size", "Requests whose writes shared a transaction.", is_histogram=True
)
WRITE_SECONDS: Final = Family(
    "tamiyo_write_seconds", "Duration of the transactions that write.", is_histogram=True
)
SWIFT_WRITES: Final = Family("tamiyo_swift_writes_total", "Transactions written without the writer's thread.")
STORE_ERRORS: Final = Family(
    "tamiyo_store_errors_total",
    "Transactions the database did not take, and questions it did not answer.",
    ("operation",),
)
CACHED_RUNS: Final = Family("tamiyo_cached_runs", "Runs in memory.")
CACHE_HITS: Final = Family("tamiyo_cache_hits_total", "Requests whose run was in memory, or new.")
CACHE_LOADS: Final = Family("tamiyo_cache_loads_total", "Runs read from the store.")
CACHE_EVICTIONS: Final = Family("tamiyo_cache_evictions_total", "Idle runs that made room for others.")
FALLBACKS: Final = Family(
    "tamiyo_fallbacks_total",
    "Reports for which a learned policy got no advice, so that the heuristic decided.",
    ("policy", "version", "cause"),
)
PASS_SECONDS: Final = Family(
    "tamiyo_forward_pass_seconds", "Duration of the networks' forward passes.", is_histogram=True
)
PASS_ROWS: Final = Family(
    "tamiyo_forward_pass_rows", "Questions answered by one forward pass.", is_histogram=True
)
NETWORK_QUEUE: Final = Family("tamiyo_network_queue_questions", "Questions that wait for a network.")
ENTROPY: Final = Family(
    "tamiyo_policy_entropy_nats",
    "Mean entropy of the action probabilities in a network's last 512 answers.",
    ("policy", "version"),
)
SHADOWS: Final = Family(
    "tamiyo_shadow_decisions_total",
    "Decisions of shadow policies: agreed or disagreed with what was done, or failed.",
    ("policy", "version", "result"),
)
STREAMS: Final = Family("tamiyo_live_streams", "Live streams that are open.")
EVENTS_SENT: Final = Family("tamiyo_live_events_sent_total", "Events sent to those who follow.")
STREAMS_DROPPED: Final = Family(
    "tamiyo_live_streams_dropped_total", "Followers dropped: they read too slowly."
)
SWEEPS: Final = Family("tamiyo_retention_sweeps_total", "Looks for runs that need not be kept.", ("result",))
SWEPT_RUNS: Final = Family("tamiyo_retention_runs_total", "Runs deleted because their time was over.")
SWEPT_INPUTS: Final = Family("tamiyo_retention_inputs_total", "Numbered inputs deleted with them.")
ARCHIVED: Final = Family("tamiyo_retention_archived_bytes_total", "Size of the archive files written.")
SILENT: Final = Family(
    "tamiyo_silent_runs",
    "Active runs without a report for at least so long, looked for once a minute.",
    ("at_least",),
)
