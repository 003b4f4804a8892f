"""The images hold what serving needs and nothing else, and say what they are."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import httpx
import pytest
from tamiyo_service.store.migrate import REVISION

from tests.docker.conftest import LABELS
from tests.docker.deployment import ROOT, Deployment, free_port, torn_down
from tests.docker.engine import Engine, EngineError
from tests.service.samples import report

pytestmark = pytest.mark.docker

CORE_BYTES: Final = 250_000_000
LEARNED_BYTES: Final = 1_200_000_000
KERNELS: Final = ("/proc", "/dev", "/sys")
LIST_FILES: Final = """
import os
for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/sys")):
        print(*(os.path.join(folder, name) for name in names), sep="\\n")
"""


@pytest.fixture(params=["image", "learned_image"])
def either(request: pytest.FixtureRequest) -> str:
    """Each of the images that serve."""
    return str(request.getfixturevalue(request.param))


def inspected(engine: Engine, image: str) -> dict[str, Any]:
    [found] = json.loads(engine.run("image", "inspect", image))
    return dict(found)


def python(engine: Engine, image: str, program: str) -> str:
    """What a program prints that runs in a container."""
    return engine.run("run", "--rm", "--read-only", "--entrypoint", "python", image, "-c", program)


def test_images_run_as_an_ordinary_user_with_a_volume_for_their_data(engine: Engine, either: str) -> None:
    config = inspected(engine, either)["Config"]
    assert config["User"] == "10001:10001"
    # Programs, started as they are: no shell that would have to hand on signals.
    assert (config["Entrypoint"], config["Cmd"]) == (["tamiyo"], ["serve"])
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python3"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/data"]


def test_images_say_which_source_they_were_built_from(engine: Engine, either: str) -> None:
    labels = inspected(engine, either)["Config"]["Labels"]
    assert {name: labels[f"org.opencontainers.image.{name.lower()}"] for name in LABELS} == LABELS


def test_images_are_no_larger_than_promised(engine: Engine, image: str, learned_image: str) -> None:
    assert inspected(engine, image)["Size"] <= CORE_BYTES
    assert inspected(engine, learned_image)["Size"] <= LEARNED_BYTES


def test_the_small_image_has_no_networks(engine: Engine, image: str) -> None:
    names = ("torch", "numpy", "onnxruntime", "sklearn")
    look = f"import importlib.util as u; print(*(u.find_spec(name) for name in {names}))"
    assert python(engine, image, look).split() == ["None"] * len(names)


def test_no_image_has_what_installs_or_compiles(engine: Engine, either: str) -> None:
    files = python(engine, either, LIST_FILES).splitlines()
    assert len(files) > 1000
    installers = re.compile(r"/(site|dist)-packages/pip/|/bin/(pip|gcc|cc)[\d.]*$")
    assert [name for name in files if installers.search(name)] == []


def test_nothing_but_the_data_can_be_written(engine: Engine, either: str) -> None:
    look = "import os; print(*(f for f, _, _ in os.walk('/') if os.access(f, os.W_OK)))"
    writable = [name for name in python(engine, either, look).split() if not name.startswith(KERNELS)]
    assert writable == ["/data"]


def test_the_bill_of_materials_tells_every_package_with_its_locked_version(
    engine: Engine, image: str
) -> None:
    look = "print(open('/usr/share/doc/tamiyo/sbom.cdx.json').read())"
    bill = json.loads(python(engine, image, look))
    there = {canonical(part["name"]): part["version"] for part in bill["components"]}
    lock = (ROOT / "docker" / "requirements" / "core.txt").read_text(encoding="utf-8")
    locked = {
        canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    }
    assert there == {**locked, "esper-tamiyo": LABELS["VERSION"]}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_container_makes_a_database_with_the_schema_it_works_with(engine: Engine, image: str) -> None:
    told = json.loads(
        engine.run("run", "--rm", "--read-only", "--volume", "/data", image, "migrate", "--json")
    )
    assert told["after"] == REVISION


def test_the_service_refuses_to_start_without_a_database_it_can_write(engine: Engine, image: str) -> None:
    with pytest.raises(EngineError, match="tamiyo serve: "):
        engine.run("run", "--rm", "--env", "TAMIYO_DATABASE_URL=sqlite:////nowhere/tamiyo.db", image)


def test_the_image_with_networks_decides_with_them(engine: Engine, learned_image: str) -> None:
    variables = {"TAMIYO_IMAGE": learned_image}
    deployment = Deployment(engine, f"tamiyo-learned-{free_port()}", free_port(), variables=variables)
    with torn_down(deployment):
        deployment.up()
        run = f"{deployment.base_url}/runs/growing"
        with httpx.Client(timeout=30) as http:
            http.put(run, json={"topology": "cnn", "policy": {"name": "learned"}}).raise_for_status()
            for epoch in range(5):
                http.post(f"{run}/epoch", json=report(epoch)).raise_for_status()
            records = [http.get(f"{run}/decisions/{epoch}").json() for epoch in range(5)]
    assert {record["policy"]["name"] for record in records} == {"learned"}
    assert all("the network gives" in record["commands"][0]["reason"] for record in records)


def test_doctor_finds_nothing_wrong_in_a_running_container(deployment: Deployment) -> None:
    findings = [
        json.loads(line) for line in deployment.inside("tamiyo", "tamiyo", "doctor", "--json").splitlines()
    ]
    assert [finding for finding in findings if finding["verdict"] == "failed"] == []
    assert {"store", "service", "readiness"} <= {finding["check"] for finding in findings}
