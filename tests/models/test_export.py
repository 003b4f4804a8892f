from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tamiyo_core.observation import GARDEN
from tamiyo_models.artifact import ArtifactError, load_network, read_manifest
from tamiyo_models.checkpoint import load_checkpoint, save_checkpoint
from tamiyo_models.export import export_network
from tamiyo_models.manifest import Subject
from tamiyo_models.network import ActorCritic

from tests.models.questions import CNN, opinionated_network


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_manifest_says_what_the_network_is(artifact: Path, subject: Subject) -> None:
    manifest = read_manifest(artifact)
    assert manifest.actions == CNN.layout.names
    assert manifest.topology.blueprints == CNN.names
    assert (manifest.observation, manifest.feature_names) == (GARDEN.key, GARDEN.feature_names)
    assert (manifest.hidden, manifest.head, manifest.actors) == (32, 16, 3)
    assert (manifest.normaliser, manifest.training) == (subject.normaliser, subject.training)
    assert manifest.metrics == subject.metrics
    assert len(manifest.self_test.rows) == len(subject.questions)
    assert {name: entry.path for name, entry in manifest.files.items()} == {
        "torchscript": "network.pt",
        "onnx": "network.onnx",
    }


def test_an_artifact_is_its_files_and_nothing_else(artifact: Path) -> None:
    assert set(files_of(artifact)) == {"manifest.json", "network.pt", "network.onnx"}
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


def test_an_export_replaces_the_artifact_that_is_there_only_when_told_to(
    network: ActorCritic, subject: Subject, tmp_path: Path
) -> None:
    directory = tmp_path / "models" / "1"
    export_network(opinionated_network(seed=5), subject, directory)
    before = files_of(directory)
    with pytest.raises(ArtifactError, match="choose another version, or replace it"):
        export_network(network, subject, directory)
    assert files_of(directory) == before
    export_network(network, subject, directory, replace=True)
    assert files_of(directory)["network.onnx"] != before["network.onnx"]
    assert [path.name for path in directory.parent.iterdir()] == ["1"]


def test_what_is_no_artifact_is_never_replaced(
    network: ActorCritic, subject: Subject, tmp_path: Path
) -> None:
    directory = tmp_path / "models" / "1"
    export_network(network, subject, directory)
    (directory / "notes.txt").write_text("mine")
    before = files_of(directory)
    with pytest.raises(ArtifactError, match=r"notes\.txt"):
        export_network(network, subject, directory, replace=True)
    assert files_of(directory) == before
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ArtifactError, match="no folder"):
        export_network(network, subject, file, replace=True)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("part", ["features", "mask"])
def test_a_question_of_another_size_than_the_network_is_told_of(
    network: ActorCritic, subject: Subject, tmp_path: Path, part: str
) -> None:
    first, *others = subject.questions
    shorter = first.model_copy(update={part: getattr(first, part)[:-1]})
    odd = subject.model_copy(update={"questions": (*others, shorter)})
    with pytest.raises(
        ArtifactError, match=r"questions\.7 has .* the network has 108 features and 7 actions"
    ):
        export_network(network, odd, tmp_path / "artifact")


def test_a_network_whose_values_have_no_bound_is_not_exported(subject: Subject, tmp_path: Path) -> None:
    broken = opinionated_network()
    broken.value_scale.fill_(float("inf"))
    with pytest.raises(ArtifactError, match="not finite"):
        export_network(broken, subject, tmp_path / "artifact")


def test_a_network_that_answers_nan_is_not_exported_and_the_old_artifact_stays(
    network: ActorCritic, subject: Subject, tmp_path: Path
) -> None:
    directory = tmp_path / "models" / "1"
    export_network(network, subject, directory)
    before = files_of(directory)
    broken = opinionated_network()
    broken.critic[2].bias.data.fill_(float("nan"))  # type: ignore[operator]  # a Sequential
    with pytest.raises(ArtifactError, match="not finite"):
        export_network(broken, subject, directory, replace=True)
    assert files_of(directory) == before
    assert [path.name for path in directory.parent.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"observation": "tensor/1"}, "108 features and 7 actions; tensor/1 has 27"),
        ({"observation": "garden/9"}, "garden/9"),
        ({"topology": {"name": "two", "blueprints": ["a", "b"]}}, "topology two 5"),
    ],
)
def test_a_network_that_does_not_fit_what_is_said_of_it_is_not_exported(
    network: ActorCritic, subject: Subject, tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    other = Subject.model_validate(subject.model_dump() | changes)
    with pytest.raises(ArtifactError, match=word):
        export_network(network, other, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_holds_the_network_and_all_that_is_known_of_it(
    network: ActorCritic, subject: Subject, tmp_path: Path
) -> None:
    save_checkpoint(network, subject, tmp_path / "network.safetensors")
    restored, known = load_checkpoint(tmp_path / "network.safetensors")
    assert known == subject
    assert restored.shape == network.shape
    weights = restored.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())


def test_an_artifact_of_a_checkpoint_answers_as_the_trained_network_does(
    network: ActorCritic, subject: Subject, artifact: Path, tmp_path: Path
) -> None:
    save_checkpoint(network, subject, tmp_path / "network.safetensors")
    restored, known = load_checkpoint(tmp_path / "network.safetensors")
    export_network(restored, known, tmp_path / "artifact")
    made = load_network(tmp_path / "artifact").manifest
    assert made.self_test == read_manifest(artifact).self_test


def test_a_network_saved_without_what_is_known_of_it_is_no_checkpoint(
    network: ActorCritic, tmp_path: Path
) -> None:
    save_file(network.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(ArtifactError, match="no checkpoint of Tamiyo"):
        load_checkpoint(tmp_path / "bare.safetensors")


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_no_checkpoint(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ArtifactError, match="no checkpoint"):
        load_checkpoint(tmp_path / "file")


def test_a_checkpoint_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        load_checkpoint(tmp_path / "absent")


@pytest.fixture
def checkpoint(network: ActorCritic, subject: Subject, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    path = tmp_path / "network.safetensors"
    save_checkpoint(network, subject, path)
    return path


def rewrite(path: Path, tensors: dict[str, torch.Tensor], **said: str) -> None:
    """Write a checkpoint anew with other tensors, and something else said of them."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    save_file(tensors, path, header["__metadata__"] | said)


def test_a_checkpoint_with_a_layer_missing_is_refused(checkpoint: Path) -> None:
    tensors = load_file(checkpoint)
    del tensors["trunk.0.bias"]
    rewrite(checkpoint, tensors)
    with pytest.raises(ArtifactError, match=r"trunk\.0\.bias") as refused:
        load_checkpoint(checkpoint)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_claims_a_huge_network_has_none_built(checkpoint: Path) -> None:
    huge = json.dumps({"features": 108, "actions": 7, "hidden": 4096, "head": 4096, "actors": 64})
    # 4 GiB of weights: what is built takes more than these tests may.
    rewrite(checkpoint, load_file(checkpoint), shape=huge)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match="size mismatch"):
        load_checkpoint(checkpoint)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20


def test_a_checkpoint_of_other_precision_is_a_network_of_32_bits(checkpoint: Path) -> None:
    rewrite(checkpoint, {name: tensor.double() for name, tensor in load_file(checkpoint).items()})
    restored, _ = load_checkpoint(checkpoint)
    assert {parameter.dtype for parameter in restored.state_dict().values()} == {torch.float32}
    assert {parameter.requires_grad for parameter in restored.parameters()} == {True}


@pytest.mark.parametrize("part", ["shape", "subject"])
def test_what_is_wrong_with_what_a_checkpoint_says_is_one_line(checkpoint: Path, part: str) -> None:
    rewrite(checkpoint, load_file(checkpoint), **{part: "{}"})
    with pytest.raises(ArtifactError, match="Field required") as refused:
        load_checkpoint(checkpoint)
    assert "\n" not in str(refused.value)
