"""`tamiyo hold`, `release`, `note` and `label` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

from tamiyo_cli.app import app
from tamiyo_cli.local_service import local_service
from tamiyo_client import TamiyoClient
from typer.testing import CliRunner


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def status(url: str) -> str:
    found: str = json.loads(invoke("show", "grown", "--url", url, "--json")[1])["status"]
    return found


def notes(url: str) -> list[tuple[str | None, str]]:
    _, output, _ = invoke("note", "grown", "--url", url, "--json")
    return [(note["by"], note["text"]) for note in map(json.loads, output.splitlines())]


def test_a_run_is_held_and_released(told: str) -> None:
    assert invoke("hold", "grown", "--reason", "look first", "--url", told) == (0, "grown: HELD\n", "")
    assert status(told) == "HELD"
    assert ": look first" in invoke("show", "grown", "--url", told)[1]
    invoke("hold", "grown", "--reason", "look again", "--by", "ada", "--url", told)
    assert ": look again (ada)" in invoke("show", "grown", "--url", told)[1]
    code, output, _ = invoke("release", "grown", "--reason", "looked", "--by", "ada", "--url", told, "--json")
    assert code == 0
    assert json.loads(output)["status"] == "ACTIVE"
    assert notes(told)[0] == ("ada", "released: looked")


def test_who_released_a_run_is_kept_without_a_reason_too(told: str) -> None:
    invoke("hold", "grown", "--reason", "look", "--url", told)
    assert invoke("release", "grown", "--by", "bob", "--url", told)[0] == 0
    assert notes(told)[0] == ("bob", "released")


def test_no_note_tells_of_a_release_that_was_refused(tmp_path: Path) -> None:
    with (
        local_service(tmp_path / "tamiyo.db") as url,
        TamiyoClient(url, deadline=10.0, strict=True) as client,
        client.run("over", topology="cnn") as run,
    ):
        run.start()
        run.complete("failed")
        code, _, error = invoke("release", "over", "--reason", "done", "--url", url)
        assert (code, "completed" in error) == (1, True)
        assert invoke("note", "over", "--url", url)[1] == "no notes of over yet\n"
        assert invoke("note", "over", "--json", "--url", url)[1] == ""


def test_a_hold_needs_a_reason(told: str) -> None:
    code, _, error = invoke("hold", "grown", "--url", told)
    assert code == 2
    assert "--reason" in error
    code, _, error = invoke("hold", "grown", "--reason", "", "--url", told)
    assert code == 1
    assert "reason" in error
    assert status(told) == "ACTIVE"


def test_notes_are_added_and_listed_the_latest_first(told: str) -> None:
    code, output, _ = invoke("note", "grown", "first", "--url", told)
    assert code == 0
    assert "(epoch 5) first" in output
    assert invoke("note", "grown", "second", "--by", "ada", "--url", told)[0] == 0
    assert notes(told)[:2] == [("ada", "second"), (None, "first")]
    code, output, errors = invoke("note", "grown", "--limit", "1", "--url", told)
    assert code == 0
    assert output.endswith("ada: second\n")
    assert len(output.splitlines()) == 1
    assert "--limit" in errors


def test_labels_change_and_the_others_stay(told: str) -> None:
    code, output, _ = invoke("label", "grown", "owner=ada", "x=a=b", "--url", told)
    assert (code, output) == (0, "owner=ada\nteam=vision\nx=a=b\n")
    code, output, _ = invoke("label", "grown", "owner=bob", "--remove", "x", "--url", told, "--json")
    assert code == 0
    assert json.loads(output)["labels"] == {"owner": "bob", "team": "vision"}
    assert invoke("label", "grown", "--url", told) == (0, "owner=bob\nteam=vision\n", "")


def test_a_run_without_labels_is_told_in_words(told: str) -> None:
    labels = json.loads(invoke("show", "grown", "--url", told, "--json")[1])["labels"]
    removed = [part for key in labels for part in ("--remove", key)]
    assert invoke("label", "grown", *removed, "--url", told) == (0, "grown has no labels\n", "")
    kept = [f"{key}={value}" for key, value in labels.items()]
    assert invoke("label", "grown", *kept, "--url", told)[0] == 0


def test_what_is_no_label_is_a_mistyped_command(told: str) -> None:
    code, _, error = invoke("label", "grown", "owner", "--url", told)
    assert code == 2
    assert "KEY=VALUE" in error


def test_unknown_runs_are_one_line_and_status_1(told: str) -> None:
    for arguments in (("hold", "nobody", "--reason", "x"), ("release", "nobody"), ("note", "nobody", "x")):
        code, output, error = invoke(*arguments, "--url", told)
        assert (code, output) == (1, "")
        assert "nobody" in error
        assert len(error.splitlines()) == 1
