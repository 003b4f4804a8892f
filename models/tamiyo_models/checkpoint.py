"""Checkpoints: a trained network with everything its manifest will say, in one safetensors file.

Training ends with a checkpoint, `tamiyo models export` begins with one. Nothing in it is pickled.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tamiyo_models.artifact import ArtifactError
from tamiyo_models.manifest import MAX_FILE_BYTES, Subject, first_fault
from tamiyo_models.network import ActorCritic, NetworkShape

_FORMAT: Final = "tamiyo-checkpoint/1"


class _Shape(BaseModel):
    """Sizes of a network, within bounds that a file from elsewhere must keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(gt=0, le=4096)
    actions: int = Field(gt=0, le=128)
    hidden: int = Field(gt=0, le=4096)
    head: int = Field(gt=0, le=4096)
    actors: int = Field(gt=0, le=64)


def save_checkpoint(network: ActorCritic, subject: Subject, path: Path) -> None:
    """Write a network and what is known of it to a file.

    Raises:
        OSError: if it cannot be written.
    """
    metadata = {
        "format": _FORMAT,
        "shape": _Shape(**asdict(network.shape)).model_dump_json(),
        "subject": subject.model_dump_json(),
    }
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path, metadata)


def load_checkpoint(path: Path) -> tuple[ActorCritic, Subject]:
    """The network of a checkpoint, and what is known of it.

    Raises:
        ArtifactError: if the file is missing, damaged, or no checkpoint of Tamiyo.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ArtifactError(f"{path} has more than {MAX_FILE_BYTES} bytes; no checkpoint is that large")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ArtifactError(f"{path} is a safetensors file, but no checkpoint of Tamiyo")
            subject = Subject.model_validate_json(metadata["subject"])
            shape = _Shape.model_validate_json(metadata["shape"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        # Without memory or initial weights: the file says how large a network it holds, truly or not.
        with torch.device("meta"):
            network = ActorCritic(NetworkShape(**shape.model_dump()))
        network.load_state_dict(tensors, assign=True)
        network.float()
    except ValidationError as error:
        raise ArtifactError(f"{path} is no checkpoint that can be read: {first_fault(error)}") from error
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise ArtifactError(f"{path} is no checkpoint that can be read: {words}") from error
    return network, subject
