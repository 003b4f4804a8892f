"""`tamiyo override` and `policy` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tamiyo_cli.app import app
from tamiyo_cli.local_service import local_service
from tamiyo_client import Run, TamiyoClient
from typer.testing import CliRunner

CULL = ("override", "training", "CULL", "--reason", "it leaks")


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Run]]:
    """A service with a run `training` that has one live seed, and that run."""
    folder = tmp_path_factory.mktemp("cli")
    with (
        local_service(folder / "tamiyo.db") as base_url,
        TamiyoClient(base_url, deadline=10.0, strict=True) as client,
    ):
        run = client.run("training", topology="cnn")
        run.start()
        report(run, 0)
        yield base_url, run


def report(run: Run, epoch: int) -> str:
    """Report an epoch; the type of the first command."""
    seed = {"seed_id": "s1", "slot_id": "slot", "blueprint_id": "norm", "stage": "TRAINING"}
    decision = run.epoch(epoch=epoch, val_accuracy=50.0, available_slots=0, seeds=[seed])
    return decision.commands[0].command_type


def test_the_next_command_is_ordered_and_issued(training: tuple[str, Run]) -> None:
    url, run = training
    code, output, _ = invoke(*CULL, "--by", "ada", "--url", url)
    assert code == 0
    assert output == "training: heuristic 1 decides; CULL of s1 waits for the next report\n"
    _, output, _ = invoke("show", "training", "--url", url)
    assert "CULL of s1, ordered: it leaks (ada)" in output
    assert report(run, 1) == "CULL"
    assert "ordered" not in invoke("show", "training", "--url", url)[1]
    _, output, _ = invoke("decisions", "training", "--action", "CULL", "--json", "--url", url)
    assert json.loads(output)["commands"][0]["reason"] == "ordered by operator: it leaks"


def test_an_order_is_taken_back(training: tuple[str, Run]) -> None:
    url, run = training
    code, output, _ = invoke(*CULL, "--seed", "s1", "--url", url, "--json")
    assert code == 0
    assert json.loads(output)["override"]["target_seed_id"] == "s1"
    code, output, _ = invoke("override", "training", "--withdraw", "--url", url)
    assert (code, output) == (0, "training: heuristic 1 decides; no order waits\n")
    assert report(run, 1) == "REQUEST_STATE"


def test_another_policy_decides_from_the_next_report_on(training: tuple[str, Run]) -> None:
    url, run = training
    code, output, _ = invoke(
        "policy", "training", "learned@imitation-cnn-1.0.0", "--reason", "try", "--url", url
    )
    assert (code, output) == (0, "training: learned imitation-cnn-1.0.0 decides; no order waits\n")
    report(run, 1)
    _, output, _ = invoke("decisions", "training", "--json", "--url", url)
    assert [json.loads(line)["policy"]["name"] for line in output.splitlines()] == ["learned", "heuristic"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("override", "training", "SING", "--reason", "x"), "send one of WAIT"),
        ((*CULL, "--seed", "s9"), "s1"),
        (("override", "training", "WAIT", "--reason", ""), "reason"),
        (("policy", "training", "nobody", "--reason", "x"), "unknown policy 'nobody'"),
        (("policy", "nobody", "heuristic", "--reason", "x"), "there is no run nobody"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(
    training: tuple[str, Run], arguments: tuple[str, ...], words: str
) -> None:
    code, output, errors = invoke(*arguments, "--url", training[0])
    assert (code, output) == (1, "")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("override", "training"),
        ("override", "training", "CULL"),
        (*CULL, "--withdraw"),
        ("override", "training", "--withdraw", "--by", "ada"),
        ("policy", "training", "x"),
        ("policy", "training", "learned@", "--reason", "x"),
        ("policy", "training", "@1", "--reason", "x"),
        ("replay", "training", "--policy", "learned@"),
    ],
)
def test_an_order_without_what_it_needs_is_a_mistake_of_usage(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments)[0] == 2


def test_follow_tells_what_was_ordered(training: tuple[str, Run]) -> None:
    url, _ = training
    invoke(*CULL, "--url", url)
    invoke("policy", "training", "learned", "--reason", "try it", "--url", url)
    options = ("--type", "override", "--type", "policy", "--since-id", "0", "--limit", "2", "--url", url)
    override, policy = invoke("follow", "training", *options)[1].splitlines()
    assert override.endswith("training: override CULL, s1, it leaks")
    assert policy.endswith("try it")
    assert "training: policy learned " in policy
