"""Network.advise on a GPU, from a list of questions to a list of advice; for a machine that has one.

``python -m bench.gpu`` needs torch, numpy and pydantic and the packages of ``client`` and ``models`` on
PYTHONPATH; with those of the service it measures the batcher too. It loads the shipped artifact on the
device, compares the self-test and a large batch with the same network on the CPU, and times batches with
recorded graphs and with plain launches. The figures and the device's name go to ``$OUT/gpu.json``, without
OUT to ``bench/results/gpu.json``. ``--device cpu`` tries the whole path without a GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import math
import os
import platform
import random
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tamiyo_core.policy import Question, RowAdvice
from tamiyo_models.artifact import SHIPPED, Network, load_network, read_file, read_manifest
from tamiyo_models.manifest import Manifest

BATCHES: Final = (1, 32, 256, 1024, 4096)
TOLERANCE: Final = 1e-5
"""Of probabilities, between the device and the CPU."""


def measure_artifact(directory: Path, device: str, repeats: int) -> dict[str, Any]:
    """Verify the artifact on the device, then time it there."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    network = load_network(directory, device=device, file_format="torchscript")
    loaded = time.perf_counter() - began
    cpu = load_network(directory, device="cpu", file_format="torchscript")
    questions = some_questions(network.manifest, max(BATCHES), seed=20260131)
    difference = largest_difference(network.advise(questions), cpu.advise(questions))
    if not difference <= TOLERANCE:
        raise SystemExit(f"{device} and CPU differ by {difference:.2g} in a probability")
    # A full collection in the middle of a batch would be measured as the network's.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)  # as the service does
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "artifact": network.manifest.policy_version,
        "load_verify_and_warm_up_s": loaded,
        "self_test_difference": network.verify(),
        "difference_from_cpu_over_4096_rows": difference,
        "repeats": repeats,
        "batches": {
            str(size): batch_figures(network, directory, questions[:size], repeats) for size in BATCHES
        },
    }


def batch_figures(
    network: Network, directory: Path, questions: Sequence[Question], repeats: int
) -> dict[str, float]:
    """Microseconds of one batch: the whole of advise, and its parts."""
    rows = len(questions)
    runner = network._advisor._runner  # the parts of a whole that is measured as a whole too
    whole = timed(lambda: network.advise(questions), repeats)
    forward = timed(lambda: runner.run(rows), repeats)
    figures = {
        "advise_p50_us": quantile(whole, 0.50),
        "advise_p99_us": quantile(whole, 0.99),
        "forward_p50_us": quantile(forward, 0.50),
        "forward_p99_us": quantile(forward, 0.99),
        "glue_us_per_row": (quantile(whole, 0.5) - quantile(forward, 0.5)) / rows,
    }
    if importlib.util.find_spec("fastapi") is not None:
        figures |= batcher_figures(network, questions, repeats)
    return figures | (cuda_figures(network, directory, rows, repeats) if network.device != "cpu" else {})


def cuda_figures(network: Network, directory: Path, rows: int, repeats: int) -> dict[str, float]:
    """What the device itself takes, and what the same pass costs launched kernel by kernel."""
    from tamiyo_models.cuda import CudaRunner

    manifest = network.manifest
    data = read_file(directory, manifest.files["torchscript"])
    plain = CudaRunner(data, len(manifest.feature_names), len(manifest.actions), network.device, graphs=False)
    recorded = network._advisor._runner
    assert isinstance(recorded, CudaRunner)
    plain_runs = timed(lambda: plain.run(rows), repeats)
    return {
        "graph_on_device_p50_us": statistics.median(on_device(recorded, rows, repeats)),
        "plain_on_device_p50_us": statistics.median(on_device(plain, rows, repeats)),
        "plain_forward_p50_us": quantile(plain_runs, 0.50),
        "plain_forward_p99_us": quantile(plain_runs, 0.99),
    }


def on_device(runner: Any, rows: int, repeats: int) -> list[float]:
    """Microseconds from the start of a pass on the device to its end, by the device's own clock."""
    seen = []
    for _ in range(repeats):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
        start.record(runner.stream)
        runner.launch(rows)
        end.record(runner.stream)
        end.synchronize()
        seen.append(1000.0 * start.elapsed_time(end))
    return seen


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Microseconds of each call, after a tenth as many that do not count."""
    for _ in range(max(3, repeats // 10)):
        call()
    seen = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        call()
        seen.append((time.perf_counter_ns() - began) / 1000.0)
    return seen


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def some_questions(manifest: Manifest, count: int, seed: int) -> list[Question]:
    """Questions between those of the self-test: features mixed, masks as they are."""
    dice = random.Random(seed)
    rows = manifest.self_test.rows
    questions = []
    for _ in range(count):
        one, other, share = dice.choice(rows), dice.choice(rows), dice.random()
        mixed = zip(one.features, other.features, strict=True)
        features = tuple(share * a + (1.0 - share) * b for a, b in mixed)
        questions.append(Question(features, one.mask, struct.pack(f"{len(features)}f", *features)))
    return questions


def batcher_figures(network: Network, questions: Sequence[Question], repeats: int) -> dict[str, float]:
    """All runs ask at the same moment: from their questions to their advice, through the service's batcher.

    As in the service, reports come in groups: those that were read in one turn of the event loop.
    """
    from tamiyo_core.learned import LearnedPolicy
    from tamiyo_core.observation import OBSERVATIONS
    from tamiyo_leyline import RunConfig
    from tamiyo_service.learned.batcher import Batcher
    from tamiyo_service.runs.seat import TOGETHER

    class Loaded:
        def ready(self, sha256: str) -> Network:
            return network

        async def load(self, sha256: str) -> Network:
            return network

    observation = OBSERVATIONS[network.manifest.observation]
    policy = LearnedPolicy(RunConfig(), version="bench", sha256=network.sha256, observation=observation)
    asked = [(question,) for question in questions]
    groups = [asked[start : start + TOGETHER] for start in range(0, len(asked), TOGETHER)]

    async def measured() -> list[float]:
        batcher = Batcher(Loaded(), deadline=60.0, limit=2 * len(questions))
        seen = []
        for number in range(repeats + repeats // 10):
            began = time.perf_counter_ns()
            given = await asyncio.gather(*(batcher.advise(policy, group) for group in groups))
            took = (time.perf_counter_ns() - began) / 1000.0
            if sum(isinstance(one, str) for group in given for one in group):
                raise SystemExit("a question was left without advice")
            if number >= repeats // 10:
                seen.append(took)
        await batcher.close()
        return seen

    seen = asyncio.run(measured())
    return {"batcher_p50_us": quantile(seen, 0.5), "batcher_p99_us": quantile(seen, 0.99)}


def largest_difference(ours: Sequence[RowAdvice | str], theirs: Sequence[RowAdvice | str]) -> float:
    """Of a probability; infinite where one has an answer and the other has none."""
    largest = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, str) or isinstance(other, str):
            largest = largest if one == other else math.inf
            continue
        for a, b in zip(one.log_probs, other.log_probs, strict=True):
            largest = max(largest, abs(math.exp(a) - math.exp(b)))
    return largest


def device_name(device: str) -> str:
    """What the device calls itself."""
    if device == "cpu":
        return platform.processor() or platform.machine()
    return torch.cuda.get_device_name(torch.device(device))


def newest_shipped() -> Path:
    """The shipped artifact with the last name and version."""
    return max(path.parent for path in SHIPPED.glob("*/*/manifest.json"))


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--artifact", type=Path, default=None, help="directory; default: the shipped one")
    parser.add_argument("--repeats", type=int, default=500)
    options = parser.parse_args()
    directory = options.artifact or newest_shipped()
    read_manifest(directory, check_files=True)
    figures = measure_artifact(directory, options.device, options.repeats)
    folder = Path(os.environ.get("OUT") or Path(__file__).parent / "results")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
