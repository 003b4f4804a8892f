"""Outcomes of commands that the service never issued."""

from __future__ import annotations

import pytest
from tamiyo_client import InvalidRequestError
from tamiyo_leyline import ProblemCode

from tests.client.conftest import Connect
from tests.client.stand_in import RETURN_S, StandIn, lose_answer, refuse, reply_with, stay_silent


def told(service: StandIn) -> list[list[str]]:
    """The commands whose outcomes each report carried, as sent."""
    return [[outcome["command_id"] for outcome in body["outcomes"]] for body in service.bodies("/epoch")]


def test_unknown_outcomes_are_dropped_and_the_epoch_is_decided_with_the_others(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service.never_issued = {"x1", "x2"}
    with connect().run("r") as run:
        for command_id in ("c1", "x1", "c2", "x2", "c3"):
            run.outcome(command_id, "EXECUTED")
        decision = run.epoch(epoch=0, available_slots=1)
        run.epoch(epoch=1, available_slots=1)
    assert decision.source == "service"
    assert told(service) == [["c1", "x1", "c2", "x2", "c3"], ["c1", "c2", "x2", "c3"], ["c1", "c2", "c3"], []]
    warnings = " ".join(record.getMessage() for record in caplog.records)
    assert "x1" in warnings
    assert "x2" in warnings


def test_a_missed_report_with_an_unknown_outcome_gets_through_without_it(
    connect: Connect, service: StandIn
) -> None:
    service.never_issued = {"x1"}
    with connect().run("r") as run:
        run.outcome("c1", "EXECUTED")
        run.outcome("x1", "EXECUTED")
        service.misbehave.append(reply_with(200, b"what?"))
        assert run.epoch(epoch=0, available_slots=1).source == "client"
        assert run.epoch(epoch=1, available_slots=1).source == "service"
    assert told(service) == [["c1", "x1"], ["c1", "x1"], ["c1"], []]
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 1]


def test_a_report_sent_without_them_is_kept_without_them(connect: Connect, service: StandIn) -> None:
    service.never_issued = {"x1"}
    with connect(deadline=RETURN_S).run("r") as run:
        run.outcome("c1", "EXECUTED")
        run.outcome("x1", "EXECUTED")
        service.misbehave.extend([None, lose_answer, stay_silent])
        assert run.epoch(epoch=0, available_slots=1).source == "client"
        assert run.epoch(epoch=1, available_slots=1).source == "service"
    assert told(service) == [["c1", "x1"], *[["c1"]] * 3, []]
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 1]


@pytest.mark.parametrize("errors", [[], [{"field": "outcomes.7.command_id", "message": "?"}]])
def test_where_none_is_named_all_are_dropped(
    connect: Connect, service: StandIn, errors: list[dict[str, str]]
) -> None:
    with connect().run("r") as run:
        run.outcome("c1", "EXECUTED")
        run.outcome("c2", "EXECUTED")
        service.misbehave.append(refuse(ProblemCode.UNKNOWN_COMMAND, errors=errors))
        assert run.epoch(epoch=0, available_slots=1).source == "service"
    assert told(service) == [["c1", "c2"], []]


def test_a_report_without_outcomes_is_not_repeated_for_them(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        service.misbehave.append(refuse(ProblemCode.UNKNOWN_COMMAND))
        assert isinstance(run.epoch(epoch=0, available_slots=1).error, InvalidRequestError)
    assert told(service) == [[]]


def test_a_strict_client_raises_once_and_keeps_the_known_ones(connect: Connect, service: StandIn) -> None:
    service.never_issued = {"x1"}
    with connect(strict=True).run("r") as run:
        run.outcome("c1", "EXECUTED")
        run.outcome("x1", "EXECUTED")
        with pytest.raises(InvalidRequestError, match="x1"):
            run.epoch(epoch=0, available_slots=1)
        assert run.epoch(epoch=0, available_slots=1).source == "service"
    assert told(service) == [["c1", "x1"], ["c1"]]
