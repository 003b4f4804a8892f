"""What `import tamiyo_client` costs beside `import httpx, pydantic`.

Fresh interpreters in turns, held against each other by the processor time they took, so that whatever else
the machine does hits all alike. Told beside it, without a target:

- the first client, which brings httpx and the wire's validators, both left out of the import;
- the import where click and rich are not installed, which httpx imports for its command line when it finds
  them: there httpx costs less, and so the ratio is higher.

    python bench/client_import.py
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

PAIRS = 21
RESULT = Path(__file__).parent / "results" / "client_import.json"
TARGET = 1.3

WITHOUT_CLI = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("click", "rich"):
            raise ImportError(name)
sys.meta_path.insert(0, NotInstalled())
"""
PROGRAMS = {
    "interpreter_ms": "pass",
    "httpx_pydantic_ms": "import httpx, pydantic",
    "tamiyo_client_ms": "import tamiyo_client",
    "httpx_pydantic_without_cli_ms": WITHOUT_CLI + "import httpx, pydantic",
    "tamiyo_client_without_cli_ms": WITHOUT_CLI + "import tamiyo_client",
    "first_client_ms": "import tamiyo_client; tamiyo_client.TamiyoClient('http://127.0.0.1:1')",
}


def measure() -> dict[str, float]:
    """Medians of processor time in milliseconds over `PAIRS` rounds, and of the ratios within each round.

    `ratio` holds the whole processes against each other, `ratio_of_imports` what is left after taking off
    the bare interpreter.
    """
    _seconds(PROGRAMS["first_client_ms"])  # the byte code is written once
    rounds = [{name: _seconds(program) for name, program in PROGRAMS.items()} for _ in range(PAIRS)]
    medians = {name: 1000.0 * statistics.median(each[name] for each in rounds) for name in PROGRAMS}
    return medians | {
        "ratio": statistics.median(each["tamiyo_client_ms"] / each["httpx_pydantic_ms"] for each in rounds),
        "ratio_of_imports": statistics.median(
            (each["tamiyo_client_ms"] - each["interpreter_ms"])
            / (each["httpx_pydantic_ms"] - each["interpreter_ms"])
            for each in rounds
        ),
        "ratio_of_first_client": statistics.median(
            each["first_client_ms"] / each["httpx_pydantic_ms"] for each in rounds
        ),
        "ratio_without_cli": statistics.median(
            each["tamiyo_client_without_cli_ms"] / each["httpx_pydantic_without_cli_ms"] for each in rounds
        ),
        "target": TARGET,
        "pairs": float(PAIRS),
    }


def _seconds(program: str) -> float:
    began = _processor_s()
    subprocess.run([sys.executable, "-c", program], check=True)
    return _processor_s() - began


def _processor_s() -> float:
    """Processor time of all finished child processes, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, print and save."""
    result = measure()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:30} {value:8.3f}")


if __name__ == "__main__":
    main()
