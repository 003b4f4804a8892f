"""What images are built from and how they are composed: sound files, locks that are the constraints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docker.deployment import ROOT, compose_file
from tests.docker.engine import run
from tests.docker.tools import tool

pytestmark = pytest.mark.docker

REQUIREMENTS: Final = ROOT / "docker" / "requirements"
LOCKS: Final = ("core", "learned", "trainer", "build", "tools", "torch")
PROFILES: Final = ("sqlite", "postgres", "gpu", "observability", "demo")
SECRETS: Final = {"postgres-password", "grafana-password"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonical(name): version for name, version in found}


def configuration(*profiles: str) -> dict[str, Any]:
    return dict(json.loads(run([*compose_file(*profiles), "config", "--format", "json"], {})))


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    run([tool("hadolint"), "--failure-threshold", "style", str(ROOT / "docker" / "Dockerfile")], {})


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_the_versions_of_the_constraints(lock: str) -> None:
    constraints = pins(ROOT / "constraints.txt")
    locked = pins(REQUIREMENTS / f"{lock}.txt")
    assert locked
    assert {name: version for name, version in locked.items() if constraints.get(name) != version} == {}


@pytest.mark.parametrize("lock", [name for name in LOCKS if name != "torch"])
def test_every_locked_package_has_hashes(lock: str) -> None:
    text = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8")
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement.splitlines()[0]


def test_the_image_has_everything_that_its_extras_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = chain(project["dependencies"], extras["service"], extras["postgres"], extras["otel"])
    wanted = {canonical(re.split(r"[\[<>=;~! ]", name)[0]) for name in named}
    assert wanted <= set(pins(REQUIREMENTS / "core.txt"))


@pytest.mark.parametrize("profiles", [set_ for size in (0, 1, 2) for set_ in combinations(PROFILES, size)])
def test_the_compose_file_is_sound_with_every_profile(profiles: tuple[str, ...]) -> None:
    command = [*compose_file(*profiles), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_without_a_profile_there_is_one_service_on_sqlite() -> None:
    assert list(configuration()["services"]) == ["tamiyo"]


def test_every_port_is_on_loopback_and_of_one_service_a_profile() -> None:
    for profile in PROFILES:
        published = [
            (port["host_ip"], port["published"])
            for service in configuration(profile)["services"].values()
            for port in service.get("ports", ())
        ]
        assert {address for address, _ in published} <= {"127.0.0.1"}
        assert len(published) == len(set(published))


def test_a_gpu_is_reserved_by_its_profile() -> None:
    service = configuration("gpu")["services"]["tamiyo-gpu"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert service["build"]["target"] == "learned"
    assert "/whl/cu" in service["build"]["args"]["TORCH_INDEX_URL"]


def test_no_secret_is_in_an_environment() -> None:
    services = configuration(*PROFILES)["services"]
    for service in services.values():
        for name, value in (service.get("environment") or {}).items():
            assert "PASSWORD" not in name or value.startswith("/run/secrets/"), name
    used = {secret["source"] for service in services.values() for secret in service.get("secrets", ())}
    assert used == SECRETS


def test_secrets_are_made_once_and_are_for_the_containers_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(folder), *SECRETS]
    run(command, {})
    made = {name: (folder / name).read_text(encoding="utf-8") for name in SECRETS}
    assert len({*made.values()}) == 2
    assert min(map(len, made.values())) >= 32
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run(command, {}) == ""
    assert {name: (folder / name).read_text(encoding="utf-8") for name in SECRETS} == made
