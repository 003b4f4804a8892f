"""`tamiyo why`, and what `runs`, `decisions` and `follow` tell of a run that operators steered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tamiyo_cli.app import app
from tamiyo_cli.explaining import remarks
from tamiyo_cli.local_service import local_service
from tamiyo_client import Run, TamiyoClient
from tamiyo_leyline import DecisionRecord
from typer.testing import CliRunner


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def report(run: Run, epoch: int) -> None:
    seed = {"seed_id": "s1", "slot_id": "slot", "blueprint_id": "norm", "stage": "TRAINING"}
    run.epoch(epoch=epoch, val_accuracy=50.0, available_slots=0, seeds=[seed])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a run of two attempts: a cull was ordered, the run held, released and rewound."""
    folder = tmp_path_factory.mktemp("cli")
    with (
        local_service(folder / "tamiyo.db") as base_url,
        TamiyoClient(base_url, deadline=10.0, strict=True) as client,
    ):
        client.run("untold", topology="cnn", labels={"team": "audio"}).start()
        run = client.run("steered", topology="cnn", labels={"team": "vision"})
        run.start()
        report(run, 0)
        by = ("--by", "ada", "--url", base_url)
        invoke("override", "steered", "CULL", "--reason", "it leaks", *by)
        report(run, 1)
        invoke("hold", "steered", "--reason", "look", *by)
        report(run, 2)
        invoke("release", "steered", "--url", base_url)
        invoke("label", "steered", "owner=ada", *by)
        invoke("policy", "steered", "learned", "--reason", "try", *by)
        run.rewind(1)
        report(run, 2)
        invoke("note", "steered", "well", *by)
        yield base_url


def test_why_tells_who_ordered_it_and_what_the_policy_would_have_done(url: str) -> None:
    code, output, _ = invoke("why", "steered", "1", "--url", url)
    assert code == 0
    assert "decided by heuristic 1" in output
    assert "order: CULL of s1, ordered by ada: it leaks (instead of WAIT)" in output


def test_why_without_an_epoch_tells_of_the_latest_decision(url: str) -> None:
    code, output, _ = invoke("why", "steered", "--url", url)
    assert code == 0
    assert "steered, attempt 1, epoch 2" in output
    assert "decided by learned imitation-cnn-" in output


def test_why_tells_of_the_attempt_asked_for(url: str) -> None:
    for epoch in (("2",), ()):
        code, output, _ = invoke("why", "steered", *epoch, "--attempt", "0", "--url", url)
        assert code == 0
        assert "steered, attempt 0, epoch 2: WAIT" in output
        assert "superseded by a rewind" in output
        assert "held by operator: look" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("steered", "--attempt", "7"), "nothing was decided about steered in attempt 7"),
        (("untold",), "nothing was decided about untold yet"),
        (("steered", "77"), "77"),
    ],
)
def test_why_tells_in_a_line_that_there_is_no_such_decision(
    url: str, arguments: tuple[str, ...], words: str
) -> None:
    code, output, error = invoke("why", *arguments, "--url", url)
    assert (code, output) == (1, "")
    assert words in error
    assert len(error.splitlines()) == 1


def test_why_tells_what_shadow_policies_would_have_done(url: str) -> None:
    record = json.loads(invoke("why", "steered", "1", "--url", url, "--json")[1])
    cull = record["slots"][0] | {"action": "CULL", "reason": "it stalls", "seed_id": "s1"}
    wait = record["slots"][-1] | {"action": "WAIT", "reason": "no free slot"}
    common = {name: record[name] for name in ("run_id", "attempt", "epoch", "decision_id", "commands")}
    shadows = [
        {"policy": {"name": name, "version": "7"}, "agrees": agrees, "slots": slots}
        | common
        | {"decided_at": record["decided_at"]}
        for name, agrees, slots in (("mine", True, [cull, wait]), ("yours", False, [wait]))
    ]
    told = list(remarks(DecisionRecord.model_validate(record | {"shadow": shadows})))
    assert told[-2:] == [
        "mine 7, in the shadow, agrees: CULL of s1 (it stalls)",
        "yours 7, in the shadow, differs: WAIT (no free slot)",
    ]


def epochs(url: str, *arguments: str) -> list[tuple[int, int]]:
    """Attempt and epoch of the decisions listed."""
    code, output, _ = invoke("decisions", "steered", *arguments, "--url", url, "--json")
    assert code == 0
    return [(item["attempt"], item["epoch"]) for item in map(json.loads, output.splitlines())]


def test_decisions_are_filtered_by_attempt_epochs_and_policy(url: str) -> None:
    assert epochs(url) == [(1, 2), (0, 2), (0, 1), (0, 0)]
    assert epochs(url, "--attempt", "0") == [(0, 2), (0, 1), (0, 0)]
    assert epochs(url, "--attempt", "0", "--limit", "1") == [(0, 2)]
    assert epochs(url, "--since-epoch", "1", "--until-epoch", "1") == [(0, 1)]
    assert epochs(url, "--policy", "learned") == [(1, 2)]


def test_no_decisions_are_told_in_words(url: str) -> None:
    assert invoke("decisions", "untold", "--url", url)[:2] == (0, "no decisions of untold yet\n")
    code, output, _ = invoke("decisions", "steered", "--attempt", "7", "--url", url)
    assert (code, output) == (0, "no decision of steered is like that\n")


def listed(url: str, *arguments: str) -> list[str]:
    """The runs listed."""
    code, output, _ = invoke("runs", *arguments, "--url", url, "--json")
    assert code == 0
    return [run["run_id"] for run in map(json.loads, output.splitlines())]


def test_runs_are_filtered(url: str) -> None:
    assert listed(url) == ["steered", "untold"]
    assert listed(url, "--status", "active") == ["steered", "untold"]
    assert listed(url, "--label", "team=vision", "--label", "owner=ada") == ["steered"]
    assert listed(url, "--label", "team:audio") == ["untold"]
    assert listed(url, "--policy", "learned") == ["steered"]
    assert listed(url, "--silent-for", "0") == ["steered", "untold"]
    assert listed(url, "--silent-for", "1d") == []
    assert invoke("runs", "--status", "held", "--url", url)[:2] == (0, "no run is like that\n")


@pytest.mark.parametrize(
    "option",
    [
        ("--label", "team"),
        ("--status", "asleep"),
        ("--silent-for", "long"),
        ("--limit", "0"),
        ("--limit", "99999999999999999999"),
    ],
)
def test_a_mistyped_filter_is_a_mistake_of_usage(option: tuple[str, ...]) -> None:
    assert invoke("runs", *option)[0] == 2


def test_a_list_that_is_cut_says_so_beside_it(url: str) -> None:
    for command in (("runs",), ("decisions", "steered"), ("decisions", "steered", "--attempt", "0")):
        for style in ((), ("--json",)):
            code, _, error = invoke(*command, "--limit", "1", "--url", url, *style)
            assert (code, error) == (0, "the first 1; there are more: --limit\n")
    assert invoke("runs", "--limit", "2", "--url", url)[2] == ""


def followed(url: str, kind: str) -> str:
    """What `follow` tells of the first event of a type, without the moment."""
    options: tuple[Any, ...] = ("--type", kind, "--since-id", "0", "--limit", "1", "--url", url)
    code, output, _ = invoke("follow", "steered", *options)
    assert code == 0
    return output.split(" ", 1)[1].rstrip()


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("hold", "steered: hold look, by ada"),
        ("release", "steered: release"),
        ("override", "steered: override CULL, s1, it leaks, by ada"),
        ("labels", "steered: labels owner=ada, team=vision, by ada"),
        ("note", "steered: note well, by ada"),
        ("rewind", "steered: rewind to epoch 1, attempt 1"),
    ],
)
def test_follow_tells_who_did_it_and_where_a_rewind_went(url: str, kind: str, line: str) -> None:
    assert followed(url, kind) == line


def test_follow_tells_who_gave_a_run_another_policy(url: str) -> None:
    told = followed(url, "policy")
    assert told.startswith("steered")
    assert "policy learned imitation-cnn-" in told
    assert told.endswith(", try, by ada")


def test_what_a_seed_brought_and_what_became_of_the_command_that_ended_it_is_told(url: str) -> None:
    measured = {
        "initial_val_accuracy": 50.0,
        "current_val_accuracy": 57.0,
        "counterfactual_val_accuracy": 55.5,
    }
    seed = {"seed_id": "s1", "slot_id": "slot", "blueprint_id": "norm", "alpha": 1.0, "metrics": measured}
    with TamiyoClient(url, deadline=10.0, strict=True) as client:
        run = client.run("ended", topology="cnn").start()
        empty = "no seed of ended has come to its end yet\n"
        assert invoke("field-reports", "ended", "--url", url)[:2] == (0, empty)
        run.epoch(epoch=0, val_accuracy=57.0, available_slots=0, seeds=[seed | {"stage": "PROBATIONARY"}])
        invoke("override", "ended", "FOSSILIZE", "--reason", "it is good", "--url", url)
        asked = run.epoch(
            epoch=1, val_accuracy=57.0, available_slots=0, seeds=[seed | {"stage": "PROBATIONARY"}]
        )
        run.outcome(asked.commands[0].command_id, "EXECUTED", "for good")
        run.epoch(epoch=2, val_accuracy=57.0, available_slots=0, seeds=[seed | {"stage": "FOSSILIZED"}])
        code, output, _ = invoke("field-reports", "ended", "--url", url)
        _, record, _ = invoke("why", "ended", "1", "--url", url)
        client.delete_run("ended")
    assert code == 0
    (row,) = [line for line in output.splitlines() if "FOSSILIZED" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[-3:] == ["+7.00", "+1.50", "ordered by operator: it is good"]
    assert f"{asked.commands[0].command_id} became EXECUTED in epoch 2: for good" in record
