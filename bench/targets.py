"""What the product has to reach, as figures of the benches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound on one figure of one bench.

    Attributes:
        bench: the bench's file, without ending.
        figure: the figure's name in what its `measure` returns; dots lead into nested figures.
        bound: what the figure is held against.
        at_most: whether the bound is the largest good value; else it is the smallest.
        meaning: the figure in words, with its unit.
    """

    bench: str
    figure: str
    bound: float
    at_most: bool
    meaning: str

    def value(self, figures: Mapping[str, Any]) -> float:
        """The figure, or NaN where it was not measured."""
        found: Any = figures
        for name in self.figure.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return float(found) if isinstance(found, int | float) else math.nan

    def met(self, value: float) -> bool:
        """Whether a value is good; NaN never is."""
        return value <= self.bound if self.at_most else value >= self.bound

    @property
    def wanted(self) -> str:
        """The bound as it is printed."""
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


TARGETS = (
    Target("core", "median_us", 60.0, True, "observe + decide, one seed, median, us"),
    Target("plateau", "default.alarms_to_raw", 0.2, True, "false plateau alarms, to the raw rule's"),
    Target("plateau", "default.delay_to_raw", 1.0, True, "median delay of detection, to the raw rule's"),
    Target("features", "objects_speedup", 2.0, False, "1 024 signals from objects, times the scalar loop"),
    Target("features", "columns_speedup", 20.0, False, "1 024 signals from columns, times the scalar loop"),
    Target(
        "service",
        "figures.throughput_32_vs_fastapi",
        1.3,
        False,
        "durable decisions/s, 32 connections, to bare FastAPI",
    ),
    Target("service", "figures.throughput_32_vs_starlette", 0.4, False, "the same, to bare Starlette"),
    Target("service", "figures.p99_32_vs_fastapi", 1.0, True, "their p99, to bare FastAPI's"),
    Target("service", "figures.p50_1_ms_above_fastapi", 0.4, True, "p50 at 1 connection, ms above FastAPI's"),
    Target(
        "service",
        "figures.postgresql_throughput_32_vs_fastapi",
        1.0,
        False,
        "decisions/s on PostgreSQL, 32 connections, to FastAPI",
    ),
    Target(
        "service",
        "figures.batch_decisions_per_core_vs_single",
        3.0,
        False,
        "decisions of a core in batches, to one by one",
    ),
    Target("service", "figures.two_replicas_cpu_vs_one", 1.25, True, "CPU of a decision, 2 replicas to 1"),
    Target(
        "service",
        "figures.authentication_cpu_32",
        1.05,
        True,
        "CPU of a decision with authentication, to one without",
    ),
    Target("activation", "added_ms", 5.0, True, "slowest decision during an activation, ms above the usual"),
    Target("service", "figures.bytes_per_decision", 3000.0, True, "disk for a decision with one seed, bytes"),
    Target("service", "figures.bytes_per_cached_run", 6144.0, True, "memory of a cached idle run, bytes"),
    Target(
        "service",
        "figures.learned_throughput_32_vs_fastapi",
        1.0,
        False,
        "learned decisions/s, 32 connections, to bare FastAPI",
    ),
    Target("service", "figures.learned_p99_32_vs_fastapi", 1.25, True, "their p99, to bare FastAPI's"),
    Target(
        "service", "figures.learned_throughput_32_vs_heuristic", 0.8, False, "the same, to the heuristic's"
    ),
    Target("service", "figures.learned_throughput_32_vs_litserve", 5.0, False, "the same, to LitServe"),
    Target("service", "figures.learned_throughput_32_vs_ray", 20.0, False, "the same, to Ray Serve"),
    Target("history", "figures.worst_p99_ms", 20.0, True, "first page at 10 million, slowest p99, ms"),
    Target("history", "figures.ready_s", 2.0, True, "start with a million known runs, s"),
    Target("history", "figures.first_report_p50_ms", 5.0, True, "first report to a cold run, median, ms"),
    Target("history", "figures.first_look_p50_ms", 5.0, True, "first look at a cold run, median, ms"),
    Target("network", "torchscript_1_to_eager", 0.45, True, "network at batch 1, TorchScript to eager"),
    Target("network", "onnx_1_to_eager", 0.25, True, "the same, ONNX to eager"),
    Target("network", "torchscript_64_to_eager", 0.6, True, "a row of 64, TorchScript to eager"),
    Target("network", "onnx_64_to_eager", 0.5, True, "the same, ONNX to eager"),
    Target("client_import", "ratio_of_imports", 1.3, True, "import tamiyo_client, to import httpx, pydantic"),
)
