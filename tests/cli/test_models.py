"""`tamiyo models` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tamiyo_cli.app import app
from tamiyo_models import SHIPPED, load_network, read_manifest
from typer.testing import CliRunner

NAME, VERSION = "imitation-cnn", "1.0.0"
ARTIFACT = f"{NAME}/{VERSION}"


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """The shipped artifact with a bit of its ONNX file changed."""
    directory = Path(shutil.copytree(SHIPPED / ARTIFACT, tmp_path / "spoiled"))
    data = bytearray((directory / "network.onnx").read_bytes())
    data[1000] ^= 1
    (directory / "network.onnx").write_bytes(data)
    return directory


def test_inspect_shows_what_an_artifact_says_of_itself() -> None:
    code, output, _ = invoke("inspect", ARTIFACT)
    assert code == 0
    for words in (f"{NAME}-{VERSION}", "garden/1, 108 features", "GERMINATE_NORM", "network.onnx", "recall"):
        assert words in output


def test_inspect_writes_the_manifest_as_json() -> None:
    code, output, _ = invoke("inspect", ARTIFACT, "--json")
    assert code == 0
    assert json.loads(output) == read_manifest(SHIPPED / ARTIFACT).model_dump(mode="json")


def test_verify_loads_every_format_and_tells_how_far_its_answers_are() -> None:
    code, output, _ = invoke("verify", ARTIFACT, "--json")
    found = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert {line["format"] for line in found} == {"torchscript", "onnx"}
    assert all(line["largest_difference"] <= line["tolerance"] == 1e-5 for line in found)
    assert {line["sha256"] for line in found} == {load_network(SHIPPED / ARTIFACT).sha256}


def test_verify_tells_people_too() -> None:
    code, output, _ = invoke("verify", SHIPPED / ARTIFACT, "--format", "onnx")
    assert code == 0
    assert "onnx on cpu is sound" in output
    assert "torchscript" not in output


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_spoiled_artifact_ends_with_status_1_and_the_reason(command: str, spoiled: Path) -> None:
    code, output, error = invoke(command, spoiled)
    assert (code, output) == (1, "")
    assert "network.onnx" in error
    assert "sha256" in error


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_no_artifact_ends_with_status_1_and_the_reason(command: str, tmp_path: Path) -> None:
    code, _, error = invoke(command, tmp_path)
    assert code == 1
    assert "manifest.json" in error


@pytest.mark.parametrize("name", ["imitation-cnn/1.0.0", "imitation-cnn-1.0.0"])
def test_an_artifact_goes_by_the_names_that_services_tell(name: str) -> None:
    code, output, _ = invoke("inspect", name, "--json")
    assert code == 0
    assert json.loads(output)["name"] == "imitation-cnn"


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_who_names_no_artifact_is_told_those_there_are(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED / ARTIFACT, tmp_path / "mine" / "2.0")
    monkeypatch.setenv("TAMIYO_MODELS", str(tmp_path))
    code, output, error = invoke(command, "nope/1")
    assert (code, output) == (1, "")
    known = "imitation-cnn/1.0.0, mine/2.0"
    told = f"tamiyo models: there is no artifact nope/1; there are {known}, or name the directory of one\n"
    assert error == told
    assert invoke("inspect", "mine-2.0")[0] == 0


def test_verify_on_a_device_that_is_not_there_ends_with_status_1() -> None:
    code, _, error = invoke("verify", ARTIFACT, "--device", "cuda:99")
    assert code == 1
    assert "cuda:99" in error


def test_a_format_nobody_knows_is_a_mistyped_command() -> None:
    assert invoke("verify", ARTIFACT, "--format", "pickle")[0] == 2


def test_imitate_makes_an_artifact_and_export_makes_it_again(tmp_path: Path) -> None:
    models, checkpoint = tmp_path / "models", tmp_path / "network.safetensors"
    code, output, _ = invoke(
        *("imitate", "--out", models, "--runs", "5", "--seed", "3", "--version", "0.1"),
        *("--checkpoint", checkpoint, "--json"),
    )
    assert code == 0
    assert json.loads(output)["directory"] == str(models / NAME / "0.1")
    code, output, _ = invoke("export", checkpoint, "--out", models, "--version", "0.2", "--name", "other")
    assert code == 0
    assert str(models / "other" / "0.2") in output
    made, again = (read_manifest(models / name) for name in (f"{NAME}/0.1", "other/0.2"))
    assert made.self_test == again.self_test
    assert made.training == again.training
    assert again.policy_version == "other-0.2"

    before = (models / "other" / "0.2" / "manifest.json").read_bytes()
    code, output, error = invoke("export", checkpoint, "--out", models, "--version", "0.2", "--name", "other")
    assert (code, output) == (1, "")
    assert "choose another version, or replace it (--force)" in error
    assert (models / "other" / "0.2" / "manifest.json").read_bytes() == before
    assert invoke("export", checkpoint, "--out", models, "--version", "0.1", "--force")[0] == 0


@pytest.mark.parametrize("data", [b"\x80\x04.", None])
def test_export_of_what_is_no_checkpoint_ends_with_status_1(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "checkpoint"
    if data is not None:
        file.write_bytes(data)
    code, _, error = invoke("export", file, "--out", tmp_path / "models", "--version", "1")
    assert code == 1
    assert str(file) in error
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("command", ["export", "imitate"])
@pytest.mark.parametrize("version", ["../1", "", "A", "a" * 64, "1 2"])
def test_a_version_that_no_artifact_may_have_is_a_mistyped_command(
    tmp_path: Path, command: str, version: str
) -> None:
    checkpoint = [tmp_path / "checkpoint"] if command == "export" else []
    code, output, error = invoke(command, *checkpoint, "--out", tmp_path / "models", "--version", version)
    assert (code, output) == (2, "")
    assert "--version" in error
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("models", ("--version", VERSION), "comes with Tamiyo"),
        ("models", ("--version", "2", "--checkpoint", "{}/absent/file"), "no folder"),
        ("models", ("--version", "2", "--checkpoint", "{}"), "is a folder"),
        ("models", ("--version", "2", "--checkpoint", "{}/there"), "there already"),
        ("there", ("--version", "2"), "no folder that can be written to"),
        ("full", ("--version", "2"), "replace it (--force)"),
    ],
)
def test_what_imitate_could_not_write_is_refused_before_any_training(
    tmp_path: Path, out: str, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "there").write_text("mine")
    shutil.copytree(SHIPPED / ARTIFACT, tmp_path / "full" / NAME / "2")
    named = (option.format(tmp_path) for option in options)
    code, _, error = invoke("imitate", "--out", tmp_path / out, "--runs", "5", *named)
    assert code == 1
    assert words in error
    assert "trainings" not in error
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_of_two_of_one_name_the_one_that_services_take_is_meant(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Path(shutil.copytree(SHIPPED / ARTIFACT, tmp_path / ARTIFACT))
    monkeypatch.setenv("TAMIYO_MODELS", str(tmp_path))
    # The very same is no other.
    assert invoke(command, ARTIFACT)[2] == ""
    (twin / "manifest.json").write_text("{}")
    code, _, error = invoke(command, ARTIFACT)
    assert code == 0
    assert f"services refuse {twin}" in error
    assert invoke(command, twin)[0] == 1
