"""Runners: one forward pass over staged rows, for each way of running a network on the CPU."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Answers = tuple[Floats, Floats, Floats]
"""log_probs [n,A] (−inf: not legal), value [n], uncertainty [n]."""
OUTPUTS: Final = ("log_probs", "value", "uncertainty")
"""Names of the answers in an ONNX graph."""
CAPACITY: Final = 4096
"""Rows of one forward pass on the CPU."""


class NotReadableError(ValueError):
    """The library that runs the format cannot read the file, or is not installed."""


class Runner(Protocol):
    """Runs a network over the first rows of its staging arrays. For use from one thread."""

    @property
    def features(self) -> Floats:
        """Staging array [capacity,F], to be written by the caller."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Staging array [capacity,A], to be written by the caller."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to be warmed up."""

    def run(self, rows: int) -> Answers:
        """One forward pass over the first `rows` rows; what it returns stands until the next one."""


class CpuRunner:
    """The staging arrays of a runner on the CPU.

    Args:
        features: F.
        actions: A.
    """

    sizes = (1, 8, 64)

    def __init__(self, features: int, actions: int) -> None:
        self.features: Floats = np.zeros((CAPACITY, features), np.float32)
        self.mask = np.zeros((CAPACITY, actions), np.bool_)


class TorchScriptRunner(CpuRunner):
    """TorchScript on the CPU.

    Args:
        data: the archive.
        features: F.
        actions: A.

    Raises:
        NotReadableError: if torch cannot read it.
    """

    def __init__(self, data: bytes, features: int, actions: int) -> None:
        import torch

        from tamiyo_models.torchscript import read_torchscript

        super().__init__(features, actions)
        # Inference tensors from the first constant on: a pass is a fifth faster than without gradients.
        self._inference = torch.inference_mode
        try:
            with self._inference():
                self._network = read_torchscript(data, torch.device("cpu"))
                self._tensors = torch.from_numpy(self.features), torch.from_numpy(self.mask)
        except (RuntimeError, ValueError) as error:
            raise NotReadableError(f"torch cannot read it: {first_line(error)}") from error

    def run(self, rows: int) -> Answers:
        """As `Runner.run`."""
        features, mask = self._tensors
        with self._inference():
            log_probs, value, uncertainty = self._network(features[:rows], mask[:rows])
        return log_probs.numpy(), value.numpy(), uncertainty.numpy()


class OnnxRunner(CpuRunner):
    """ONNX Runtime on the CPU, on one thread: a network this small loses more to handing work over.

    Args:
        data: the model.
        features: F.
        actions: A.

    Raises:
        NotReadableError: if ONNX Runtime is not installed or cannot read it.
    """

    def __init__(self, data: bytes, features: int, actions: int) -> None:
        super().__init__(features, actions)
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as errors
        except ImportError as error:
            raise NotReadableError("ONNX Runtime is not installed: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong is raised, and said once
        # An arena and its plan pay for large tensors; here they cost a tenth of a pass.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        refusals = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf)
        others = (errors.NotImplemented, errors.RuntimeException, errors.NoModel)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except (*refusals, *others, RuntimeError, ValueError) as error:
            raise NotReadableError(f"ONNX Runtime cannot read it: {first_line(error)}") from error
        self._failures = (*refusals, *others)

    def run(self, rows: int) -> Answers:
        """As `Runner.run`."""
        feed = {"features": self.features[:rows], "mask": self.mask[:rows]}
        try:
            log_probs, value, uncertainty = self._session.run(OUTPUTS, feed)
        except self._failures as error:
            raise RuntimeError(first_line(error)) from error
        return log_probs, value, uncertainty


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).partition("\n")[0] or type(error).__name__
