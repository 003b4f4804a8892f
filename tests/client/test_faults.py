"""A service that fails at one request while it serves the others."""

from __future__ import annotations

import logging

import pytest
from tamiyo_client import ServiceFaultError

from tests.client.conftest import Connect
from tests.client.stand_in import StandIn


def test_a_report_the_service_fails_at_is_given_up_and_the_training_goes_on_being_decided(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service.fails_at = lambda report: bool(report["epoch"] == 1)
    with connect().run("r") as run:
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(6)]
    assert [decision.source for decision in decisions] == ["service", *["client"] * 2, *["service"] * 3]
    assert [body["epoch"] for body in service.bodies("/epoch")] == [0, 1, 1, 1, 2, 3, 4, 5]
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "epoch 1 is given up" in record.getMessage()
    assert service.runs["r"].result == "succeeded"


def test_several_such_reports_are_given_up_one_after_the_other(connect: Connect, service: StandIn) -> None:
    service.fails_at = lambda report: report["epoch"] in {1, 2, 4}
    with connect().run("r") as run:
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(12)]
    assert [decision.source for decision in decisions[-4:]] == ["service"] * 4
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 3, *range(5, 12)]


def test_a_fault_that_passes_loses_no_report(connect: Connect, service: StandIn) -> None:
    faults = [True, True]
    service.fails_at = lambda report: bool(report["epoch"] == 1 and faults and faults.pop())
    with connect().run("r") as run:
        for epoch in range(4):
            run.epoch(epoch=epoch, available_slots=1)
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 1, 2, 3]


def test_a_last_report_the_service_fails_at_does_not_leave_the_run_open(
    connect: Connect, service: StandIn
) -> None:
    service.fails_at = lambda report: bool(report["epoch"] == 1)
    with connect().run("r") as run:
        for epoch in range(2):
            run.epoch(epoch=epoch, available_slots=1)
    assert service.runs["r"].result == "succeeded"


def test_outcomes_of_a_report_given_up_are_told_with_the_next(connect: Connect, service: StandIn) -> None:
    service.fails_at = lambda report: bool(report["epoch"] == 1)
    with connect().run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        run.outcome("c1", "EXECUTED")
        for epoch in range(1, 5):
            run.epoch(epoch=epoch, available_slots=1)
    told = [body["epoch"] for body, _ in service.runs["r"].reports.values() if body["outcomes"]]
    assert told == [3]


def test_an_outcome_the_service_fails_at_goes_with_the_second_report_it_spoils(
    connect: Connect, service: StandIn
) -> None:
    service.fails_at = lambda report: bool(report["outcomes"])
    with connect().run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        run.outcome("poison", "EXECUTED")
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(1, 10)]
    assert [decision.source for decision in decisions[-4:]] == ["service"] * 4
    assert [epoch for _, epoch in service.runs["r"].reports][-4:] == [6, 7, 8, 9]


def test_a_service_that_fails_is_not_taken_for_a_silent_one(connect: Connect, service: StandIn) -> None:
    service.fails_at = lambda report: True
    service.fault_takes_s = 0.05
    with connect().run("r") as run:
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(8)]
    assert {type(decision.error) for decision in decisions} == {ServiceFaultError}
