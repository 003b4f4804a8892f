"""Looking at runs and decisions, outside the training loop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tamiyo_client import (
    ClientClosedError,
    ProtocolError,
    RunNotFoundError,
    ServiceUnreachableError,
    SilenceError,
)
from tamiyo_client.wire import SMALL_ANSWER_BYTES
from tamiyo_leyline import RunStatus

from tests.client.conftest import Connect
from tests.client.stand_in import EPOCH_ZERO, Misbehaviour, StandIn, StoredRun, lose_answer, reply_with


def page(items: list[Any], next_cursor: str | None) -> Misbehaviour:
    return reply_with(200, json.dumps({"items": items, "next_cursor": next_cursor}).encode())


def decision(epoch: int) -> dict[str, Any]:
    return {
        "run_id": "r",
        "attempt": 0,
        "epoch": epoch,
        "decision_id": f"d{epoch}",
        "commands": [],
        "policy": {"name": "p", "version": "1"},
        "decided_at": EPOCH_ZERO,
        "action": "WAIT",
    }


def test_a_run_is_shown_with_settings_of_a_later_version_ignored(connect: Connect, service: StandIn) -> None:
    service.runs["r"] = StoredRun(config={"max_epochs": 9}, last_epoch=3)
    view = connect().get_run("r")
    assert (view.status, view.last_epoch, view.config.max_epochs) == (RunStatus.ACTIVE, 3, 9)


def test_what_is_not_there_raises_also_when_not_strict(connect: Connect, service: StandIn) -> None:
    with pytest.raises(RunNotFoundError):
        connect().get_run("nope")
    service.stop()
    with pytest.raises(SilenceError):
        connect(deadline=0.1).health()


def test_health_is_told(connect: Connect) -> None:
    assert connect().health().version == "9.9.9"


def test_decisions_are_iterated_through_all_pages(connect: Connect, service: StandIn) -> None:
    service.misbehave.extend([page([decision(0), decision(1)], "next one"), page([decision(2)], None)])
    found = connect().decisions("r", action=["GERMINATE", "CULL"], since_epoch=0, limit=2)
    assert [item.epoch for item in found] == [0, 1, 2]
    assert service.paths("GET") == [
        "/runs/r/decisions?action=GERMINATE&action=CULL&since_epoch=0&limit=2",
        "/runs/r/decisions?action=GERMINATE&action=CULL&since_epoch=0&limit=2&cursor=next+one",
    ]


def test_runs_and_decisions_of_all_runs_are_listed(connect: Connect, service: StandIn) -> None:
    client = connect()
    assert list(client.list_runs(label="team:vision", status=RunStatus.HELD, silent_for=60.0)) == []
    assert list(client.decisions()) == []
    assert service.paths("GET") == ["/runs?label=team%3Avision&status=HELD&silent_for=60.0", "/decisions"]


def test_a_list_that_runs_in_circles_is_left(connect: Connect, service: StandIn) -> None:
    service.misbehave.extend([page([], "a"), page([], "a"), page([], "a")])
    with pytest.raises(ProtocolError, match="does not advance"):
        list(connect().decisions("r"))


def test_a_run_is_deleted_once(connect: Connect, service: StandIn) -> None:
    client = connect()
    service.runs["r"] = StoredRun(config={})
    client.delete_run("r")
    assert service.runs == {}
    service.runs["r"] = StoredRun(config={})
    service.misbehave.append(lose_answer)
    with pytest.raises(ServiceUnreachableError):
        client.delete_run("r")
    assert len(service.paths("DELETE")) == 2


def test_a_removal_that_something_in_between_answers_has_not_happened(
    connect: Connect, service: StandIn
) -> None:
    service.misbehave.append(reply_with(200, b"<html>sign in</html>", "text/html"))
    with pytest.raises(ProtocolError, match="status 200"):
        connect().delete_run("r")


def test_an_answer_larger_than_any_is_not_read(connect: Connect, service: StandIn) -> None:
    service.misbehave.append(reply_with(200, b" " * (SMALL_ANSWER_BYTES + 1)))
    with pytest.raises(ProtocolError, match="larger than 1048576 bytes"):
        connect().health()


def test_a_page_of_a_list_may_be_large(connect: Connect, service: StandIn) -> None:
    many = [decision(epoch) for epoch in range(8_000)]
    body = json.dumps({"items": many, "next_cursor": None}).encode()
    assert len(body) > SMALL_ANSWER_BYTES
    service.misbehave.append(reply_with(200, body))
    assert len(list(connect(deadline=20.0).decisions("r"))) == len(many)


def test_what_is_no_json_is_not_parsed(connect: Connect, service: StandIn) -> None:
    service.misbehave.append(reply_with(200, b'{"status": "ok"}', "text/html; charset=utf-8"))
    with pytest.raises(ProtocolError, match="text/html"):
        connect().health()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply_with(301, b"", location="https://tamiyo.example/v2"), "points to https://tamiyo.example/v2"),
        (reply_with(407, b"", "text/html"), "put them into HTTP_PROXY"),
        (reply_with(200, b"\x1f\x8b", content_encoding="gzip"), "gzip-encoded by something in between"),
        (reply_with(403, b"", "text/html"), "is there a Tamiyo at this address"),
    ],
)
def test_answers_of_something_in_between_say_what_to_do(
    connect: Connect, service: StandIn, answer: Misbehaviour, told: str
) -> None:
    service.misbehave.append(answer)
    with pytest.raises(ProtocolError, match=told):
        connect().health()


def test_a_closed_client_says_so(connect: Connect) -> None:
    client = connect()
    client.close()
    with pytest.raises(ClientClosedError):
        client.health()
