"""The smallest server that LitServe's guide shows, with one worker. Started by `bench/service.py`."""
# Annotations stay what they are: LitServe takes the request's type from that of `decode_request`.

from typing import Any

import torch
from litserve import LitAPI, LitServer

from bench.peers.network import decided, features_of, network
from bench.peers.place import placed


class Decide(LitAPI):  # type: ignore[misc]  # of an environment of its own, which no type checker sees
    """The guide's steps: set up, decode, predict, encode."""

    def setup(self, device: str) -> None:
        """Make the network."""
        self.network = network()

    def decode_request(self, request: dict[str, Any]) -> torch.Tensor:
        """A report's features."""
        return torch.tensor(features_of(request))

    def predict(self, features: torch.Tensor) -> dict[str, Any]:
        """The best action."""
        return decided(self.network, features)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """The answer."""
        return output


def main() -> None:
    """Serve until told to stop."""
    server = LitServer(Decide(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=placed(), num_api_servers=1, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
