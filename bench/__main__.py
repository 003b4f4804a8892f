"""Run the benches, one process each, and hold their figures against the targets.

``python -m bench`` runs all, ``python -m bench core features`` some. The figures of each are kept in
``bench/results/NAME.json``, after a run of all the targets and the machine in ``bench/results/targets.json``.
Ends with 1 if a target is missed or a bench failed.

Not among them, because it trains for an hour and has no target: the study of growth,
``python -m bench.growth``.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.targets import TARGETS, Target

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"
ONE: Final = "--one"


def benches() -> list[str]:
    """The files here that can be measured: those that define `measure`."""
    return sorted(path.stem for path in HERE.glob("*.py") if defines_measure(path))


def defines_measure(path: Path) -> bool:
    """Whether a file is a bench."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in body)


def measure_one(name: str) -> None:
    """Run one bench in this process and keep its figures."""
    figures = importlib.import_module(f"bench.{name}").measure()
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def run_bench(name: str) -> bool:
    """Run one bench in a process of its own; returns whether it came through."""
    print(f"{name} ...", flush=True)
    # Figures of an earlier run must not stand in for those of a bench that fails.
    (RESULTS / f"{name}.json").unlink(missing_ok=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "bench", ONE, name], cwd=HERE.parent, check=False)
    outcome = "done" if done.returncode == 0 else f"FAILED with {done.returncode}"
    print(f"{name}: {outcome} after {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


def figures_of(name: str) -> dict[str, Any]:
    """The figures a bench left; none if it left none."""
    file = RESULTS / f"{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def verdict(target: Target) -> dict[str, Any]:
    """One row of the table."""
    value = target.value(figures_of(target.bench))
    measured = None if value != value else value
    return {
        "bench": target.bench,
        "meaning": target.meaning,
        "target": target.wanted,
        "value": measured,
        "met": target.met(value),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, misses and what was not measured included."""
    print(f"\n{'bench':<14}{'what':<56}{'target':>9}{'measured':>14}  met")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:.3g}"
        met = "yes" if row["met"] else "NO"
        print(f"{row['bench']:<14}{row['meaning']:<56}{row['target']:>9}{value:>14}  {met}")


def keep(summary: dict[str, Any]) -> None:
    """Keep the whole table; that of a part would look like all there is."""
    (RESULTS / "targets.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}


def main(names: list[str]) -> int:
    """Run the benches named, or all, and return the exit status."""
    unknown = sorted(set(names) - set(benches()))
    if unknown:
        print(f"no such bench: {', '.join(unknown)}; there are {', '.join(benches())}", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    chosen = names or benches()
    failed = [name for name in chosen if not run_bench(name)]
    rows = [verdict(target) for target in TARGETS if not names or target.bench in names]
    show(rows)
    if not names:
        keep({"machine": machine(), "failed": failed, "targets": rows})
    for name in chosen:
        for what, why in figures_of(name).get("not_measured", {}).items():
            print(f"not measured: {what}: {why}")
    missed = [row for row in rows if not row["met"]]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} targets met; figures in bench/results/")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        measure_one(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
