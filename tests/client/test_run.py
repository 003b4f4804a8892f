"""A training without trouble."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tamiyo_client import Rewind, UsageError
from tamiyo_leyline import LEYLINE_VERSION, CommandType, EpochReport, HeuristicConfig, RunConfig

from tests.client.commands import germinate
from tests.client.conftest import Connect
from tests.client.stand_in import Misbehaviour, StandIn, alter, lose_answer, reply_with


def test_a_run_is_put_first_and_reports_never_create_one(connect: Connect, service: StandIn) -> None:
    with connect().run("r", topology="cnn", max_epochs=7) as run:
        run.epoch(epoch=0, available_slots=1)
    assert [(seen.method, seen.path) for seen in service.seen] == [
        ("PUT", "/runs/r"),
        ("POST", "/runs/r/epoch?create=false"),
        ("POST", "/runs/r/complete"),
    ]
    assert service.seen[0].body == {"topology": "cnn", "max_epochs": 7}


def test_the_services_commands_reach_the_trainer(connect: Connect, service: StandIn) -> None:
    service.commands = lambda report: [germinate("c1", expires=report["epoch"] + 1)]
    with connect().run("r") as run:
        decision = run.epoch(epoch=3, available_slots=1)
    assert (decision.epoch, decision.source, decision.replayed) == (3, "service", False)
    assert [command.command_id for command in decision.commands] == ["c1"]
    assert decision.commands[0].command_type is CommandType.GERMINATE
    assert decision.reason == decision.commands[0].reason
    assert decision.error is None
    assert decision.reply is not None
    assert decision.reply.policy.name == "stand-in"


def test_a_report_may_be_given_whole(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        decision = run.report(EpochReport(epoch=2, val_loss=0.5, available_slots=1))
    assert decision.source == "service"
    assert service.bodies("/epoch")[0]["val_loss"] == 0.5


def test_every_request_says_which_leyline_it_speaks_and_carries_the_key(
    connect: Connect, service: StandIn
) -> None:
    with connect(api_key="secret", headers={"X-Team": "vision"}).run("r") as run:
        run.epoch(epoch=0, available_slots=1)
    for seen in service.seen:
        assert seen.headers["tamiyo-leyline"] == LEYLINE_VERSION
        assert seen.headers["authorization"] == "Bearer secret"
        assert seen.headers["x-team"] == "vision"


def test_a_lost_answer_is_asked_for_again_and_found_stored(connect: Connect, service: StandIn) -> None:
    service.commands = lambda report: [germinate("c1", expires=report["epoch"] + 1)]
    with connect().run("r") as run:
        service.misbehave.append(lose_answer)
        decision = run.epoch(epoch=0, available_slots=1)
    assert decision.source == "service"
    assert decision.replayed
    assert [command.command_id for command in decision.commands] == ["c1"]


def test_a_clean_end_completes_the_run(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.epoch(epoch=0, available_slots=1)
    assert service.runs["r"].result == "succeeded"


def test_an_exception_leaves_the_run_open_and_passes_unchanged(connect: Connect, service: StandIn) -> None:
    error = KeyboardInterrupt()

    def train() -> None:
        with connect().run("r") as run:
            run.epoch(epoch=0, available_slots=1)
            raise error

    with pytest.raises(KeyboardInterrupt) as raised:
        train()
    assert raised.value is error
    assert service.runs["r"].result is None


@pytest.mark.parametrize(
    "answer",
    [
        reply_with(200, b"<html>sign in</html>", "text/html"),
        alter(run_id="another"),
        alter(status="ACTIVE"),
        reply_with(204, b""),
    ],
)
def test_an_end_that_the_service_did_not_confirm_is_none(
    connect: Connect, service: StandIn, answer: Misbehaviour
) -> None:
    with connect().run("r") as run:
        service.misbehave.append(answer)
        assert run.complete("failed") is False


def test_an_outcome_whose_answer_is_about_another_command_is_told_of(
    connect: Connect, service: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with connect().run("r") as run:
        run.outcome("c1", "EXECUTED")
        service.misbehave.append(alter(command_id="c2"))
    assert "told of command c1, answered about 'c2'" in caplog.text


def test_a_run_completed_by_hand_is_not_completed_twice(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        assert run.complete("aborted")
    assert service.bodies("/complete") == [{"result": "aborted"}]


def test_after_completion_the_answer_is_wait(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.complete("failed")
        decision = run.epoch(epoch=0, available_slots=1)
    assert decision.source == "client"
    assert "over" in decision.reason
    assert not service.bodies("/epoch")


def test_outcomes_travel_with_the_next_report(connect: Connect, service: StandIn) -> None:
    service.commands = lambda report: [germinate("c1", expires=report["epoch"] + 1)]
    with connect().run("r") as run:
        decision = run.epoch(epoch=0, available_slots=1)
        run.outcome(decision.commands[0].command_id, "EXECUTED", "slot 2")
        run.epoch(epoch=1, available_slots=0)
        run.epoch(epoch=2, available_slots=0)
    first, second, third = service.bodies("/epoch")
    assert second["outcomes"] == [{"command_id": "c1", "status": "EXECUTED", "detail": "slot 2"}]
    assert first["outcomes"] == third["outcomes"] == []


def test_the_last_outcomes_are_told_at_the_end(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        run.outcome("a/b c", "REFUSED")
    assert service.runs["r"].outcomes == {"a%2Fb%20c": "REFUSED"}


def test_a_rewind_opens_the_next_attempt_for_all_later_reports(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        for epoch in range(4):
            run.epoch(epoch=epoch, available_slots=1)
        assert run.rewind(1) == 1
        decision = run.epoch(epoch=2, available_slots=1, val_loss=9.0)
    assert (decision.source, decision.attempt) == ("service", 1)
    assert service.bodies("/rewind") == [{"to_epoch": 1, "attempt": 1}]


def test_a_rewind_reopens_a_completed_run(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.epoch(epoch=0, available_slots=1)
        run.complete("succeeded")
        run.rewind(None)
        assert run.epoch(epoch=0, available_slots=1).source == "service"


def test_a_rewind_takes_an_epoch_of_any_integer_type(connect: Connect, service: StandIn) -> None:
    with connect().run("r") as run:
        run.epoch(epoch=np.int64(3), available_slots=1)
        assert run.rewind(np.int64(3)) == 1
    assert service.bodies("/rewind") == [{"to_epoch": 3, "attempt": 1}]


@pytest.mark.parametrize("nowhere", [-1, np.int64(-1), 2**53, True, np.True_, 3.0, np.float64(3.0), "3"])
def test_a_rewind_to_nowhere_is_a_mistake(connect: Connect, service: StandIn, nowhere: Any) -> None:
    with connect().run("r") as run, pytest.raises(UsageError, match="at least 0"):
        run.rewind(nowhere)
    assert service.bodies("/rewind") == []


@pytest.mark.parametrize("resume", [True, np.True_, 3.0, np.float64(3.0), np.array([3, 4]), "3"])
def test_a_resumption_from_nowhere_is_a_mistake(connect: Connect, service: StandIn, resume: Any) -> None:
    with pytest.raises(UsageError, match="epoch"):
        connect().run("r", resume=resume)
    assert service.seen == []


def test_a_configuration_object_is_sent_as_its_author_wrote_it(connect: Connect, service: StandIn) -> None:
    config = RunConfig(heuristic=HeuristicConfig(preset="report"), max_epochs=9)
    connect().run("whole", config=config).start()
    connect().run("parts", heuristic=HeuristicConfig(max_concurrent_seeds=2)).start()
    assert service.runs["whole"].config["max_epochs"] == 9
    assert "learned" not in service.runs["whole"].config
    assert service.runs["parts"].config == {"heuristic": {"max_concurrent_seeds": 2}}


def test_mistakes_in_a_configuration_are_found_before_anything_is_sent(
    connect: Connect, service: StandIn
) -> None:
    client = connect()
    with pytest.raises(UsageError, match="max_epochs"):
        client.run("r", max_epochs=0)
    with pytest.raises(UsageError, match="blueprint_rotation"):
        client.run("r", heuristic={"blueprint_rotation": ["nope"]})
    with pytest.raises(UsageError, match="not both"):
        client.run("r", config=RunConfig(), max_epochs=3)
    for bad in ("", "a/b", "..", ".", "x" * 129, "a\n"):
        with pytest.raises(UsageError, match="run id"):
            client.run(bad)
    with pytest.raises(UsageError, match="resume"):
        client.run("r", resume="go on")  # type: ignore[arg-type] # the mistake under test
    with pytest.raises(UsageError, match="at least 0"):
        client.run("r", resume=Rewind(-3))
    assert service.seen == []


def test_two_runs_share_a_client(connect: Connect, service: StandIn) -> None:
    client = connect()
    with client.run("a") as a, client.run("b") as b:
        assert a.epoch(epoch=0, available_slots=1).reply != b.epoch(epoch=0, available_slots=1).reply
    assert {run.result for run in service.runs.values()} == {"succeeded"}
