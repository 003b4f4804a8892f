"""The compose file's replicas on PostgreSQL behind nginx, as Compose understands them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.docker.balancer import CONFIGURATION
from tests.docker.deployment import ROOT, compose_command
from tests.docker.engine import run

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of the profile, by name."""
    command = [*compose_command(), "--file", str(ROOT / "docker-compose.yml"), "--profile", "postgres"]
    configuration = json.loads(run([*command, "config", "--format", "json"], {}))
    services: dict[str, dict[str, Any]] = configuration["services"]
    return {name: service for name, service in services.items() if "postgres" in service.get("profiles", ())}


def test_nginx_knows_every_replica(services: dict[str, dict[str, Any]]) -> None:
    listed = (CONFIGURATION / "replicas.compose.conf").read_text(encoding="utf-8")
    known = re.findall(r"^server (\S+):8000 max_fails=0;$", listed, re.MULTILINE)
    assert known == sorted(name for name in services if name.startswith("replica"))
    assert len(known) == 2
    assert set(services["nginx"]["depends_on"]) == set(known)


def test_only_nginx_can_be_reached_and_only_from_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {
        name: [port["host_ip"] for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }
    assert published == {"nginx": ["127.0.0.1"]}


def test_replicas_share_a_database_and_are_as_confined_as_a_single_service(
    services: dict[str, dict[str, Any]],
) -> None:
    one, two = (service for name, service in services.items() if name.startswith("replica"))
    assert one == two
    assert one["environment"]["TAMIYO_DATABASE_URL"].startswith("postgresql://tamiyo:")
    for service in (one, services["nginx"]):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_what_nginx_is_given_is_there(services: dict[str, dict[str, Any]]) -> None:
    mounted = {volume["target"]: volume["source"] for volume in services["nginx"]["volumes"]}
    assert mounted == {
        "/etc/nginx/nginx.conf": str(CONFIGURATION / "nginx.conf"),
        "/etc/nginx/replicas.conf": str(CONFIGURATION / "replicas.compose.conf"),
    }
    assert all(volume["read_only"] for volume in services["nginx"]["volumes"])
