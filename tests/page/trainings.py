"""Trainings that are only pretended, reported to a real service over HTTP."""

from __future__ import annotations

import math
import time
from typing import Any, Final

import httpx
from tamiyo_leyline import AdaptationCommand

from bench.pretend import PretendTraining

_SHADOW_SECONDS: Final = 60.0


class Trainings:
    """Reports to a service.

    Args:
        url: of the service.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60.0)
        self._pretended: dict[str, tuple[PretendTraining, int]] = {}

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def present(self, key: str) -> None:
        """Send a key from now on."""
        self._http.headers["authorization"] = f"Bearer {key}"

    def create(self, run_id: str, **config: Any) -> None:
        """Create a run."""
        self.send("PUT", f"/runs/{run_id}", config)

    def train(self, run_id: str, epochs: int, *, seed: int = 0) -> None:
        """Report that many further epochs, obeying every command."""
        training, first = self._pretended.get(run_id, (PretendTraining(seed), 0))
        for epoch in range(first, first + epochs):
            reply = self.send("POST", f"/runs/{run_id}/epoch", training.report(epoch))
            for command in reply["commands"]:
                training.obey(AdaptationCommand.model_validate(command))
        self._pretended[run_id] = (training, first + epochs)

    def long_run(self, run_id: str, epochs: int) -> None:
        """Report a long training with one seed after the other, a thousand epochs at a time."""
        for first in range(0, epochs, 1_000):
            reports = [_long_report(epoch) for epoch in range(first, min(epochs, first + 1_000))]
            self._batch([{"run_id": run_id, "report": report} for report in reports])

    def many(self, count: int) -> None:
        """Report one epoch of that many runs."""
        ids = [f"many-{number:05d}" for number in range(count)]
        for first in range(0, count, 1_000):
            self._batch([{"run_id": run_id, "report": _small(0)} for run_id in ids[first : first + 1_000]])

    def decisions(self, run_id: str, action: str) -> list[dict[str, Any]]:
        """The run's decisions of that kind, the oldest first."""
        path = f"/runs/{run_id}/decisions?action={action}&order=asc&limit=1000"
        found: list[dict[str, Any]] = self.send("GET", path)["items"]
        return found

    def await_shadows(self, run_id: str, epoch: int) -> None:
        """Wait until the shadows have decided about an epoch, too."""
        until = time.monotonic() + _SHADOW_SECONDS
        while not self.send("GET", f"/runs/{run_id}/decisions/{epoch}")["shadow"]:
            assert time.monotonic() < until, "the shadows have not decided"
            time.sleep(0.05)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """What the service answers, which must be no refusal."""
        response = self._http.request(method, path, json=body)
        assert response.is_success, response.text
        return response.json()

    def _batch(self, reports: list[dict[str, Any]]) -> None:
        results = self.send("POST", "/epochs", {"reports": reports})["results"]
        assert {result["status"] for result in results} == {200}


def _small(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "available_slots": 1, "val_accuracy": 50.0, "val_loss": 1.0}


_STAGES = ("GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY", "FOSSILIZED")


def _long_report(epoch: int) -> dict[str, Any]:
    number, age = divmod(epoch, 20)
    seed = {
        "seed_id": f"seed-{number}",
        "slot_id": "slot-1",
        "blueprint_id": "norm",
        "stage": _STAGES[min(age // 3, 5)],
        "alpha": min(age / 12, 1.0),
    }
    accuracy = 60.0 + 10.0 * math.sin(epoch / 300) + (25.0 if epoch == 4_321 else 0.0)
    return {**_small(epoch), "val_accuracy": accuracy, "seeds": [seed], "available_slots": 0}
