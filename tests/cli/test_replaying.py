"""`tamiyo replay` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tamiyo_cli.app import app
from tamiyo_cli.local_service import local_service
from tamiyo_client import TamiyoClient
from typer.testing import CliRunner

WAITS_LONGER = ("--set", "heuristic.plateau_epochs_to_germinate=6")


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["replay", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with a run `still`, which stands still and germinates at epoch 5."""
    with local_service(tmp_path_factory.mktemp("cli") / "tamiyo.db") as base_url:
        with TamiyoClient(base_url, deadline=10.0, strict=True) as client:
            run = client.run("still", topology="cnn")
            run.start()
            for epoch in range(6):
                run.epoch(epoch=epoch, val_accuracy=50.0, available_slots=1)
            seed = {"seed_id": "s1", "slot_id": "slot", "blueprint_id": "norm", "stage": "TRAINING"}
            for epoch in range(6, 10):
                run.epoch(epoch=epoch, val_accuracy=50.0, available_slots=0, seeds=[seed])
        yield base_url


def test_the_same_settings_differ_nowhere(still: str) -> None:
    code, output, _ = invoke("still", "--url", still, "--exit-code")
    assert code == 0
    assert "10 of 10 decisions agree (100.0%); 1 of 1 where either acted (100.0%)." in output
    assert "They differ nowhere." in output


def test_both_decisions_are_told_side_by_side_with_where_they_part(still: str) -> None:
    code, output, _ = invoke("still", *WAITS_LONGER, "--url", still)
    assert code == 0
    assert "heuristic.plateau_epochs_to_germinate: 3 → 6" in output
    (row,) = [line for line in output.splitlines() if "≠" in line]
    assert row.index("GERMINATE_NORM") < row.index("WAIT")
    assert "They differ first at epoch 5, germination: the run GERMINATE_NORM" in output
    assert "the 4 later decisions are open-loop" in output


def test_waits_are_told_on_request(still: str) -> None:
    _, output, _ = invoke("still", *WAITS_LONGER, "--all", "--url", still)
    rows = [line for line in output.splitlines() if line.startswith("│")]
    assert len([row for row in rows if row.split("│")[1].strip()]) == 10
    assert [row.split("│")[1].strip() for row in rows if "open-loop" in row] == ["6", "7", "8", "9"]


def test_only_divergences_may_be_told_and_counted_by_the_status(still: str) -> None:
    options = ("--only-divergences", "--exit-code", "--json", "--url", still)
    code, output, _ = invoke("still", *WAITS_LONGER, *options)
    assert code == 3
    answer = json.loads(output)
    assert [item["epoch"] for item in answer["items"]] == [5]
    assert answer["counts"]["reports"] == 10


def test_a_preset_and_values_in_json_are_passed_on(still: str) -> None:
    chosen = ("--set", "heuristic.preset=report", "--set", 'heuristic.blueprint_rotation=["attention"]')
    limits = ("--since-epoch", "5", "--until-epoch", "5", "--attempt", "0", "--policy", "heuristic@1")
    _, output, _ = invoke("still", *chosen, *limits, "--json", "--url", still)
    answer = json.loads(output)
    assert answer["config"]["heuristic"]["preset"] == "report"
    assert answer["items"][0]["replayed_action"] == "GERMINATE_ATTENTION"
    assert answer["config"]["policy"] == {"name": "heuristic", "version": "1"}
    assert answer["counts"]["reports"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("still", "--policy", "nobody"), "unknown policy 'nobody'"),
        (("still", "--policy", "learned@nothing"), "imitation-cnn-1.0.0"),
        (("still", "--set", "tracker.plateau=1"), "plateau_threshold"),
        (("nobody",), "there is no run nobody"),
        (("a/b",), "is no run id"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(still: str, arguments: tuple[str, ...], words: str) -> None:
    code, output, errors = invoke(*arguments, "--url", still)
    assert (code, output) == (1, "")
    assert errors.startswith("tamiyo replay: ")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "plateau=3",
        "heuristic.plateau",
        "heuristic.=3",
        "host.parameters=3",
        "tracker.plateau_threshold=NaN",
        "tracker.plateau_threshold=1e999",
        "heuristic.blueprint_rotation=[Infinity]",
    ],
)
def test_a_setting_that_is_none_is_a_mistake_of_usage(still: str, text: str) -> None:
    code, _, errors = invoke("still", "--set", text, "--url", still)
    assert code == 2
    assert "--set" in errors


def test_all_and_only_divergences_exclude_each_other(still: str) -> None:
    assert invoke("still", "--all", "--only-divergences", "--url", still)[0] == 2
