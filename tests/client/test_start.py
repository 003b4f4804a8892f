"""Starting and resuming a run."""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
from tamiyo_client import (
    LeylineMismatchError,
    ProtocolError,
    ResumeRequiredError,
    Rewind,
    RunCompletedError,
    RunExistsError,
    SilenceError,
    UnauthorizedError,
)
from tamiyo_leyline import ProblemCode

from tests.client.conftest import Connect
from tests.client.stand_in import (
    RETURN_S,
    Misbehaviour,
    StandIn,
    StoredRun,
    lose_answer,
    refuse,
    reply_with,
    speak,
)


@pytest.fixture
def trained(service: StandIn) -> StandIn:
    """A service that knows run ``r`` up to epoch 5."""
    service.runs["r"] = StoredRun(config={}, last_epoch=5)
    return service


def test_a_run_with_a_history_raises_unless_told_how_to_resume(connect: Connect, trained: StandIn) -> None:
    with pytest.raises(ResumeRequiredError, match="last epoch 5"), connect().run("r"):
        pytest.fail("the block was entered")
    assert trained.runs["r"].result is None


def test_a_history_of_another_attempt_counts_too(connect: Connect, service: StandIn) -> None:
    service.runs["r"] = StoredRun(config={}, attempt=1)
    with pytest.raises(ResumeRequiredError):
        connect().run("r").start()


def test_continue_goes_on_after_the_last_epoch(connect: Connect, trained: StandIn) -> None:
    trained.runs["r"].attempt = 2
    with connect().run("r", resume="continue") as run:
        assert run.attempt == 2
        assert run.epoch(epoch=6, available_slots=1).source == "service"
    assert trained.bodies("/rewind") == []


@pytest.mark.parametrize("resume", [3, Rewind(3), np.int64(3), Rewind(np.int32(3)), np.array(3)])
def test_a_checkpoint_rewinds_and_its_attempt_is_used_from_then_on(
    connect: Connect, trained: StandIn, resume: Rewind | int
) -> None:
    with connect().run("r", resume=resume) as run:
        decision = run.epoch(epoch=4, available_slots=1)
    assert (decision.source, decision.attempt) == ("service", 1)
    assert trained.bodies("/rewind") == [{"to_epoch": 3, "attempt": 1}]
    assert trained.bodies("/epoch")[0]["attempt"] == 1


@pytest.mark.parametrize("resume", ["continue", 3, Rewind(None)])
def test_a_run_without_a_history_simply_starts(connect: Connect, service: StandIn, resume: Rewind) -> None:
    with connect().run("r", resume=resume) as run:
        assert run.epoch(epoch=0, available_slots=1).source == "service"
    assert service.bodies("/rewind") == []


def test_a_completed_run_is_reopened_by_a_rewind_only(connect: Connect, trained: StandIn) -> None:
    trained.runs["r"].result = "succeeded"
    with pytest.raises(RunCompletedError, match="reopen"):
        connect().run("r", resume="continue").start()
    with connect().run("r", resume=5) as run:
        assert run.epoch(epoch=6, available_slots=1).source == "service"


def test_a_rewind_whose_answer_was_lost_opens_one_attempt_only(connect: Connect, trained: StandIn) -> None:
    trained.misbehave.extend([None, lose_answer])
    with connect().run("r", resume=2) as run:
        assert run.attempt == 1
    assert trained.runs["r"].attempt == 1


@pytest.mark.parametrize(
    ("misbehaviour", "error"),
    [
        (refuse(ProblemCode.RUN_EXISTS), RunExistsError),
        (refuse(ProblemCode.UNAUTHORIZED), UnauthorizedError),
        (reply_with(200, b"<html>welcome</html>", "text/html"), ProtocolError),
        (reply_with(404, b"nothing here", "text/plain"), ProtocolError),
        (speak("2.0"), LeylineMismatchError),
    ],
)
def test_a_mistake_in_the_setup_stops_the_training_before_it_begins(
    connect: Connect, service: StandIn, misbehaviour: Misbehaviour, error: type[Exception]
) -> None:
    service.misbehave.append(misbehaviour)
    with pytest.raises(error):
        connect().run("r").start()


def test_an_unreachable_service_does_not_stop_the_training(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    service.stop()
    with connect(deadline=RETURN_S).run("r", max_epochs=3) as run:
        started = [run.is_started]
        assert run.epoch(epoch=0, available_slots=1).source == "client"
        service.start()
        decision = run.epoch(epoch=1, available_slots=1)
        started.append(run.is_started)
    assert started == [False, True]
    assert decision.source == "service"
    assert [record.levelno for record in caplog.records][:1] == [logging.WARNING]
    assert [body["epoch"] for body in service.bodies("/epoch")] == [0, 1]
    assert service.runs["r"].result == "succeeded"


def test_a_strict_client_raises_when_the_service_is_unreachable(connect: Connect, service: StandIn) -> None:
    service.stop()
    began = time.monotonic()
    with pytest.raises(SilenceError):
        connect(deadline=RETURN_S, strict=True).run("r").start()
    assert time.monotonic() - began < 2.0


def test_reports_missed_before_a_late_start_carry_the_resumed_attempt(
    connect: Connect, trained: StandIn
) -> None:
    trained.stop()
    with connect(deadline=RETURN_S).run("r", resume=5) as run:
        run.epoch(epoch=6, available_slots=1)
        trained.start()
        decision = run.epoch(epoch=7, available_slots=1)
    assert (decision.source, decision.attempt) == ("service", 1)
    assert [(body["attempt"], body["epoch"]) for body in trained.bodies("/epoch")] == [(1, 6), (1, 7)]
    assert list(trained.runs["r"].client_decisions) == [(1, 6)]


def test_a_late_start_that_finds_a_history_answers_wait_and_mixes_nothing_in(
    connect: Connect, trained: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    trained.stop()
    with connect(deadline=RETURN_S).run("r") as run:
        trained.start()
        decision = run.epoch(epoch=0, available_slots=1)
    assert decision.source == "client"
    assert isinstance(decision.error, ResumeRequiredError)
    assert trained.bodies("/epoch") == []
    assert trained.runs["r"].result is None
    assert any(record.levelno == logging.ERROR for record in caplog.records)
