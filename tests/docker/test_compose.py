"""The compose file as users start it: reachable from this machine alone, confined, and lasting."""

from __future__ import annotations

import asyncio

import pytest
from tamiyo_client import Decision, Run, TamiyoClient

from tests.docker.deployment import Deployment
from tests.docker.engine import EngineError
from tests.faults.trainers import Trainers, require_exact, require_undisturbed

pytestmark = pytest.mark.docker


def client_of(deployment: Deployment) -> TamiyoClient:
    """A client that has no decisions of its own: trouble with the service fails the test."""
    return TamiyoClient(deployment.base_url, deadline=30.0, strict=True)


def report(run: Run, epoch: int) -> Decision:
    """Report an epoch of a training that goes well."""
    return run.epoch(
        epoch=epoch,
        global_step=epoch * 100,
        train_loss=2.0 / (epoch + 1),
        val_loss=2.1 / (epoch + 1),
        train_accuracy=40.0 + epoch,
        val_accuracy=39.0 + epoch,
        seeds=[],
        available_slots=1,
    )


def test_service_is_healthy_and_published_on_loopback_only(deployment: Deployment) -> None:
    state = deployment.state("tamiyo")
    assert state["State"]["Health"]["Status"] == "healthy"
    published = [binding for port in state["NetworkSettings"]["Ports"].values() for binding in port or []]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_service_has_no_rights_it_does_not_need(deployment: Deployment) -> None:
    told = deployment.inside("tamiyo", "cat", "/proc/1/status").splitlines()
    status = dict(line.split(":\t", 1) for line in told)
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    with pytest.raises(EngineError, match="Read-only file system"):
        deployment.inside("tamiyo", "touch", "/tamiyo")


def test_trainer_goes_on_in_a_new_container_and_finds_its_history(deployment: Deployment) -> None:
    with client_of(deployment) as client:
        with client.run("restarted", topology="cnn") as run:
            before = [report(run, epoch) for epoch in range(3)]
            deployment.compose("down")
            deployment.up()
            again = report(run, 2)
            after = [report(run, epoch) for epoch in range(3, 6)]
        assert (again.replayed, again.commands) == (True, before[-1].commands)
        assert {decision.source for decision in (*before, again, *after)} == {"service"}
        assert sorted(item.epoch for item in client.decisions("restarted")) == list(range(6))


@pytest.mark.parametrize("how", [("stop", "--time", "10"), ("kill",)], ids=["stopped", "killed"])
async def test_nothing_that_was_acknowledged_is_lost_however_it_ends(
    deployment: Deployment, how: tuple[str, ...]
) -> None:
    trainers = Trainers(deployment.base_url, run_ids=[f"{how[0]}-{number}" for number in range(16)])
    trainers.start()
    await trainers.progress(200)
    # Who is not gone after ten seconds is killed, which the status tells.
    await asyncio.to_thread(deployment.engine.run, *how, deployment.container("tamiyo"))
    ended = deployment.state("tamiyo")["State"]
    assert (ended["ExitCode"], ended["OOMKilled"]) == (0 if how[0] == "stop" else 137, False)
    await asyncio.to_thread(deployment.up)
    await trainers.progress(100)
    await trainers.finish()
    require_exact(deployment.base_url, trainers.told)
    await require_undisturbed(trainers.told)
