"""The ONNX form of a deployed network, written node by node: what a converter adds costs time at batch 1."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tamiyo_models.deployed import DeployedNetwork

OPSET: Final = 21
IR_VERSION: Final = 10
"""Both understood by every ONNX Runtime since 1.20."""


def onnx_bytes(network: DeployedNetwork) -> bytes:
    """The network as an ONNX file: features[B,F] float32 and mask[B,A] bool to `runner.OUTPUTS`."""
    graph = helper.make_graph(
        _nodes(),
        "actor_critic",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", len(network.lowest)]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["B", network.actions]),
        ],
        [
            helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["B", network.actions]),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, ["B"]),
            helper.make_tensor_value_info("uncertainty", TensorProto.FLOAT, ["B"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in _constants(network).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    layers = [
        node("Max", ["features", "lowest"], ["not_below"]),
        node("Min", ["not_below", "highest"], ["layer_0"]),
    ]
    for number in (1, 2, 3):
        layers += [
            _gemm(number, f"gemm_{number}"),
            node("Relu", [f"gemm_{number}"], [f"layer_{number}"]),
        ]
    return [
        *layers,
        _gemm(4, "heads"),
        node("Split", ["heads", "widths"], ["flat_logits", "value_column"], axis=1),
        node("Squeeze", ["value_column", "last"], ["value"]),
        node("Reshape", ["flat_logits", "by_actor"], ["logits"]),
        node("Unsqueeze", ["mask", "second"], ["mask_of_actors"]),
        node("Where", ["mask_of_actors", "logits", "masked"], ["masked_logits"]),
        node("LogSoftmax", ["masked_logits"], ["each"], axis=-1),
        node("Exp", ["each"], ["probabilities"]),
        node("ReduceSum", ["probabilities", "second"], ["summed"], keepdims=1),
        node("Mul", ["summed", "share"], ["mixed"]),
        node("Max", ["mixed", "rarest"], ["possible"]),
        node("Log", ["possible"], ["logarithm"]),
        node("Squeeze", ["logarithm", "second"], ["mixture"]),
        node("Where", ["mask", "mixture", "nothing"], ["log_probs"]),
        # The mean divergence of the members from their mixture: ONNX has no x ln x that is 0 at 0.
        node("Sub", ["each", "logarithm"], ["difference"]),
        node("Mul", ["probabilities", "difference"], ["product"]),
        node("ReduceSum", ["product", "both"], ["divergence"], keepdims=0),
        node("Mul", ["divergence", "share"], ["uncertainty"]),
    ]


def _gemm(number: int, output: str) -> onnx.NodeProto:
    inputs = [f"layer_{number - 1}", f"weight_{number}", f"bias_{number}"]
    return helper.make_node("Gemm", inputs, [output])


def _constants(network: DeployedNetwork) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    buffers = {name: buffer.detach().cpu().numpy() for name, buffer in network.named_buffers()}
    return buffers | {
        "rarest": np.array(network.rarest, np.float32),
        "widths": np.array([network.actors * network.actions, 1]),
        "by_actor": np.array([-1, network.actors, network.actions]),
        "last": np.array([-1]),
        "second": np.array([1]),
        "both": np.array([1, 2]),
    }
