"""The policy network from lists to lists on one core: the eager module against the deployed formats.

The eager module gets what a plain service would give it: nested lists into `torch.tensor`, its three answers
out by `tolist`. The deployed formats are asked as the service asks them: `Network.advise`, which also checks
the training range and rounds. All are timed in turn in every round, so that whatever else the machine does
falls on all of them.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from tamiyo_core.policy import Question
from tamiyo_models.artifact import load_network, read_manifest
from tamiyo_models.export import export_network
from tamiyo_models.manifest import FileFormat, Manifest, SelfTestQuestion, Subject
from tamiyo_models.network import ActorCritic, NetworkShape

from bench.gpu import newest_shipped, some_questions

BATCHES: Final = (1, 64)
ROUNDS: Final = 60
CALLS: Final = {1: 20, 64: 2}
"""Calls of each way in a round."""
FORMATS: Final[tuple[FileFormat, ...]] = ("torchscript", "onnx")


def measure() -> dict[str, float]:
    """Median microseconds a row of each way at each batch size, and the share of the eager module's."""
    torch.set_num_threads(1)
    manifest = read_manifest(newest_shipped())
    eager = network_like(manifest)
    with tempfile.TemporaryDirectory() as folder:
        ways = deployed_ways(eager, manifest, Path(folder))
    ways["eager"] = lambda questions: ask_eagerly(eager, questions)
    gc.collect()
    gc.freeze()
    figures: dict[str, float] = {}
    for size in BATCHES:
        questions = some_questions(manifest, size, seed=20260131)
        rounds = [
            {name: seconds(way, questions, CALLS[size]) for name, way in ways.items()}
            for _ in range(ROUNDS + 5)
        ][5:]
        median = {name: statistics.median(row[name] for row in rounds) for name in ways}
        figures |= {f"{name}_{size}_us_per_row": median[name] / size * 1e6 for name in ways}
        figures |= {f"{name}_{size}_to_eager": median[name] / median["eager"] for name in FORMATS}
    return figures


def network_like(manifest: Manifest) -> ActorCritic:
    """A network of the shipped one's shape: what its weights are does not change how long it takes."""
    shape = NetworkShape(
        features=len(manifest.feature_names),
        actions=len(manifest.actions),
        hidden=manifest.hidden,
        head=manifest.head,
        actors=manifest.actors,
    )
    return ActorCritic(shape, torch.Generator().manual_seed(0)).eval()


def deployed_ways(
    network: ActorCritic, manifest: Manifest, folder: Path
) -> dict[str, Callable[[Sequence[Question]], object]]:
    """The network as it is deployed, in each format."""
    rows = manifest.self_test.rows
    known = {name: getattr(manifest, name) for name in Subject.model_fields if name != "questions"}
    questions = tuple(SelfTestQuestion(features=row.features, mask=row.mask) for row in rows)
    export_network(network, Subject(**known, questions=questions), folder / "artifact")
    return {
        file_format: load_network(folder / "artifact", file_format=file_format).advise
        for file_format in FORMATS
    }


def ask_eagerly(network: ActorCritic, questions: Sequence[Question]) -> tuple[list[object], ...]:
    """Log-probabilities, values and uncertainties, as lists."""
    with torch.inference_mode():
        features = torch.tensor([question.features for question in questions])
        mask = torch.tensor([question.mask for question in questions])
        return tuple(answer.tolist() for answer in network(features, mask))


def seconds(way: Callable[[Sequence[Question]], object], questions: Sequence[Question], calls: int) -> float:
    """Seconds of one call, over some."""
    began = time.perf_counter()
    for _ in range(calls):
        way(questions)
    return (time.perf_counter() - began) / calls
