"""Fuzzing at length: ``make fuzz``. Figures go to bench/results/fuzz.json, findings to standard output.

::

    python -m tests.fuzz --cases 10000 --seconds 30 --seed 1
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.fuzz.attack import attack
from tests.fuzz.parsers import TARGETS
from tests.fuzz.target import target

_RESULTS: Final = Path(__file__).parents[2] / "bench" / "results" / "fuzz.json"
_COVERING: Final = 2_500
"""Requests, at least, that cover the schemas' bounds whatever the number of examples."""
_OPERATIONS: Final = 30
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main() -> int:
    """Attack the service, then the parsers; 1 if anything was found."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("--cases", type=int, default=10_000, help="requests to the service, at least")
    options.add_argument("--seconds", type=int, default=30, help="for each parser")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = {
            "seed": given.seed,
            "contract": _contract(Path(name), given.cases, given.seed),
            "parsers": {parser: _parser(parser, given.seconds, Path(name)) for parser in TARGETS},
        }
    _RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(_RESULTS.read_text(encoding="utf-8"))
    parsers = results["parsers"].values()
    return int(results["contract"]["failures"] > 0 or any(parser["failures"] for parser in parsers))


def _contract(folder: Path, cases: int, seed: int) -> dict[str, int]:
    examples = max(1, (cases - _COVERING) // _OPERATIONS)
    with target(folder) as attacked:
        outcome = attack(attacked, folder, examples=examples, options=["--seed", str(seed)])
    sys.stdout.write(outcome.told)
    return {"cases": outcome.cases, "failures": outcome.failures}


def _parser(name: str, seconds: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed = _EXECUTED.search(done.stderr)
    if done.returncode:
        sys.stdout.write(f"{done.stdout}\n{done.stderr[-6000:]}\n")
    return {"inputs": int(executed[1]) if executed else 0, "failures": int(done.returncode != 0)}


if __name__ == "__main__":
    sys.exit(main())
