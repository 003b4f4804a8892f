"""Measure the container images: their sizes, and how long a container takes from its start until it is ready.

``python -m bench.containers`` writes ``bench/results/containers.json``. It builds the images on an engine
that answers, or on one of the tests' own, and is not among the benches of ``make bench``, which need none.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.docker.deployment import ROOT
from tests.docker.engine import Engine, any_engine
from tests.docker.registry import furnished

STARTS: Final = 7
IMAGES: Final = {"core": "heuristic", "learned": "learned"}
"""Targets of the Dockerfile, and the policy that decides by default while they start."""
_RESULTS: Final = Path(__file__).parent / "results" / "containers.json"
_POLL_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 60.0


def ready_seconds(engine: Engine, image: str, policy: str) -> float:
    """Seconds from the start of a new container, with an empty database, to its first 200 of /readyz."""
    options = ("--read-only", "--tmpfs", "/tmp", "--publish", "127.0.0.1::8000", "--volume", "/data")
    settings = ("--env", "TAMIYO_AUTH=off", "--env", f"TAMIYO_DEFAULT_POLICY={policy}")
    container = engine.run("create", *options, *settings, image).strip()
    try:
        began = time.perf_counter()
        engine.run("start", container)
        address = engine.run("port", container, "8000/tcp").split()[0]
        _await_ready(f"http://{address}/readyz", began)
        return time.perf_counter() - began
    finally:
        engine.run("rm", "--force", "--volumes", container)


def _await_ready(url: str, began: float) -> None:
    with httpx.Client(timeout=5.0) as http:
        while time.perf_counter() - began < _PATIENCE_SECONDS:
            try:
                if http.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"{url} did not answer 200 within {_PATIENCE_SECONDS:.0f} s")


def figures(engine: Engine, target: str, policy: str) -> dict[str, Any]:
    """Size in MB (10^6 bytes, uncompressed), seconds to ready of several starts."""
    image = f"tamiyo-bench:{target}"
    engine.build(ROOT, image, "--file", str(ROOT / "docker" / "Dockerfile"), "--target", target)
    size = int(engine.run("image", "inspect", "--format", "{{.Size}}", image))
    # The first one reads the image from the disk.
    first, *others = (ready_seconds(engine, image, policy) for _ in range(STARTS + 1))
    return {
        "size_mb": round(size / 1e6, 1),
        "ready_first_s": round(first, 2),
        "ready_median_s": round(statistics.median(others), 2),
        "ready_max_s": round(max(others), 2),
    }


def main() -> None:
    """Measure all, print and keep it."""
    with any_engine(ROOT / ".docker-test") as answering:
        engine = furnished(answering) if answering.own else answering
        measured = {target: figures(engine, target, policy) for target, policy in IMAGES.items()}
    text = json.dumps({"cores": os.cpu_count(), **measured}, indent=2)
    _RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
