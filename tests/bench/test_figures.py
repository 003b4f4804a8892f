"""From samples to the ratios of the targets: right, and silent about what was not measured."""

from __future__ import annotations

import pytest

from bench.figures import medians_of, ratios_of
from bench.targets import TARGETS


def sample(decisions: float, p50: float, p99: float, cpu_us: float) -> dict[str, float]:
    """One measurement of a second."""
    cpu_seconds = decisions * cpu_us / 1e6
    return {"decisions": decisions, "seconds": 1.0, "p50_us": p50, "p99_us": p99, "cpu_seconds": cpu_seconds}


SAMPLES = {
    "tamiyo/32": [sample(1000, 9, 30, 200), sample(3000, 5, 20, 100), sample(2000, 7, 10, 300)],
    "tamiyo_keyed/32": [sample(1900, 8, 21, 208)],
    "fastapi/32": [sample(1000, 10, 40, 400)],
    "starlette/32": [sample(4000, 1, 2, 50)],
    "tamiyo/1": [sample(500, 1500, 3000, 900)],
    "fastapi/1": [sample(900, 1200, 2000, 500)],
    "tamiyo_batch/2": [sample(8000, 9, 9, 40)],
    "tamiyo_postgresql/32": [sample(1500, 9, 9, 250)],
    "tamiyo_2_replicas/32": [sample(1400, 9, 9, 300)],
    "litserve/32": [sample(500, 9, 9, 900)],
    "ray/32": [sample(100, 9, 9, 900)],
    "tamiyo_short/32": [sample(1500, 9, 30, 200)],
    "tamiyo_learned/32": [sample(1800, 9, 60, 220)],
}


def test_medians_are_taken_figure_by_figure() -> None:
    median = medians_of(SAMPLES)["tamiyo/32"]
    assert (median["decisions_per_second"], median["p50_us"], median["p99_us"]) == (2000, 7, 20)
    assert median["cpu_us"] == pytest.approx(200)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("throughput_32_vs_fastapi", 2.0),
        ("throughput_32_vs_starlette", 0.5),
        ("throughput_32_vs_litserve", 4.0),
        ("p99_32_vs_fastapi", 0.5),
        ("cpu_32_vs_fastapi", 0.5),
        ("p50_1_ms_above_fastapi", 0.3),
        ("authentication_cpu_32", 1.04),
        ("keyed_throughput_32_vs_fastapi", 1.9),
        ("postgresql_throughput_32_vs_fastapi", 1.5),
        ("batch_decisions_per_core_vs_single", 5.0),
        ("batch_throughput_vs_single", 4.0),
        ("two_replicas_cpu_vs_one", 1.2),
        ("learned_throughput_32_vs_fastapi", 1.8),
        ("learned_throughput_32_vs_heuristic", 1.2),
        ("learned_throughput_32_vs_ray", 18.0),
        ("learned_p99_32_vs_fastapi", 1.5),
    ],
)
def test_ratio_is_ours_to_theirs(name: str, expected: float) -> None:
    assert ratios_of(medians_of(SAMPLES))[name] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("series", "ratio"),
    [
        ("litserve/32", "throughput_32_vs_litserve"),
        ("tamiyo_batch/2", "batch_decisions_per_core_vs_single"),
        ("tamiyo_2_replicas/32", "two_replicas_cpu_vs_one"),
        ("tamiyo_postgresql/32", "postgresql_throughput_32_vs_fastapi"),
        ("fastapi/1", "p50_1_ms_above_fastapi"),
    ],
)
def test_series_that_was_not_measured_has_no_ratio(series: str, ratio: str) -> None:
    medians = medians_of({name: rows for name, rows in SAMPLES.items() if name != series})
    assert ratio not in ratios_of(medians)
    assert "throughput_32_vs_starlette" in ratios_of(medians)


def test_every_ratio_with_a_target_is_worked_out() -> None:
    wanted = {target.figure.removeprefix("figures.") for target in TARGETS if target.bench == "service"}
    stored = {"bytes_per_decision", "bytes_per_cached_run"}
    assert wanted - stored <= set(ratios_of(medians_of(SAMPLES)))
