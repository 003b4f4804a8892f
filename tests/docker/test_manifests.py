"""The manifests of docker/kubernetes are ones that a cluster takes, and ask it for no more than is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tamiyo_service import Settings

from tests.docker.deployment import ROOT
from tests.docker.engine import run
from tests.docker.tools import tool

pytestmark = pytest.mark.docker

FOLDER: Final = ROOT / "docker" / "kubernetes"
VARIANTS: Final = ("base", "overlays/postgres", "overlays/gpu")
VERSIONS: Final = ("1.31", "1.37")
"""The oldest and the newest Kubernetes they are for."""
CONFINED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

Manifests = dict[tuple[str, str], dict[str, Any]]


def rendered(variant: str) -> str:
    return run([tool("kubectl"), "kustomize", str(FOLDER / variant)], {})


def manifests(variant: str) -> Manifests:
    """What a cluster is told, by kind and name."""
    found = yaml.safe_load_all(rendered(variant))
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pods(variant: str) -> list[dict[str, Any]]:
    """The specification of every pod that comes of it."""
    return [
        one["spec"]["template"]["spec"]
        for (kind, _), one in manifests(variant).items()
        if kind in ("Deployment", "Job")
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_takes_every_manifest(variant: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered(variant), encoding="utf-8")
    command = [tool("kubernetes-validate"), "--strict", "--kubernetes-version", version, str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert said.count(" passed ") == len(manifests(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_are_as_the_restricted_standard_of_their_namespace_wants(variant: str) -> None:
    labels = manifests(variant)["Namespace", "tamiyo"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(variant):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == CONFINED
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_settings_are_ones_there_are(variant: str) -> None:
    known = {f"TAMIYO_{name.upper()}" for name in Settings.model_fields}
    given = set(manifests(variant)["ConfigMap", "tamiyo"]["data"])
    given |= {
        variable["name"]
        for pod in pods(variant)
        for one in pod["containers"]
        for variable in one.get("env", ())
    }
    assert "TAMIYO_DATABASE_URL" in given
    assert given <= known


@pytest.mark.parametrize("variant", VARIANTS)
def test_services_are_found_by_what_selects_them(variant: str) -> None:
    found = manifests(variant)
    deployment = found["Deployment", "tamiyo"]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    selectors = (
        deployment["selector"]["matchLabels"],
        found["Service", "tamiyo"]["spec"]["selector"],
        found["PodDisruptionBudget", "tamiyo"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy", "tamiyo"]["spec"]["podSelector"]["matchLabels"],
    )
    assert all(selector.items() <= labels for selector in selectors)
    [container] = deployment["template"]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["http"]
    for probe, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}


def test_a_file_has_one_pod_at_a_time() -> None:
    base = manifests("base")["Deployment", "tamiyo"]["spec"]
    assert (base["replicas"], base["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("variant", ["overlays/postgres", "overlays/gpu"])
def test_replicas_scale_and_know_their_database_from_secrets_alone(variant: str) -> None:
    found = manifests(variant)
    deployment = found["Deployment", "tamiyo"]["spec"]
    scaling = found["HorizontalPodAutoscaler", "tamiyo"]["spec"]
    assert scaling["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "tamiyo"}
    assert scaling["metrics"][0]["resource"]["name"] == "cpu"
    assert "replicas" not in deployment
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert ("PersistentVolumeClaim", "tamiyo") not in found
    assert not any(kind == "Secret" for kind, _ in found)
    file = found["ConfigMap", "tamiyo"]["data"]["TAMIYO_DATABASE_PASSWORD_FILE"]
    for pod in pods(variant):
        [container] = pod["containers"]
        [url] = [variable for variable in container["env"] if variable["name"] == "TAMIYO_DATABASE_URL"]
        assert url["valueFrom"]["secretKeyRef"] == {"name": "tamiyo-database", "key": "url"}
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        [secret] = [one["secret"] for one in pod["volumes"] if one["name"] == mounted[str(Path(file).parent)]]
        assert [item["path"] for item in secret["items"]] == [Path(file).name]


def test_the_migration_runs_the_image_of_the_service() -> None:
    for variant in ("overlays/postgres", "overlays/gpu"):
        images = {container["image"] for pod in pods(variant) for container in pod["containers"]}
        assert len(images) == 1
    job = manifests("overlays/postgres")["Job", "tamiyo-migrate"]["spec"]["template"]["spec"]
    assert [container["args"] for container in job["containers"]] == [["migrate"]]


def test_a_gpu_is_asked_for_where_networks_are_to_run_on_one() -> None:
    found = manifests("overlays/gpu")
    [container] = found["Deployment", "tamiyo"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert found["ConfigMap", "tamiyo"]["data"]["TAMIYO_DEVICE"] == "cuda"
    assert found["ConfigMap", "tamiyo"]["data"]["TAMIYO_AUTH"] == "required"
