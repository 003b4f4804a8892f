"""The compose file as users start it: reachable from this machine alone, confined, and lasting."""

from __future__ import annotations

import pytest
from tamiyo_client import Decision, Run, TamiyoClient

from tests.docker.deployment import Deployment
from tests.docker.engine import EngineError

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
    state = deployment.state()
    assert state["State"]["Health"]["Status"] == "healthy"
    published = [binding for port in state["NetworkSettings"]["Ports"].values() for binding in port or []]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_service_has_no_rights_it_does_not_need(deployment: Deployment) -> None:
    status = dict(line.split(":\t", 1) for line in deployment.inside("cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    with pytest.raises(EngineError, match="Read-only file system"):
        deployment.inside("touch", "/tamiyo")


def test_trainer_goes_on_over_a_restart_and_finds_its_history(deployment: Deployment) -> None:
    with client_of(deployment) as client:
        with client.run("restarted", topology="cnn") as run:
            before = [report(run, epoch) for epoch in range(3)]
            deployment.compose("restart", "tamiyo")
            again = report(run, 2)
            after = [report(run, epoch) for epoch in range(3, 6)]
        assert (again.replayed, again.commands) == (True, before[-1].commands)
        assert {decision.source for decision in (*before, again, *after)} == {"service"}
        assert sorted(item.epoch for item in client.decisions("restarted")) == list(range(6))


def test_data_outlives_the_container(deployment: Deployment) -> None:
    with client_of(deployment) as client, client.run("outliving", topology="cnn") as run:
        decision = report(run, 0)
    deployment.compose("down")
    deployment.up()
    with client_of(deployment) as client:
        [stored] = client.decisions("outliving")
    assert decision.reply is not None
    assert stored.decision_id == decision.reply.decision_id


def test_stopped_service_ends_by_itself(deployment: Deployment) -> None:
    deployment.compose("stop")
    state = deployment.state()["State"]
    deployment.up()
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
