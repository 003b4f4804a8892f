"""A service that answers, but not as hoped: refusals and nonsense."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest
from tamiyo_client import (
    ClientFaultError,
    EpochConflictError,
    InvalidRequestError,
    LeylineMismatchError,
    ProtocolError,
    RefusedError,
    RunNotFoundError,
    SilenceError,
    StaleEpochError,
    TamiyoError,
    UsageError,
)
from tamiyo_leyline import AdaptationCommand, EpochReport, ProblemCode

from tests.client.commands import germinate
from tests.client.conftest import Connect
from tests.client.stand_in import RETURN_S, Misbehaviour, StandIn, alter, refuse, reply_with, speak


@pytest.mark.parametrize(
    ("misbehaviour", "error"),
    [
        (refuse(ProblemCode.EPOCH_CONFLICT), EpochConflictError),
        (refuse(ProblemCode.INVALID_REPORT), InvalidRequestError),
        (refuse(ProblemCode.RUN_NOT_FOUND), RunNotFoundError),
        (reply_with(200, b"<html>", "text/html"), ProtocolError),
        (reply_with(200, b'{"run_id": "r"}'), ProtocolError),
        (reply_with(200, b"\xff\x00" * 100), ProtocolError),
        (reply_with(302, b"", "text/plain", location="http://elsewhere/"), ProtocolError),
        (reply_with(404, b"no", "text/plain"), ProtocolError),
        (speak("2.3"), LeylineMismatchError),
        (alter(epoch=7), ProtocolError),
        (alter(attempt=3), ProtocolError),
        (alter(run_id="another"), ProtocolError),
    ],
)
def test_what_is_no_decision_about_this_epoch_becomes_wait_with_the_error(
    connect: Connect, service: StandIn, misbehaviour: Misbehaviour, error: type[TamiyoError]
) -> None:
    with connect().run("r") as run:
        service.misbehave.append(misbehaviour)
        decision = run.epoch(epoch=4, available_slots=1)
        assert type(decision.error) is error
        assert decision.source == "client"
        assert (decision.epoch, decision.commands[0].expires_after_epoch) == (4, 5)
        assert len(service.bodies("/epoch")) == 1
        assert run.epoch(epoch=5, available_slots=1).source == "service"


@pytest.mark.parametrize("misbehaviour", [refuse(ProblemCode.STALE_EPOCH), alter(epoch=7)])
def test_a_strict_client_raises_it(connect: Connect, service: StandIn, misbehaviour: Misbehaviour) -> None:
    with connect(strict=True).run("r") as run:
        service.misbehave.append(misbehaviour)
        with pytest.raises((StaleEpochError, ProtocolError)):
            run.epoch(epoch=4, available_slots=1)


def test_a_refusal_is_logged_as_an_error_with_its_detail(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect().run("r") as run:
        service.misbehave.append(refuse(ProblemCode.EPOCH_CONFLICT, detail="val_loss differs"))
        decision = run.epoch(epoch=4, available_slots=1)
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "val_loss differs" in record.getMessage()
    assert isinstance(decision.error, EpochConflictError)
    assert decision.error.problem is not None
    assert decision.error.problem.code is ProblemCode.EPOCH_CONFLICT


def test_a_refused_report_is_not_sent_again(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        service.misbehave.append(refuse(ProblemCode.INVALID_REPORT))
        run.epoch(epoch=0, available_slots=1)
        run.epoch(epoch=1, available_slots=1)
    assert [body["epoch"] for body in service.bodies("/epoch")] == [0, 1]


def test_outcomes_of_a_refused_report_travel_with_the_next(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.outcome("c1", "EXECUTED")
        service.misbehave.append(refuse(ProblemCode.INVALID_REPORT))
        run.epoch(epoch=0, available_slots=1)
        run.epoch(epoch=1, available_slots=1)
    assert [len(body["outcomes"]) for body in service.bodies("/epoch")] == [1, 1]


def test_a_missed_report_that_is_refused_does_not_hold_up_the_others(
    connect: Connect, service: StandIn
) -> None:
    with connect().run("r") as run:
        service.misbehave.append(reply_with(200, b"what?"))
        run.epoch(epoch=0, available_slots=1)
        service.misbehave.append(refuse(ProblemCode.STALE_EPOCH))
        assert run.epoch(epoch=1, available_slots=1).source == "service"
    assert [body["epoch"] for body in service.bodies("/epoch")] == [0, 0, 1]


def test_a_problem_code_of_a_later_version_is_read_by_its_status(connect: Connect, service: StandIn) -> None:
    body = json.dumps({"title": "?", "status": 409, "detail": "too new", "code": "of_tomorrow"}).encode()
    with connect().run("r") as run:
        service.misbehave.append(reply_with(409, body, "application/problem+json"))
        decision = run.epoch(epoch=0, available_slots=1)
    assert isinstance(decision.error, RefusedError)
    assert "of_tomorrow: too new" in decision.reason


def test_an_expired_command_is_not_handed_to_the_trainer(connect: Connect, service: StandIn) -> None:
    service.commands = lambda report: [germinate("old", expires=3), germinate("new", expires=5)]
    with connect().run("r") as run:
        decision = run.epoch(epoch=4, available_slots=1)
    assert [command.command_id for command in decision.commands] == ["new"]


def test_an_answer_of_expired_commands_only_becomes_wait(connect: Connect, service: StandIn) -> None:
    service.commands = lambda report: [germinate("old", expires=3)]
    with connect().run("r") as run:
        decision = run.epoch(epoch=4, available_slots=1)
    assert decision.source == "client"
    assert "expired" in decision.reason


def test_warnings_of_the_service_are_logged_once(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect().run("r") as run:
        service.misbehave.extend([alter(warnings=["accuracies look like fractions"])] * 3)
        for epoch in range(3):
            run.epoch(epoch=epoch, available_slots=1)
    assert sum("look like fractions" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("measurements", "field"),
    [
        ({"epoch": 3, "available_slots": 1, "val_accuracy": 250.0}, "val_accuracy"),
        ({"epoch": 3, "available_slots": -1}, "available_slots"),
        ({"epoch": 3, "available_slots": 1, "seeds": [{"seed_id": "a"}]}, "seeds.0.slot_id"),
        ({"epoch": 3, "available_slots": 1, "seeds": 5}, "seeds"),
        ({"epoch": 3, "available_slots": 1, "val_loss": "low"}, "val_loss"),
    ],
)
def test_a_report_that_is_none_becomes_wait_and_names_the_field(
    connect: Connect, service: StandIn, measurements: dict[str, Any], field: str
) -> None:
    with connect().run("r") as run:
        decision = run.epoch(**measurements)
    assert isinstance(decision.error, UsageError)
    assert field in decision.reason
    assert decision.epoch == 3
    assert service.bodies("/epoch") == []


def test_a_misspelt_keyword_is_an_error_of_the_program(connect: Connect) -> None:
    with connect().run("r") as run:
        with pytest.raises(TypeError, match="val_los"):
            run.epoch(epoch=0, available_slots=1, val_los=0.3)  # type: ignore[call-arg] # under test
        with pytest.raises(TypeError, match="available_slots"):
            run.epoch(epoch=0)  # type: ignore[call-arg] # under test


def test_something_else_than_a_report_becomes_wait(connect: Connect) -> None:
    with connect().run("r") as run:
        decision = run.report({"epoch": 1})  # type: ignore[arg-type] # the mistake under test
    assert isinstance(decision.error, UsageError)


class CautiousFallback:
    """Culls nothing, germinates once; remembers what it was asked."""

    def __init__(self, *commands: Any) -> None:
        self.commands = commands
        self.asked: list[int] = []

    def decide(self, report: EpochReport) -> tuple[AdaptationCommand, ...]:
        self.asked.append(report.epoch)
        return self.commands


class BrokenFallback:
    def decide(self, report: EpochReport) -> tuple[AdaptationCommand, ...]:
        raise ZeroDivisionError


def test_a_fallback_decides_while_the_service_is_silent(connect: Connect, service: StandIn) -> None:
    fallback = CautiousFallback(germinate("own", expires=5), germinate("too-old", expires=3))
    with connect(deadline=RETURN_S, fallback=fallback).run("r") as run:
        service.stop()
        decision = run.epoch(epoch=4, available_slots=1)
        run.outcome("own", "EXECUTED")
        service.start()
        run.epoch(epoch=5, available_slots=1)
    assert [command.command_id for command in decision.commands] == ["own"]
    assert decision.source == "client"
    assert isinstance(decision.error, SilenceError)
    assert fallback.asked == [4]
    told = service.runs["r"].client_decisions[(0, 4)]
    assert told["commands"][0]["command_id"] == "own"
    assert service.bodies("/epoch")[-1]["outcomes"] == []


@pytest.mark.parametrize("fallback", [BrokenFallback(), CautiousFallback("nonsense"), CautiousFallback()])
def test_a_fallback_that_fails_or_says_nothing_means_wait(
    connect: Connect, service: StandIn, fallback: Any
) -> None:
    with connect(deadline=RETURN_S, fallback=fallback).run("r") as run:
        service.stop()
        decision = run.epoch(epoch=4, available_slots=1)
    assert [command.command_type for command in decision.commands] == ["REQUEST_STATE"]


def test_an_outcome_that_is_none_is_logged_and_dropped(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect().run("r") as run:
        run.outcome("c1", "DONE")
        run.epoch(epoch=0, available_slots=1)
    assert service.bodies("/epoch")[0]["outcomes"] == []
    assert any("status" in record.getMessage() for record in caplog.records)


def test_a_strict_client_raises_on_an_outcome_that_is_none(connect: Connect) -> None:
    with connect(strict=True).run("r") as run, pytest.raises(UsageError, match="status"):
        run.outcome("c1", "DONE")


class Explosive:
    """A scalar that fails in a way of its own."""

    def item(self) -> float:
        raise ZeroDivisionError


def test_a_measurement_that_explodes_becomes_wait(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with connect().run("r") as run:
        decision = run.epoch(epoch=2, available_slots=1, val_loss=Explosive())
    assert isinstance(decision.error, ClientFaultError)
    assert any(record.exc_info for record in caplog.records)


class Unspeakable:
    """An epoch that fails in a way of its own, and says so in what is no text."""

    def __int__(self) -> int:
        raise KeyError

    def item(self) -> float:
        raise LookupError("\ud800")


def test_an_epoch_that_explodes_becomes_wait(connect: Connect) -> None:
    with connect().run("r") as run:
        decision = run.epoch(epoch=cast("Any", Unspeakable()), available_slots=1)
    assert isinstance(decision.error, ClientFaultError)
    assert [command.command_type for command in decision.commands] == ["REQUEST_STATE"]
