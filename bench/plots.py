"""Figures, one for each question; small files that a browser shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Medians = Mapping[str, Mapping[str, float]]

_NAMES: Final = {
    "tamiyo": "Tamiyo, SQLite",
    "tamiyo_learned": "Tamiyo, learned",
    "tamiyo_postgresql": "Tamiyo, PostgreSQL",
    "tamiyo_2_replicas": "Tamiyo, 2 replicas",
    "tamiyo_batch": "Tamiyo, batches",
    "fastapi": "FastAPI, bare",
    "starlette": "Starlette, bare",
    "litserve": "LitServe",
    "ray": "Ray Serve",
}
_SINGLE: Final = ("starlette", "fastapi", "tamiyo", "tamiyo_learned", "tamiyo_postgresql", "litserve", "ray")


def plot_service(results: Mapping[str, Any], folder: Path) -> None:
    """The figures of `bench/service.py`."""
    medians: Medians = results["medians"]
    folder.mkdir(exist_ok=True)
    _by_server(medians, "decisions_per_second", 1.0, "decisions a second", folder / "throughput.svg")
    _by_server(medians, "cpu_us", 1.0, "CPU of a decision, µs", folder / "cpu.svg")
    _latencies(medians, folder / "latency.svg")
    _pair(medians, ("tamiyo/32", "tamiyo_batch/2"), "CPU of a decision, µs", folder / "batch.svg")
    _pair(
        medians,
        ("tamiyo_postgresql/32", "tamiyo_2_replicas/32"),
        "CPU of a decision, all replicas, µs",
        folder / "replicas.svg",
    )


def plot_history(rows: Sequence[Mapping[str, Any]], bound_ms: float, decisions: int, file: Path) -> None:
    """How many questions are answered within which time."""
    figure, axes = _figure(5.5, 3.2)
    for name, label in (("p50_ms", "median"), ("p99_ms", "99th percentile")):
        times = sorted(row[name] for row in rows)
        axes.step(times, [100 * (place + 1) / len(times) for place in range(len(times))], label=label)
    axes.axvline(bound_ms, color="grey", linestyle=":", label=f"{bound_ms:g} ms")
    axes.set_xscale("log")
    axes.set_xlabel(f"first page of {decisions:,} decisions, ms")
    axes.set_ylabel("questions answered, %")
    axes.legend(frameon=False)
    _save(figure, file)


def _by_server(medians: Medians, figure_name: str, factor: float, label: str, file: Path) -> None:
    kinds = [kind for kind in _SINGLE if f"{kind}/1" in medians and f"{kind}/32" in medians]
    figure, axes = _figure(6.5, 3.2)
    for offset, connections in ((-0.2, 1), (0.2, 32)):
        places = [place + offset for place in range(len(kinds))]
        values = [factor * medians[f"{kind}/{connections}"][figure_name] for kind in kinds]
        bars = axes.bar(places, values, 0.38, label=f"{connections} connection{'s' * (connections > 1)}")
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    _label_servers(axes, kinds, label)
    _save(figure, file)


def _latencies(medians: Medians, file: Path) -> None:
    kinds = [kind for kind in _SINGLE if f"{kind}/1" in medians and f"{kind}/32" in medians]
    figure, axes = _figure(6.5, 3.2)
    for offset, connections in ((-0.2, 1), (0.2, 32)):
        for name, style in (("p50_us", 1.0), ("p99_us", 0.4)):
            values = [medians[f"{kind}/{connections}"][name] / 1000 for kind in kinds]
            places = [place + offset + (0.09 if name == "p99_us" else -0.09) for place in range(len(kinds))]
            colour = "C0" if connections == 1 else "C1"
            axes.bar(places, values, 0.17, color=colour, alpha=style, label=f"{connections}: {name[:3]}")
    axes.set_yscale("log")
    _label_servers(axes, kinds, "latency, ms")
    _save(figure, file)


def _label_servers(axes: Any, kinds: Sequence[str], label: str) -> None:
    axes.set_xticks(range(len(kinds)), [_NAMES[kind].replace(", ", ",\n") for kind in kinds], fontsize=8)
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=8)


def _pair(medians: Medians, pair: tuple[str, str], label: str, file: Path) -> None:
    if any(name not in medians for name in pair):
        file.unlink(missing_ok=True)
        return
    figure, axes = _figure(3.2, 3.0)
    values = [medians[name]["cpu_us"] for name in pair]
    bars = axes.bar([_NAMES[name.split("/")[0]].replace(", ", ",\n") for name in pair], values, 0.6)
    axes.bar_label(bars, fmt="%.0f")
    axes.set_ylabel(label)
    axes.set_title(f"ratio {values[1] / values[0]:.2f}", fontsize=9)
    _save(figure, file)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # Without a window system, and only where something is drawn: it takes a second to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, file: Path) -> None:
    # No date: the same figures make the same file.
    figure.savefig(file, metadata={"Date": None})
