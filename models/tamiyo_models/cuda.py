"""CUDA: a forward pass as one recorded graph, from pinned memory to pinned memory.

A pass over a network this small is a few dozen kernels of microseconds, so launching them one by one costs
more than they take. For each size of a ladder the copies in, the kernels and the copy out are recorded once;
a batch is padded up to the next size and replayed with a single launch. Larger batches are launched plainly.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.jit._fuser import optimized_execution

from tamiyo_models.runner import Answers, Floats, NotReadableError, first_line
from tamiyo_models.torchscript import read_torchscript

LADDER: Final = (1, 8, 32, 128, 512, 1024, 4096)
"""Batch sizes that are recorded."""
CUDA_CAPACITY: Final = 16_384
"""Rows of one forward pass."""
_REHEARSALS: Final = 3
"""Passes before a recording: libraries choose their kernels and allocate in the first ones."""


class CudaRunner:
    """TorchScript on a CUDA device. For use from one thread.

    Args:
        data: the archive.
        features: F.
        actions: A.
        device: ``cuda`` or ``cuda:n``.
        graphs: whether to record graphs; False: every batch is launched plainly.

    Raises:
        NotReadableError: if there is no such device, or torch cannot read the archive on it.
    """

    def __init__(self, data: bytes, features: int, actions: int, device: str, *, graphs: bool = True) -> None:
        self._device = _available(device)
        try:
            self._network = read_torchscript(data, self._device)
        except (RuntimeError, ValueError) as error:
            raise NotReadableError(f"torch cannot read it on {device}: {first_line(error)}") from error
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch's own
        self._actions = actions
        self._staged = (
            torch.zeros((CUDA_CAPACITY, features), pin_memory=True),
            torch.zeros((CUDA_CAPACITY, actions), dtype=torch.bool, pin_memory=True),
        )
        # log_probs, value and uncertainty side by side: one copy out.
        self._answers = torch.zeros((CUDA_CAPACITY, actions + 2), pin_memory=True)
        self._inputs = tuple(staged.to(self._device) for staged in self._staged)
        self._output = self._answers.to(self._device)
        self.features: Floats = self._staged[0].numpy()
        self.mask: NDArray[np.bool_] = self._staged[1].numpy()
        self._host: Floats = self._answers.numpy()
        self._graphs = {size: self._recorded(size) for size in LADDER} if graphs else {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to be warmed up."""
        return LADDER

    def run(self, rows: int) -> Answers:
        """As `Runner.run`."""
        self.launch(rows)
        self._stream.synchronize()
        answers = self._host[:rows]
        return answers[:, : self._actions], answers[:, -2], answers[:, -1]

    def launch(self, rows: int) -> None:
        """Start a forward pass over the first `rows` rows without waiting for it."""
        with torch.cuda.stream(self._stream):
            graph = self._graphs.get(padded(rows))
            if graph is None:
                self._pass(rows)
            else:
                graph.replay()

    @property
    def stream(self) -> torch.cuda.Stream:
        """The stream of all passes."""
        return self._stream

    def _recorded(self, size: int) -> torch.cuda.CUDAGraph:
        with torch.cuda.stream(self._stream):
            for _ in range(_REHEARSALS):
                self._pass(size)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._pass(size)
        return graph

    def _pass(self, rows: int) -> None:
        for staged, given in zip(self._staged, self._inputs, strict=True):
            given[:rows].copy_(staged[:rows], non_blocking=True)
        features, mask = self._inputs
        output = self._output[:rows]
        # The interpreter as it is: an optimizer that compiles for shapes it has seen would do so here, while
        # a graph is recorded or a batch waits.
        with torch.no_grad(), optimized_execution(False):
            log_probs, value, uncertainty = self._network(features[:rows], mask[:rows])
            output[:, : self._actions].copy_(log_probs)
            output[:, -2].copy_(value)
            output[:, -1].copy_(uncertainty)
        self._answers[:rows].copy_(output, non_blocking=True)


def padded(rows: int) -> int:
    """The size of the ladder that `rows` are padded up to; beyond the ladder `rows` itself."""
    step = bisect_left(LADDER, rows)
    return LADDER[step] if step < len(LADDER) else rows


def _available(device: str) -> torch.device:
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise NotReadableError(f"{device!r} is no device: {first_line(error)}") from error
    if not torch.cuda.is_available():
        raise NotReadableError(f"no CUDA device is available for {device}")
    index = torch.cuda.current_device() if chosen.index is None else chosen.index
    if index >= torch.cuda.device_count():
        raise NotReadableError(
            f"there is no {device}: {torch.cuda.device_count()} CUDA devices are available"
        )
    return torch.device("cuda", index)
