"""From samples to medians, and from medians to the ratios that the targets are about."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

Row = Mapping[str, float]

_YARDSTICKS: Final = ("fastapi", "starlette")
_OURS: Final = {
    "": "tamiyo",
    "postgresql_": "tamiyo_postgresql",
    "learned_": "tamiyo_learned",
    "keyed_": "tamiyo_keyed",
}


def medians_of(samples: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """The median of every figure, by series."""
    return {name: _median(results) for name, results in samples.items() if results}


def ratios_of(medians: Mapping[str, Row]) -> dict[str, float]:
    """Ratios between series, and one difference; those of series that were not measured are absent.

    ``throughput_32_vs_fastapi`` is ours to theirs at 32 connections, ``cpu`` the CPU time of a decision.
    """
    ratios: dict[str, float] = {}
    for prefix, ours in _OURS.items():
        for other in _YARDSTICKS:
            for connections in (1, 32):
                pair = medians.get(f"{ours}/{connections}"), medians.get(f"{other}/{connections}")
                ratios |= _pair(f"{prefix}{{}}_{connections}_vs_{other}", *pair)
    ratios |= _single_connection(medians) | _batch(medians) | _replicas(medians)
    return ratios | _authentication(medians) | _peers(medians)


def _pair(name: str, ours: Row | None, theirs: Row | None) -> dict[str, float]:
    if ours is None or theirs is None:
        return {}
    return {
        name.format("throughput"): ours["decisions_per_second"] / theirs["decisions_per_second"],
        name.format("p99"): ours["p99_us"] / theirs["p99_us"],
        name.format("cpu"): ours["cpu_us"] / theirs["cpu_us"],
    }


def _single_connection(medians: Mapping[str, Row]) -> dict[str, float]:
    ours, theirs = medians.get("tamiyo/1"), medians.get("fastapi/1")
    if ours is None or theirs is None:
        return {}
    return {"p50_1_ms_above_fastapi": (ours["p50_us"] - theirs["p50_us"]) / 1000}


def _batch(medians: Mapping[str, Row]) -> dict[str, float]:
    """Decisions of a core in batches, to those one by one: the inverse of the CPU that each takes."""
    batch, single = medians.get("tamiyo_batch/2"), medians.get("tamiyo/32")
    if batch is None or single is None:
        return {}
    return {
        "batch_decisions_per_core_vs_single": single["cpu_us"] / batch["cpu_us"],
        "batch_throughput_vs_single": batch["decisions_per_second"] / single["decisions_per_second"],
    }


def _replicas(medians: Mapping[str, Row]) -> dict[str, float]:
    two, one = medians.get("tamiyo_2_replicas/32"), medians.get("tamiyo_postgresql/32")
    if two is None or one is None:
        return {}
    return {"two_replicas_cpu_vs_one": two["cpu_us"] / one["cpu_us"]}


def _authentication(medians: Mapping[str, Row]) -> dict[str, float]:
    keyed, open_ = medians.get("tamiyo_keyed/32"), medians.get("tamiyo/32")
    if keyed is None or open_ is None:
        return {}
    return {"authentication_cpu_32": keyed["cpu_us"] / open_["cpu_us"]}


def _peers(medians: Mapping[str, Row]) -> dict[str, float]:
    """Ours to servers of others that predict; the learned policy to the heuristic on the same load."""
    ratios: dict[str, float] = {}
    for prefix, name in (("", "tamiyo"), ("learned_", "tamiyo_learned")):
        for other in ("litserve", "ray"):
            ratios |= _throughput(f"{prefix}throughput_32_vs_{other}", medians, name, other)
    return ratios | _throughput(
        "learned_throughput_32_vs_heuristic", medians, "tamiyo_learned", "tamiyo_short"
    )


def _throughput(figure: str, medians: Mapping[str, Row], name: str, other: str) -> dict[str, float]:
    ours, theirs = medians.get(f"{name}/32"), medians.get(f"{other}/32")
    if ours is None or theirs is None:
        return {}
    return {figure: ours["decisions_per_second"] / theirs["decisions_per_second"]}


def _median(results: Sequence[Row]) -> dict[str, float]:
    return {
        "decisions_per_second": statistics.median(row["decisions"] / row["seconds"] for row in results),
        "p50_us": statistics.median(row["p50_us"] for row in results),
        "p99_us": statistics.median(row["p99_us"] for row in results),
        "cpu_us": statistics.median(1e6 * row["cpu_seconds"] / row["decisions"] for row in results),
    }
