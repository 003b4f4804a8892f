"""The smallest deployment that Ray Serve's guide shows, with one replica. Started by `bench/service.py`."""

from __future__ import annotations

import os
import signal
from typing import Any

import ray
import torch
from ray import serve
from starlette.requests import Request

from bench.peers.network import decided, features_of, network
from bench.peers.place import placed


class Decide:
    """A network, and a call for each request."""

    def __init__(self) -> None:
        self.network = network()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The answer to a report."""
        return decided(self.network, torch.tensor(features_of(await request.json())))


def main() -> None:
    """Serve until told to stop."""
    port = placed()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Blocked before Ray starts its threads, so that the signal comes to the wait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment: Any = serve.deployment(num_replicas=1, max_ongoing_requests=64)(Decide)
    serve.run(deployment.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
