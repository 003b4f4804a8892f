"""TorchScript: the deployed format, written and read.

torch has deprecated it and keeps it; every function of it warns. Only these warnings are silenced, and only
here: the second format (ONNX) is ready behind the same loader.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import Tensor

from tamiyo_models.deployed import DeployedNetwork

Answers = tuple[Tensor, Tensor, Tensor]
"""log_probs [B,A], value [B], uncertainty [B]."""


class Forward(Protocol):
    """A network that can be asked."""

    def __call__(self, features: Tensor, mask: Tensor, /) -> Answers:
        """Features [B,F] float32 and mask [B,A] bool to the answers."""


def torchscript_bytes(network: DeployedNetwork) -> bytes:
    """The network as a TorchScript archive, frozen: its weights are constants."""
    stream = io.BytesIO()
    with _deprecation_known():
        torch.jit.save(torch.jit.freeze(torch.jit.script(network.eval())), stream)
    return stream.getvalue()


def read_torchscript(data: bytes, device: torch.device) -> Forward:
    """The network of an archive, its constants on a device.

    Raises:
        RuntimeError: if torch cannot read it.
    """
    with _deprecation_known():
        network = torch.jit.load(io.BytesIO(data), map_location=device)  # type: ignore[no-untyped-call]  # torch's own
        return cast(Forward, network.eval())


@contextmanager
def _deprecation_known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield
