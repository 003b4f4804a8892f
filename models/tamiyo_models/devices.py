"""Where a network is to run, if nobody says, and whether it can run where somebody does."""

from __future__ import annotations

import os
import sys
from typing import Final

_GPU_NODES: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What a Linux machine with a GPU that torch can use has, at least one of them."""


def best_device() -> str:
    """``cuda`` if torch sees a GPU, else ``cpu``.

    torch is not imported where the machine can have no GPU: that takes seconds, and networks on the CPU may
    not need it.
    """
    if sys.platform == "linux" and not any(map(os.path.exists, _GPU_NODES)):
        return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def sees_gpu(device: str) -> bool:
    """Whether torch sees the GPU that ``cuda:N`` names, or any where it is ``cuda``."""
    if best_device() != "cuda":
        return False
    import torch

    _, _, number = device.partition(":")
    return int(number or 0) < torch.cuda.device_count()
