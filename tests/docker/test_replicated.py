"""The compose file's replicas on PostgreSQL: who may call, what they survive, who watches them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.docker.balancer import CONFIGURATION
from tests.docker.deployment import ROOT, Deployment, compose_file, free_port, torn_down
from tests.docker.engine import Engine, run
from tests.faults.trainers import PATIENCE, Trainers, bearer, require_exact, require_undisturbed

pytestmark = pytest.mark.docker

PAUSE: Final = 0.1
"""Seconds of an epoch: nobody checks more decisions than have to be."""
REPLICAS: Final = ("replica-1", "replica-2")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of the profile, by name."""
    configuration = json.loads(run([*compose_file("postgres"), "config", "--format", "json"], {}))
    return dict(configuration["services"])


@pytest.fixture(scope="module")
def replicated(
    engine: Engine, image: str, trainer_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The profile, brought up: a database, its migration, two replicas, nginx; not yet the trainer."""
    secrets = tmp_path_factory.mktemp("containers") / "secrets"
    program = str(ROOT / "docker" / "make_secrets.py")
    run([sys.executable, program, str(secrets), "postgres-password", "grafana-password"], {})
    variables = {
        "TAMIYO_IMAGE": image,
        "TAMIYO_TRAINER_IMAGE": trainer_image,
        "TAMIYO_SECRETS": str(secrets),
        "PROMETHEUS_PORT": str(free_port()),
    }
    profiles = ("postgres", "observability", "demo")
    deployment = Deployment(engine, f"tamiyo-replicated-{free_port()}", free_port(), profiles, variables)
    with torn_down(deployment):
        deployment.up("nginx", "prometheus")
        yield deployment


@pytest.fixture(scope="module")
def unnamed(replicated: Deployment) -> Deployment:
    """The same, spoken of as the README does once it runs: without a profile."""
    return dataclasses.replace(replicated, profiles=())


@pytest.fixture(scope="module")
def key(unnamed: Deployment) -> str:
    """A trainer's key."""
    command = ("tamiyo", "keys", "create", "--name", "me", "--scope", "trainer")
    return unnamed.inside("replica-1", *command).strip()


def test_nginx_knows_every_replica(services: dict[str, dict[str, Any]]) -> None:
    listed = (CONFIGURATION / "replicas.compose.conf").read_text(encoding="utf-8")
    known = re.findall(r"^server (\S+):8000 max_fails=0;$", listed, re.MULTILINE)
    assert known == sorted(name for name in services if name.startswith("replica")) == list(REPLICAS)
    assert set(services["nginx"]["depends_on"]) == set(known)


def test_only_nginx_can_be_reached_and_only_from_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {
        name: [port["host_ip"] for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }
    assert published == {"nginx": ["127.0.0.1"]}


def test_replicas_are_alike_and_confined_and_wait_for_the_migration(
    services: dict[str, dict[str, Any]],
) -> None:
    one, two = (services[name] for name in REPLICAS)
    assert one == two
    assert one["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for service in (one, services["nginx"], services["migrate"]):
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_what_nginx_is_given_is_there(services: dict[str, dict[str, Any]]) -> None:
    mounted = {volume["target"]: volume["source"] for volume in services["nginx"]["volumes"]}
    assert mounted == {
        "/etc/nginx/nginx.conf": str(CONFIGURATION / "nginx.conf"),
        "/etc/nginx/replicas.conf": str(CONFIGURATION / "replicas.compose.conf"),
    }
    assert all(volume["read_only"] for volume in services["nginx"]["volumes"])


def test_nobody_is_answered_without_a_key(replicated: Deployment, key: str) -> None:
    with httpx.Client(base_url=replicated.base_url, timeout=30) as http:
        assert http.get("/runs").status_code == 401
        assert http.get("/runs", headers=bearer("tamiyo_no-key")).status_code == 401
        assert http.get("/runs", headers=bearer(key)).status_code == 200


def test_a_trainer_in_a_container_obeys_the_replicas(
    replicated: Deployment, unnamed: Deployment, key: str
) -> None:
    told = unnamed.compose("run", "--rm", "--no-TTY", "trainer", TAMIYO_API_KEY=key)
    assert "no answer" not in told
    with httpx.Client(base_url=replicated.base_url, timeout=30, headers=bearer(key)) as http:
        [trained] = [one for one in http.get("/runs").json()["items"] if one["run_id"].startswith("demo-")]
        decisions = http.get(f"/runs/{trained['run_id']}/decisions?limit=100").json()["items"]
    assert trained["status"] == "COMPLETED"
    assert trained["counts"]["FOSSILIZE"] >= 1
    became = [outcome["status"] for decision in decisions for outcome in decision["outcomes"]]
    assert len(became) >= 2
    assert set(became) == {"EXECUTED"}


def test_prometheus_finds_both_replicas_ready(replicated: Deployment) -> None:
    query = f"http://127.0.0.1:{replicated.variables['PROMETHEUS_PORT']}/api/v1/query"

    def ready() -> int:
        told = httpx.get(query, params={"query": 'count(tamiyo_ready{job="tamiyo"} == 1)'}, timeout=30).json()
        return sum(int(one["value"][1]) for one in told["data"]["result"])

    asyncio.run(until(lambda: ready() == 2))


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.25)


@pytest.mark.parametrize("victim", ["replica-1", "postgres"])
async def test_trainers_go_on_when_a_container_is_killed(
    replicated: Deployment, key: str, victim: str
) -> None:
    run_ids = [f"{victim}-{number}" for number in range(8)]
    trainers = Trainers(replicated.base_url, run_ids=run_ids, key=key, pause=PAUSE)
    trainers.start()
    await trainers.progress(100)
    await asyncio.to_thread(replicated.engine.run, "kill", replicated.container(victim))
    if victim in REPLICAS:
        await trainers.progress(100)
    await asyncio.to_thread(replicated.up, "--no-deps", victim)
    await trainers.progress(100)
    await trainers.finish()
    require_exact(replicated.base_url, trainers.told, key)
    await require_undisturbed(trainers.told)


async def test_a_rolling_upgrade_of_the_containers_fails_no_call(replicated: Deployment, key: str) -> None:
    trainers = Trainers(
        replicated.base_url, run_ids=[f"rolling-{n}" for n in range(8)], key=key, patient=False
    )
    trainers.start()
    for replica in REPLICAS:
        await trainers.progress(60)
        restart = ("restart", "--no-deps", "--timeout", "10", replica)
        await asyncio.to_thread(replicated.compose, *restart)
        await asyncio.to_thread(replicated.up, "--no-deps", replica)
    await trainers.progress(60)
    await trainers.finish()
    require_exact(replicated.base_url, trainers.told, key)


def test_no_secret_is_told_in_logs_or_by_the_engine(replicated: Deployment, key: str) -> None:
    password = Path(replicated.variables["TAMIYO_SECRETS"], "postgres-password").read_text(encoding="utf-8")
    logs = replicated.compose("logs", "--no-color")
    seen = logs + "".join(json.dumps(replicated.state(name)) for name in (*REPLICAS, "nginx", "postgres"))
    assert "started" in logs
    assert password not in seen
    assert key not in seen
