"""Schemathesis against a running service, over its whole OpenAPI document, one request at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.target import DOOMED, EPOCHS, RUNS, Target

_ROOT: Final = Path(__file__).parents[2]
_CASES: Final = re.compile(r"(\d+) generated(?:, (\d+) found (\d+) unique failures)?")
_KNOWN: Final = 0.6
"""Share of requests about something that exists."""
_STREAM_SECONDS: Final = 0.3
"""How long a live stream is listened to."""


@dataclass(frozen=True)
class Outcome:
    """What an attack came to.

    Attributes:
        cases: requests sent.
        failures: different ones among their answers.
        told: all that Schemathesis had to say.
    """

    cases: int
    failures: int
    told: str


def attack(target: Target, folder: Path, *, examples: int, options: Sequence[str] = ()) -> Outcome:
    """Attack a service.

    Args:
        target: where it is.
        folder: for the configuration.
        examples: of every operation, besides those that cover the schemas' bounds.
        options: of Schemathesis, such as its seed.

    Raises:
        RuntimeError: if it did not run to its end.
    """
    settings = folder / "schemathesis.toml"
    settings.write_text(configuration(), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "--no-color", "run"]
    command += [f"{target.url}/openapi.json", "--workers", "1", "--max-examples", str(examples)]
    # That check leaves out the key, sends it all the same, as it was told to, and takes that for a hole.
    # That no operation answers without one is tried in tests/service/test_auth.py.
    command += ["--exclude-checks", "ignored_auth"]
    for name, value in target.headers.items():
        command += ["--header", f"{name}: {value}"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.judges", "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    counted = _CASES.search(done.stdout)
    if counted is None or "error" in done.stdout.splitlines()[-1]:
        raise RuntimeError(f"the attack broke off: {done.stdout[-4000:]}{done.stderr[-4000:]}")
    cases, failures = int(counted[1]), int(counted[3] or 0)
    assert (failures == 0) is (done.returncode == 0), done.stdout[-4000:]
    return Outcome(cases, failures, done.stdout)


def configuration() -> str:
    """What Schemathesis is told: names of things that exist, and how long to listen to streams."""
    named = {
        "runs": RUNS,
        "doomed": DOOMED,
        "epochs": EPOCHS,
        "commands": [f"{run_id}@0.{EPOCHS[-1]}.1" for run_id in RUNS],
        "models": ["imitation-cnn"],
        "versions": ["1.0.0"],
    }
    bound = {"run_id": "runs", "epoch": "epochs", "command_id": "commands", "name": "models"}
    ends = {"DELETE": ("/runs/{run_id}",), "POST": ("/runs/{run_id}/complete",)}
    lines = ["request-timeout = 30.0", "continue-on-failure = true"]
    for name, values in named.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]", *_bindings(bound | {"version": "versions"})]
    for method, paths in ends.items():
        for path in paths:
            lines += ["[[operations]]", f'include-name = "{method} {path}"', "[operations.parameters]"]
            lines += _bindings({"run_id": "doomed"})
    lines += ["[[operations]]", "include-path-regex = '/events$'", f"request-timeout = {_STREAM_SECONDS}"]
    return "\n".join([*lines, ""])


def _bindings(dictionaries: dict[str, str]) -> list[str]:
    return [
        f'"path.{parameter}" = {{ dictionary = "{name}", probability = {_KNOWN} }}'
        for parameter, name in dictionaries.items()
    ]
