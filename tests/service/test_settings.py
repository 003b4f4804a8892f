"""Settings that nobody reads are told of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tamiyo_service import Settings
from tamiyo_service.settings import unknown_variables


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TAMIYO_PRT", "TAMIYO_PORT"),
        ("TAMIYO_DATABSE_URL", "TAMIYO_DATABASE_URL"),
        ("tamiyo_cached_run", "TAMIYO_CACHED_RUNS"),
        ("TAMIYO_XYZZY", None),
    ],
)
def test_a_misspelt_setting_is_told_of_with_the_closest_one(variable: str, meant: str | None) -> None:
    assert unknown_variables({variable: "9"}) == {variable: meant}


def test_settings_and_the_variables_of_others_are_known() -> None:
    known = {f"TAMIYO_{name.upper()}": "1" for name in Settings.model_fields}
    others = {"TAMIYO_URL": "", "TAMIYO_IMAGE": "", "tamiyo_port": "1", "PATH": "", "MY_TAMIYO_PRT": ""}
    assert unknown_variables(known | others) == {}


def log_of_the_start(folder: Path, settings: str = "", **variables: str) -> list[dict[str, Any]]:
    """The log of a start. The database is a folder: it ends at once."""
    program = "from tamiyo_service import Settings, serve\n"
    program += f"serve(Settings(database_url='sqlite:///{folder}', {settings}))"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]


def test_a_misspelt_setting_is_in_the_log_of_the_start(tmp_path: Path) -> None:
    entry = log_of_the_start(tmp_path, TAMIYO_PRT="9")[0]
    assert (entry["event"], entry["level"]) == ("unknown_setting", "warning")
    assert (entry["variable"], entry["did_you_mean"]) == ("TAMIYO_PRT", "TAMIYO_PORT")


def test_a_shadow_policy_that_is_not_there_is_in_the_log_of_the_start(tmp_path: Path) -> None:
    shadow = "heuristic,nonesuch,heuristic@0.1,learned,learned@none-1.0.0"
    entries = log_of_the_start(tmp_path, f"shadow={shadow!r}")
    absent = [entry for entry in entries if entry["event"] == "shadow_absent"]
    assert [(entry["policy"], entry["version"]) for entry in absent] == [
        ("nonesuch", None),
        ("heuristic", "0.1"),
        ("learned", "none-1.0.0"),
    ]
    assert "unknown policy 'nonesuch'; valid: heuristic" in absent[0]["reason"]
    assert "there is imitation-cnn-1.0.0" in absent[2]["reason"]


def test_models_and_a_device_that_are_not_there_are_in_the_log_of_the_start(tmp_path: Path) -> None:
    settings = f"models='{tmp_path}/absent', device='cuda'"
    entries = log_of_the_start(tmp_path, settings, CUDA_VISIBLE_DEVICES="")
    told = {entry["event"]: entry for entry in entries if entry["level"] == "warning"}
    assert told["models_absent"]["folder"] == f"{tmp_path}/absent"
    assert told["device_absent"]["device"] == "cuda"


@pytest.mark.parametrize("name", ["tls_certfile", "tls_keyfile", "models", "archive"])
def test_an_empty_path_is_told_of(name: str) -> None:
    with pytest.raises(ValueError, match="name a file or folder, or leave it unset"):
        Settings.model_validate({name: ""})


def test_a_password_in_a_file_is_that_of_the_database(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss:w/rd\n", encoding="utf-8")
    for url in (
        "postgresql://tamiyo@db/runs?sslmode=require",
        "postgresql://tamiyo:old@db/runs?sslmode=require",
    ):
        settings = Settings(database_url=url, database_password_file=file)
        assert settings.database_url == "postgresql://tamiyo:p%40ss%3Aw%2Frd@db/runs?sslmode=require"
    assert (
        Settings(database_url="sqlite:///a.db", database_password_file=file).database_url == "sqlite:///a.db"
    )


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), (b"\n", "is empty"), (b"\xff", "cannot")]
)
def test_a_password_file_without_a_password_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        Settings(database_url="postgresql://tamiyo@db/runs", database_password_file=file)
