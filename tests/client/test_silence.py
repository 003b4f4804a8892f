"""A service that does not answer, in every way it can."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
from tamiyo_client import (
    AsyncTamiyoClient,
    DeadlineExceededError,
    Decision,
    NotAskedError,
    RateLimitedError,
    ServiceBusyError,
    ServiceFaultError,
    ServiceUnreachableError,
    SilenceError,
)
from tamiyo_client.outbox import MAX_MISSED
from tamiyo_leyline import AdaptationCommand, CommandType, EpochReport, ProblemCode

from tests.client.commands import germinate
from tests.client.conftest import Connect
from tests.client.stand_in import (
    RETURN_S,
    Misbehaviour,
    Seen,
    StandIn,
    cut_short,
    drip_body,
    drip_headers,
    hang_up,
    lose_answer,
    refuse,
    reply_with,
    stay_silent,
    think,
)

DEADLINE_S = 0.5
MARGIN_S = 1.7


@pytest.mark.parametrize("misbehaviour", [stay_silent, drip_body, drip_headers])
def test_the_deadline_holds_whatever_the_service_does(
    connect: Connect, service: StandIn, misbehaviour: Misbehaviour
) -> None:
    with connect(deadline=DEADLINE_S).run("r") as run:
        service.misbehave.append(misbehaviour)
        began = time.monotonic()
        decision = run.epoch(epoch=4, available_slots=1)
        took_s = time.monotonic() - began
    assert DEADLINE_S * 0.9 <= took_s < DEADLINE_S + MARGIN_S
    assert decision.source == "client"
    assert isinstance(decision.error, DeadlineExceededError)


@pytest.mark.parametrize("misbehaviour", [drip_body, drip_headers])
def test_a_call_that_is_given_up_is_cut_off(
    connect: Connect, service: StandIn, misbehaviour: Misbehaviour
) -> None:
    with connect(deadline=DEADLINE_S).run("r") as run:
        service.misbehave.append(misbehaviour)
        run.epoch(epoch=0, available_slots=1)
        run.epoch(epoch=1, available_slots=1)
        assert service.dripped_off.wait(5.0)


@pytest.mark.parametrize(
    ("misbehaviour", "error"),
    [
        (hang_up, ServiceUnreachableError),
        (cut_short, ServiceUnreachableError),
        (reply_with(502, b"bad gateway", "text/html"), ServiceUnreachableError),
        (reply_with(200, b"", "text/plain", transfer_encoding="nonsense"), None),
    ],
)
def test_a_broken_answer_is_asked_for_again_within_the_deadline(
    connect: Connect, service: StandIn, misbehaviour: Misbehaviour, error: type[Exception] | None
) -> None:
    with connect().run("r") as run:
        service.misbehave.append(misbehaviour)
        decision = run.epoch(epoch=0, available_slots=1)
    assert decision.source == "service" or error is None


def test_the_answer_to_silence_is_the_clients_own_wait(connect: Connect, service: StandIn) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.stop()
        decision = run.epoch(epoch=4, available_slots=1)
    (command,) = decision.commands
    assert command.command_type is CommandType.REQUEST_STATE
    assert command.command_id.startswith("client-")
    assert command.annotations == {"source": "client"}
    assert command.expires_after_epoch == 5
    assert command.reason == decision.reason
    assert decision.reason == f"{type(decision.error).__name__}: {decision.error}"
    assert decision.reply is None


def test_a_strict_client_raises_in_the_loop(connect: Connect, service: StandIn) -> None:
    with connect(deadline=RETURN_S, strict=True).run("r") as run:
        service.stop()
        with pytest.raises(SilenceError):
            run.epoch(epoch=0, available_slots=1)
        service.start()
        assert run.epoch(epoch=0, available_slots=1).source == "service"
    assert len(service.bodies("/epoch")) == 1


def test_a_service_that_restarts_within_the_deadline_is_met_again(connect: Connect, service: StandIn) -> None:
    with connect(deadline=5.0).run("r") as run:
        service.misbehave.extend([hang_up] * 4)
        decision = run.epoch(epoch=0, available_slots=1)
    assert decision.source == "service"


def test_a_pause_the_service_asks_for_is_kept(connect: Connect, service: StandIn) -> None:
    with connect(deadline=5.0).run("r") as run:
        service.misbehave.append(refuse(ProblemCode.OVERLOADED, retry_after="1"))
        began = time.monotonic()
        decision = run.epoch(epoch=0, available_slots=1)
        took_s = time.monotonic() - began
    assert decision.source == "service"
    assert took_s >= 1.0
    assert len(service.bodies("/epoch")) == 2


def test_a_pause_longer_than_the_deadline_is_not_waited_for(connect: Connect, service: StandIn) -> None:
    with connect(deadline=2.0).run("r") as run:
        service.misbehave.append(refuse(ProblemCode.SHUTTING_DOWN, retry_after="30"))
        began = time.monotonic()
        first = run.epoch(epoch=0, available_slots=1)
        second = run.epoch(epoch=1, available_slots=1)
        took_s = time.monotonic() - began
    assert took_s < 1.5
    assert isinstance(first.error, ServiceBusyError)
    assert first.error.retry_after_s == 30.0
    assert isinstance(second.error, NotAskedError)
    assert len(service.bodies("/complete")) == 1


def test_a_fault_of_the_service_is_not_asked_for_again(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        service.misbehave.append(refuse(ProblemCode.INTERNAL_ERROR))
        decision = run.epoch(epoch=0, available_slots=1)
        assert isinstance(decision.error, ServiceFaultError)
        assert len(service.bodies("/epoch")) == 1


def test_after_four_silent_calls_epochs_cost_no_time(connect: Connect, service: StandIn) -> None:
    with connect(deadline=DEADLINE_S).run("r") as run:
        service.misbehave.extend([stay_silent] * 10)
        for epoch in range(4):
            run.epoch(epoch=epoch, available_slots=1)
        asked = len(service.seen)
        began = time.monotonic()
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(4, 54)]
        took_s = time.monotonic() - began
        service.misbehave.clear()
    assert took_s < DEADLINE_S + MARGIN_S
    assert {type(decision.error) for decision in decisions} <= {NotAskedError, DeadlineExceededError}
    assert any(isinstance(decision.error, NotAskedError) for decision in decisions)
    assert asked == 5


def test_missed_reports_are_sent_late_and_in_order_before_the_next_one(
    connect: Connect, service: StandIn
) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        run.epoch(epoch=0, available_slots=1, val_loss=1.0)
        service.stop()
        run.epoch(epoch=1, available_slots=1, val_loss=2.0)
        run.epoch(epoch=2, available_slots=1, val_loss=3.0)
        service.start()
        decision = run.epoch(epoch=3, available_slots=1, val_loss=4.0)
    assert decision.source == "service"
    epochs = [seen for seen in service.seen if seen.path.startswith("/runs/r/epoch")]
    assert [seen.body["val_loss"] for seen in epochs] == [1.0, 2.0, 3.0, 4.0]
    assert [seen.query.get("backfill") for seen in epochs] == [None, ["true"], ["true"], None]


def test_the_clients_own_decisions_are_told_when_the_service_is_back(
    connect: Connect, service: StandIn
) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.stop()
        own = run.epoch(epoch=1, available_slots=1)
        service.start()
        run.epoch(epoch=2, available_slots=1)
    told = service.runs["r"].client_decisions
    assert list(told) == [(0, 1)]
    assert told[(0, 1)]["commands"][0]["command_id"] == own.commands[0].command_id
    assert told[(0, 1)]["reason"] == own.reason


def test_a_command_whose_answer_was_lost_is_told_to_have_expired_and_never_handed_on(
    connect: Connect, service: StandIn
) -> None:
    service.commands = lambda report: (
        [germinate("c1", expires=report["epoch"] + 1)] if report["epoch"] == 0 else []
    )
    with connect(deadline=DEADLINE_S).run("r") as run:
        service.misbehave.extend([lose_answer, stay_silent])
        lost = run.epoch(epoch=0, available_slots=1)
        decision = run.epoch(epoch=1, available_slots=1)
    assert lost.source == "client"
    assert decision.source == "service"
    assert [command.command_type for command in decision.commands] == [CommandType.REQUEST_STATE]
    (outcome,) = service.bodies("/epoch")[-1]["outcomes"]
    assert (outcome["command_id"], outcome["status"]) == ("c1", "EXPIRED")


def test_a_report_keeps_its_content_when_it_is_sent_again(connect: Connect, service: StandIn) -> None:
    with connect(deadline=DEADLINE_S).run("r") as run:
        run.outcome("c0", "EXECUTED")
        service.misbehave.extend([lose_answer, stay_silent])
        run.epoch(epoch=0, available_slots=1)
        run.outcome("c1", "EXECUTED")
        assert run.epoch(epoch=1, available_slots=1).source == "service"
    first, *again, last = service.bodies("/epoch")
    assert all(body == first for body in again)
    assert [outcome["command_id"] for outcome in first["outcomes"]] == ["c0"]
    assert [outcome["command_id"] for outcome in last["outcomes"]] == ["c1"]


def test_outcomes_of_the_clients_own_commands_stay_at_home(connect: Connect, service: StandIn) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.stop()
        decision = run.epoch(epoch=0, available_slots=1)
        run.outcome(decision.commands[0].command_id, "EXECUTED")
        service.start()
        run.epoch(epoch=1, available_slots=1)
    assert all(body["outcomes"] == [] for body in service.bodies("/epoch"))
    assert service.runs["r"].outcomes == {}


def test_a_rewind_during_silence_is_told_before_the_next_report(connect: Connect, service: StandIn) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        service.stop()
        run.epoch(epoch=1, available_slots=1)
        run.epoch(epoch=2, available_slots=1)
        assert run.rewind(1) == 1
        service.start()
        decision = run.epoch(epoch=2, available_slots=1, val_loss=7.0)
    assert (decision.source, decision.attempt) == ("service", 1)
    assert [(body["attempt"], body["epoch"]) for body in service.bodies("/epoch")] == [(0, 0), (0, 1), (1, 2)]


def test_an_epoch_asked_about_twice_is_reported_once(connect: Connect, service: StandIn) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.stop()
        run.epoch(epoch=0, available_slots=1)
        service.start()
        assert run.epoch(epoch=0, available_slots=1).source == "service"
    assert len(service.bodies("/epoch")) == 1


def test_the_oldest_reports_go_when_silence_lasts_and_that_is_said(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(deadline=0.05).run("r") as run:
        service.stop()
        for epoch in range(MAX_MISSED + 3):
            run.epoch(epoch=epoch, available_slots=1)
        service.start()
    assert sum("dropped" in record.getMessage() for record in caplog.records) == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) < 10


def test_a_long_backlog_is_caught_up_over_several_epochs(connect: Connect, service: StandIn) -> None:
    missed = 60
    answers: list[Decision] = []
    with connect(deadline=1.0).run("r") as run:
        service.misbehave.extend([reply_with(200, b"what?")] * missed)
        service.misbehave.extend([think(0.012)] * missed)
        while not answers or answers[-1].source == "client":
            answers.append(run.epoch(epoch=len(answers), available_slots=1))
    put_off = answers[missed:-1]
    assert put_off
    assert all(answer.error is None and "catching up" in answer.reason for answer in put_off)
    assert [epoch for _, epoch in service.runs["r"].reports] == list(range(len(answers)))


def test_a_service_too_slow_to_catch_up_with_is_asked_about_the_present(
    connect: Connect, service: StandIn
) -> None:
    with connect(deadline=0.4).run("r") as run:
        service.misbehave.extend([reply_with(200, b"what?"), *[think(0.25)] * 20])
        decisions = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(4)]
        service.misbehave.clear()
    assert "service" in [decision.source for decision in decisions]


def test_a_backlog_that_never_gets_smaller_is_given_up(connect: Connect, service: StandIn) -> None:
    # One late report a call is all there is time for, and each call adds one.
    with connect(deadline=1.0).run("r") as run:
        service.misbehave.extend([reply_with(200, b"what?")] * 3)
        for epoch in range(2):
            run.epoch(epoch=epoch, available_slots=1)
        service.misbehave.clear()
        service.in_between = lambda seen: think(0.6)
        answers = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(2, 7)]
        service.in_between = lambda seen: None
    assert answers[-1].source == "service"


@pytest.mark.parametrize(
    "in_between",
    [
        reply_with(403, b"<html>blocked</html>", "text/html"),
        reply_with(413, b"<html>too large</html>", "text/html"),
        reply_with(502, b"bad gateway", "text/html"),
        hang_up,
        stay_silent,
    ],
)
def test_one_report_that_never_gets_through_does_not_keep_the_others_back(
    connect: Connect, service: StandIn, in_between: Misbehaviour, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(seen: Seen) -> Misbehaviour | None:
        return in_between if "/epoch" in seen.path and seen.body["epoch"] == 1 else None

    with connect(deadline=1.0).run("r") as run:
        service.in_between = refuses
        answers = [run.epoch(epoch=epoch, available_slots=1) for epoch in range(6)]
    assert [answer.source for answer in answers][-1] == "service"
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 2, 3, 4, 5]
    assert service.runs["r"].result == "succeeded"
    assert sum("epoch 1 is given up" in record.getMessage() for record in caplog.records) == 1


def test_a_last_report_that_never_gets_through_does_not_keep_the_run_open(
    connect: Connect, service: StandIn
) -> None:
    with connect(deadline=1.0).run("r") as run:
        service.in_between = lambda seen: (
            reply_with(403, b"<html>blocked</html>", "text/html") if "/epoch" in seen.path else None
        )
        run.epoch(epoch=0, available_slots=1)
    assert service.runs["r"].result == "succeeded"


def test_a_silent_service_costs_no_report_however_often_it_is_asked(
    connect: Connect, service: StandIn
) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.in_between = lambda seen: reply_with(403, b"<html>sign in</html>", "text/html")
        for epoch in range(8):
            run.epoch(epoch=epoch, available_slots=1)
        service.in_between = lambda seen: None
        run.epoch(epoch=8, available_slots=1)
    assert [epoch for _, epoch in service.runs["r"].reports] == list(range(9))


def test_silence_is_warned_of_once_and_so_is_its_end(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(deadline=RETURN_S).run("r") as run:
        service.stop()
        for epoch in range(3):
            run.epoch(epoch=epoch, available_slots=1)
        service.start()
        run.epoch(epoch=3, available_slots=1)
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 2
    assert "without Tamiyo" in messages[0]
    assert "answers again" in messages[1]


def test_leaving_the_block_never_raises_and_keeps_the_deadline(connect: Connect, service: StandIn) -> None:
    began = time.monotonic()
    with connect(deadline=DEADLINE_S).run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        service.misbehave.extend([stay_silent] * 3)
    assert time.monotonic() - began < 2 * DEADLINE_S + MARGIN_S


def test_an_exception_is_not_masked_by_a_silent_service(connect: Connect, service: StandIn) -> None:
    def train() -> None:
        with connect(deadline=RETURN_S, strict=True).run("r") as run:
            run.outcome("c1", "EXECUTED")
            service.stop()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()


def test_a_failed_training_tells_what_it_can(connect: Connect, service: StandIn) -> None:
    def train() -> None:
        with connect(deadline=RETURN_S).run("r") as run:
            service.stop()
            run.epoch(epoch=0, available_slots=1)
            service.start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert [body["epoch"] for body in service.bodies("/epoch")] == [0]
    assert list(service.runs["r"].client_decisions) == [(0, 0)]
    assert service.runs["r"].result is None


def test_a_pause_asked_of_one_run_leaves_the_others_alone(connect: Connect, service: StandIn) -> None:
    client = connect()
    with client.run("busy") as busy, client.run("quiet") as quiet:
        service.misbehave.append(refuse(ProblemCode.RATE_LIMITED, retry_after="30"))
        first, second = (busy.epoch(epoch=epoch, available_slots=1) for epoch in range(2))
        other = quiet.epoch(epoch=0, available_slots=1)
        third = busy.epoch(epoch=2, available_slots=1)
    assert isinstance(first.error, RateLimitedError)
    assert isinstance(second.error, NotAskedError)
    assert other.source == "service"
    assert isinstance(third.error, NotAskedError)
    assert [epoch for _, epoch in service.runs["busy"].reports] == [0, 1, 2]


def test_a_pause_that_the_service_asks_for_is_every_runs(connect: Connect, service: StandIn) -> None:
    client = connect()
    with client.run("one") as one, client.run("other") as other:
        service.misbehave.append(refuse(ProblemCode.OVERLOADED, retry_after="30"))
        one.epoch(epoch=0, available_slots=1)
        assert isinstance(other.epoch(epoch=0, available_slots=1).error, NotAskedError)


async def test_the_report_of_a_cancelled_call_is_kept_for_the_next(service: StandIn) -> None:
    async with AsyncTamiyoClient(service.url) as client, client.run("r") as run:
        service.misbehave.append(stay_silent)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await run.epoch(epoch=0, available_slots=1, val_loss=1.0)
        assert (await run.epoch(epoch=1, available_slots=1, val_loss=2.0)).source == "service"
    assert [epoch for _, epoch in service.runs["r"].reports] == [0, 1]


def test_a_fallback_may_yield_its_commands(connect: Connect, service: StandIn) -> None:
    class Yielding:
        def decide(self, report: EpochReport) -> Iterator[AdaptationCommand]:
            yield germinate("own", expires=report.epoch + 1)

    with connect(deadline=RETURN_S, fallback=Yielding()).run("r") as run:
        service.stop()
        decision = run.epoch(epoch=0, available_slots=1)
        service.start()
    assert [command.command_id for command in decision.commands] == ["own"]
