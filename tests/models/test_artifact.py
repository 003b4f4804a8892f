"""Every artifact that is not what its manifest says is refused, with the reason."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tamiyo_core.policy import RowAdvice
from tamiyo_models.artifact import SHIPPED, ArtifactError, load_network, read_manifest
from tamiyo_models.manifest import FileFormat

from tests.models.questions import some_questions

Copy = Callable[[], Path]
FILES: dict[FileFormat, str] = {"torchscript": "network.pt", "onnx": "network.onnx"}
FORMATS = pytest.mark.parametrize("file_format", FILES)


def manifest_of(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "manifest.json").read_text()))


def change_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = manifest_of(directory)
    change(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))


def put(directory: Path, file_format: FileFormat, data: bytes) -> None:
    """Replace a file and vouch for it in the manifest, as whoever can write both would."""
    (directory / FILES[file_format]).write_bytes(data)
    known = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change_manifest(directory, lambda manifest: manifest["files"][file_format].update(known))


def saved_script(module: torch.nn.Module) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # torch deprecates TorchScript; what is under test is that we refuse some of it.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), stream)
    return stream.getvalue()


@contextmanager
def refused(*words: str) -> Iterator[None]:
    with pytest.raises(ArtifactError) as caught:
        yield
    assert all(word in str(caught.value) for word in words), str(caught.value)


class Tripwire:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


class ReadsFiles(torch.nn.Module):
    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 4)


class NeverEnds(torch.nn.Module):
    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        while features.numel() > 0:
            features = features + 1.0
        return features


class SaysTooLittle(torch.nn.Module):
    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return features


@FORMATS
def test_a_sound_artifact_loads_and_passes_its_self_test(artifact: Path, file_format: FileFormat) -> None:
    network = load_network(artifact, file_format=file_format)
    assert (network.file_format, network.device) == (file_format, "cpu")
    assert network.sha256 == hashlib.sha256((artifact / "manifest.json").read_bytes()).hexdigest()
    assert network.verify() <= 1e-5


def values(advice: Sequence[RowAdvice | str]) -> list[float]:
    return [row.value for row in advice if isinstance(row, RowAdvice)]


@FORMATS
def test_threads_that_ask_one_network_get_their_own_answers(artifact: Path, file_format: FileFormat) -> None:
    network = load_network(artifact, file_format=file_format)
    asked = [some_questions(count, seed=count) for count in (1, 2, 3, 5)]
    alone = [values(network.advise(questions)) for questions in asked]

    def ask(number: int) -> bool:
        # To within the rounding of a pass, in which two threads may differ.
        return values(network.advise(asked[number % 4])) == pytest.approx(alone[number % 4], abs=1e-4)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(2_000)))
    finally:
        sys.setswitchinterval(before)


def test_a_whole_artifact_is_checked_without_loading_it(artifact: Path) -> None:
    manifest = read_manifest(artifact, check_files=True)
    assert manifest.policy_version == "opinionated-1.2.3"
    assert set(manifest.files) == set(FILES)


def test_reading_a_manifest_does_not_import_torch(artifact: Path) -> None:
    code = (
        "import sys, pathlib, tamiyo_models\n"
        f"tamiyo_models.read_manifest(pathlib.Path({str(artifact)!r}), check_files=True)\n"
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_onnx_serves_without_torch(artifact: Path) -> None:
    code = (
        "import sys, pathlib, tamiyo_models\n"
        f"tamiyo_models.load_network(pathlib.Path({str(artifact)!r}), file_format='onnx')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_no_artifact_is_refused(tmp_path: Path) -> None:
    with refused("manifest.json", "cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format_version=2), ("format_version",)),
        (lambda m: m.pop("self_test"), ("self_test", "required")),
        (lambda m: m.update(surprise=1), ("surprise",)),
        (lambda m: m.update(observation="garden/2"), ("garden/2", "known are")),
        (lambda m: m.update(observation="tensor/1"), ("feature_names", "order")),
        (lambda m: m["feature_names"].reverse(), ("feature_names", "order")),
        (lambda m: m["feature_names"].pop(), ("feature_names",)),
        (lambda m: m["actions"].reverse(), ("actions", "its topology has")),
        (lambda m: m["topology"].update(blueprints=["norm", "lora"]), ("actions", "GERMINATE_LORA")),
        (lambda m: m["normaliser"]["ranges"].pop(), ("normaliser", "ranges")),
        (lambda m: m["self_test"]["rows"][1]["features"].pop(), ("self_test.rows.1",)),
        (lambda m: m["self_test"].update(rows=[]), ("self_test.rows",)),
        (lambda m: m["self_test"].update(tolerance=1.0), ("tolerance",)),
        (lambda m: m["self_test"]["rows"][0].update(value=float("inf")), ("value", "finite")),
        (lambda m: m["self_test"]["rows"][0].update(log_probs=[1000.0]), ("self_test.rows.0.log_probs.0",)),
        (lambda m: m["files"]["onnx"].update(path="../network.onnx"), ("files.onnx.path",)),
        (lambda m: m["files"]["onnx"].update(path="/etc/passwd"), ("files.onnx.path",)),
        (lambda m: m["files"]["onnx"].update(path=".."), ("files.onnx.path",)),
        (lambda m: m["files"]["onnx"].update(size=2**40), ("files.onnx.size",)),
        (lambda m: m.update(files={"pickle": m["files"]["onnx"]}), ("files.pickle",)),
        (lambda m: m.update(files={}), ("files",)),
        (lambda m: m.update(name="../escape"), ("name",)),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    copy_of: Copy, change: Callable[[dict[str, Any]], object], words: tuple[str, ...]
) -> None:
    directory = copy_of()
    change_manifest(directory, change)
    with refused("manifest.json", *words):
        read_manifest(directory)


@pytest.mark.parametrize("data", [b"", b"{", b"\x80\x04", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(copy_of: Copy, data: bytes) -> None:
    directory = copy_of()
    (directory / "manifest.json").write_bytes(data)
    with refused("manifest.json"):
        read_manifest(directory)


def test_an_endless_manifest_is_refused_unread(copy_of: Copy) -> None:
    directory = copy_of()
    with (directory / "manifest.json").open("wb") as file:
        file.truncate(2**40)
    with refused("more than"):
        read_manifest(directory)


@FORMATS
def test_a_single_changed_bit_is_refused(copy_of: Copy, file_format: FileFormat) -> None:
    directory = copy_of()
    file = directory / FILES[file_format]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with refused(FILES[file_format], "sha256"):
        load_network(directory, file_format=file_format)


@FORMATS
def test_a_truncated_file_is_refused(copy_of: Copy, file_format: FileFormat) -> None:
    directory = copy_of()
    file = directory / FILES[file_format]
    file.write_bytes(file.read_bytes()[:-100])
    with refused(FILES[file_format], "bytes, its manifest says"):
        load_network(directory, file_format=file_format)


@FORMATS
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused_even_when_vouched_for(
    copy_of: Copy, file_format: FileFormat, keep: float
) -> None:
    directory = copy_of()
    data = (directory / FILES[file_format]).read_bytes()
    put(directory, file_format, data[: int(keep * len(data))] or b"\0")
    with refused():
        load_network(directory, file_format=file_format)


@FORMATS
def test_a_missing_file_is_refused(copy_of: Copy, file_format: FileFormat) -> None:
    directory = copy_of()
    (directory / FILES[file_format]).unlink()
    with refused(FILES[file_format], "cannot be read"):
        load_network(directory, file_format=file_format)


@FORMATS
def test_a_link_out_of_the_directory_is_refused(
    copy_of: Copy, tmp_path: Path, file_format: FileFormat
) -> None:
    directory = copy_of()
    file = directory / FILES[file_format]
    outside = tmp_path / "outside"
    file.rename(outside)
    file.symlink_to(outside)
    with refused("leads out of its directory"):
        load_network(directory, file_format=file_format)


def test_a_link_within_the_directory_is_followed(copy_of: Copy) -> None:
    directory = copy_of()
    file = directory / "network.onnx"
    file.rename(directory / "really.onnx")
    file.symlink_to("really.onnx")
    assert load_network(directory, file_format="onnx").verify() <= 1e-5


def test_a_link_to_itself_is_refused(copy_of: Copy) -> None:
    directory = copy_of()
    file = directory / "network.onnx"
    file.unlink()
    file.symlink_to(file)
    with refused("cannot be read"):
        load_network(directory, file_format="onnx")


def test_a_pipe_in_place_of_a_file_holds_nobody(copy_of: Copy) -> None:
    directory = copy_of()
    file = directory / "network.onnx"
    file.unlink()
    os.mkfifo(file)
    with refused("no plain file"):
        load_network(directory, file_format="onnx")


def test_a_directory_in_place_of_a_file_is_refused(copy_of: Copy) -> None:
    directory = copy_of()
    file = directory / "network.onnx"
    file.unlink()
    file.mkdir()
    with refused("network.onnx"):
        load_network(directory, file_format="onnx")


@FORMATS
def test_a_pickle_is_refused_and_never_loaded(copy_of: Copy, tmp_path: Path, file_format: FileFormat) -> None:
    directory, mark = copy_of(), tmp_path / "unpickled"
    put(directory, file_format, pickle.dumps(Tripwire(mark)))
    with refused(FILES[file_format]):
        load_network(directory, file_format=file_format)
    assert not mark.exists()


def test_a_checkpoint_of_torch_save_is_refused_and_never_loaded(copy_of: Copy, tmp_path: Path) -> None:
    directory, mark = copy_of(), tmp_path / "unpickled"
    stream = io.BytesIO()
    torch.save(Tripwire(mark), stream)
    put(directory, "torchscript", stream.getvalue())
    with refused("network.pt", "no code"):
        load_network(directory, file_format="torchscript")
    assert not mark.exists()


def rezipped(data: bytes, change: Callable[[zipfile.ZipFile, str], None]) -> bytes:
    """The archive with further entries."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        change(archive, archive.namelist()[0].partition("/")[0])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z, root: z.writestr(f"{root}/data/99", bytes(2**27)), ("unpacks to",)),
        (lambda z, root: [z.writestr(f"{root}/data/{n}", b"") for n in range(50, 400)], ("entries",)),
        (lambda z, root: z.writestr(f"{root}/../../evil", b""), ("which no TorchScript network has",)),
        (lambda z, root: z.writestr("elsewhere/data/1", b""), ("outside its one folder",)),
        (lambda z, root: z.writestr(f"{root}/extra/model.py", b""), ("which no TorchScript network has",)),
        (lambda z, root: z.writestr(f"{root}/code/__torch__/a.py", b"\xff"), ("damaged",)),
        (lambda z, root: z.writestr(f"{root}/code/__torch__/a.py", bytes(2**21)), ("bytes of code",)),
        (
            lambda z, root: z.writestr(f"{root}/code/__torch__/a.py", b"def __setstate__(self): pass"),
            ("__setstate__",),
        ),
        (lambda z, root: z.writestr(f"{root}/code/__torch__/a.py", b"ops.prim.x()"), ("ops.prim.x",)),
    ],
)
def test_an_archive_with_more_in_it_than_a_network_is_refused(
    copy_of: Copy, change: Callable[[zipfile.ZipFile, str], None], words: tuple[str, ...]
) -> None:
    directory = copy_of()
    put(directory, "torchscript", rezipped((directory / "network.pt").read_bytes(), change))
    with refused("network.pt", *words):
        load_network(directory, file_format="torchscript")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('y = torch .from_file("/tmp/x", True, 1)', "torch.from_file"),
        ('y = torch.\n  from_file("/tmp/x", True, 1)', "cannot be read"),
        ('y = (torch).from_file("/tmp/x", True, 1)', "torch.from_file"),
        ("y = ops .aten.relu(x)", "ops.aten.relu"),
        ("y = ops.aten .relu(x)", "ops.aten.relu"),
        ("y = torch.from_file", "torch.from_file"),
        ("y = torch.relu.from_file", "torch.relu.from_file"),
        ("y = x.resize_([1])", "x.resize_"),
        ("y = torch.relu(x).resize_([1])", "(...).resize_"),
        ("y = other.forward(x)", "other.forward"),
        ('print("x")', "print"),
        ("y = f(x)", "uses f"),
        ("y = torch.relu(x)  # torch", "characters"),
        ('y = """x"""', "characters"),
        ("y = \\\n  x", "characters"),
        ("y = \uff54orch.relu(x)", "characters"),
        ("y = = x", "cannot be read"),
        (f"y = {'(' * 5000}x{')' * 5000}", "cannot be read"),
    ],
)
def test_code_that_reaches_beyond_a_network_is_refused_however_it_is_written(
    copy_of: Copy, line: str, word: str
) -> None:
    directory = copy_of()
    code = f"def f(x):\n  {line}\n".encode()
    changed = rezipped(
        (directory / "network.pt").read_bytes(),
        lambda z, root: z.writestr(f"{root}/code/__torch__/a.py", code),
    )
    put(directory, "torchscript", changed)
    with refused("network.pt", word):
        load_network(directory, file_format="torchscript")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # what is under test
def test_an_archive_with_two_entries_of_one_name_is_refused(copy_of: Copy) -> None:
    directory = copy_of()
    doubled = rezipped(
        (directory / "network.pt").read_bytes(), lambda z, root: z.writestr(f"{root}/version", b"3\n")
    )
    put(directory, "torchscript", doubled)
    with refused("network.pt", "two entries of one name"):
        load_network(directory, file_format="torchscript")


@pytest.mark.parametrize(
    ("program", "word"), [(ReadsFiles, "torch.from_file"), (NeverEnds, "while"), (SaysTooLittle, "self-test")]
)
def test_a_program_that_is_no_policy_network_is_refused(
    copy_of: Copy, program: type[torch.nn.Module], word: str
) -> None:
    directory = copy_of()
    put(directory, "torchscript", saved_script(program()))
    with refused(word):
        load_network(directory, file_format="torchscript")


def onnx_with(operator: str, **attributes: Any) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["features"], ["log_probs"], **attributes)],
        "hostile",
        [info("features", TensorProto.FLOAT, ["B", 108]), info("mask", TensorProto.BOOL, ["B", 7])],
        [info("log_probs", TensorProto.FLOAT, ["B", 108])],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("operator", "attributes", "word"),
    [
        ("Loop", {}, "Loop"),
        ("If", {}, "If"),
        ("Relu", {"domain": "com.evil"}, "com.evil.Relu"),
        ("Relu", {}, "self-test"),
    ],
)
def test_an_onnx_graph_that_is_no_policy_network_is_refused(
    copy_of: Copy, operator: str, attributes: dict[str, Any], word: str
) -> None:
    directory = copy_of()
    put(directory, "onnx", onnx_with(operator, **attributes).SerializeToString())
    with refused(word):
        load_network(directory, file_format="onnx")


def test_onnx_weights_in_another_file_are_refused(copy_of: Copy) -> None:
    directory = copy_of()
    model = onnx.load_from_string((directory / "network.onnx").read_bytes())
    tensor = next(t for t in model.graph.initializer if t.name == "weight_1")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    location = tensor.external_data.add()
    location.key, location.value = "location", "../../../etc/passwd"
    put(directory, "onnx", model.SerializeToString())
    with refused("another file"):
        load_network(directory, file_format="onnx")


def prefixed(model: onnx.ModelProto, node: bytes) -> bytes:
    """The model with one node, before whose own fields others stand."""
    (own,) = model.graph.node
    whole = node + own.SerializeToString()
    del model.graph.node[:]
    graph = _field(1, whole) + model.graph.SerializeToString()
    model.ClearField("graph")
    return bytes(model.SerializeToString()) + _field(7, graph)


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


@pytest.mark.parametrize("node", [_field(4, b"Add"), _field(7, b""), _field(7, b"ai.onnx")])
def test_an_onnx_node_that_names_its_operator_twice_is_refused(copy_of: Copy, node: bytes) -> None:
    directory = copy_of()
    data = prefixed(onnx_with("Loop", domain="com.evil"), node)
    assert onnx.load_from_string(data).graph.node[0].op_type == "Loop"
    put(directory, "onnx", data)
    with refused("names its operator twice"):
        load_network(directory, file_format="onnx")


def test_a_graph_within_an_onnx_node_is_refused(copy_of: Copy) -> None:
    directory = copy_of()
    model = onnx_with("Relu", body=helper.make_graph([], "within", [], []))
    put(directory, "onnx", model.SerializeToString())
    with refused("graph within a node"):
        load_network(directory, file_format="onnx")


def test_onnx_functions_are_refused(copy_of: Copy) -> None:
    directory = copy_of()
    model = onnx.load_from_string((directory / "network.onnx").read_bytes())
    model.functions.add().name = "hidden"
    put(directory, "onnx", model.SerializeToString())
    with refused("functions of its own"):
        load_network(directory, file_format="onnx")


def test_other_weights_fail_the_self_test(copy_of: Copy) -> None:
    directory = copy_of()
    model = onnx.load_from_string((directory / "network.onnx").read_bytes())
    tensor = next(t for t in model.graph.initializer if t.name == "bias_4")
    tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) + np.arange(22, dtype=np.float32)).tobytes()
    put(directory, "onnx", model.SerializeToString())
    with refused("self-test failed", "row 0"):
        load_network(directory, file_format="onnx")


@pytest.mark.parametrize("field", ["value", "uncertainty"])
def test_value_and_uncertainty_belong_to_the_self_test(copy_of: Copy, field: str) -> None:
    directory = copy_of()
    change_manifest(directory, lambda m: m["self_test"]["rows"][2].update({field: 0.123}))
    with refused("row 2", field):
        load_network(directory)


def test_a_format_the_artifact_lacks_is_refused(copy_of: Copy) -> None:
    directory = copy_of()
    change_manifest(directory, lambda m: m["files"].pop("onnx"))
    with refused("has no onnx file"):
        load_network(directory, file_format="onnx")
    assert load_network(directory).file_format == "torchscript"


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "tpu", ""])
def test_a_device_that_is_not_there_is_refused(artifact: Path, device: str) -> None:
    with refused(device):
        load_network(artifact, device=device)


def test_onnx_is_refused_on_cuda(artifact: Path) -> None:
    with refused("onnx does not run on 'cuda'"):
        load_network(artifact, device="cuda", file_format="onnx")


def shipped() -> list[Path]:
    return sorted(path.parent for path in SHIPPED.glob("*/*/manifest.json"))


def test_an_artifact_ships_for_the_cnn_topology() -> None:
    assert "cnn" in {read_manifest(directory).topology.name for directory in shipped()}


@FORMATS
@pytest.mark.parametrize("directory", shipped(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_ships_is_sound_small_and_in_its_place(directory: Path, file_format: FileFormat) -> None:
    network = load_network(directory, file_format=file_format)
    manifest = network.manifest
    assert (manifest.name, manifest.version) == (directory.parent.name, directory.name)
    assert sum(entry.size for entry in manifest.files.values()) <= 2 * 2**20
    assert {row.mask for row in manifest.self_test.rows} >= {(True,) * 5 + (False, False)}
    assert network.verify() <= 1e-5
