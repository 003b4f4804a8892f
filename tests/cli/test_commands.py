"""The `tamiyo` command as a user types it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tamiyo_cli.app import app
from tamiyo_cli.environment import faults
from tamiyo_cli.local_service import local_service
from tamiyo_cli.terminal import harmless
from tamiyo_client import TamiyoClient
from tamiyo_leyline import __version__
from tamiyo_service import Settings
from typer.main import get_command
from typer.testing import CliRunner

README = Path(__file__).parents[2] / "README.md"
COMMANDS = (
    *(
        "backup",
        "decisions",
        "demo",
        "doctor",
        "export",
        "field-reports",
        "follow",
        "hold",
        "keys",
        "label",
        "migrate",
        "models",
    ),
    *("note", "override", "policy", "prune", "release", "replay", "runs", "serve", "show", "why"),
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with one run of three reports."""
    with local_service(tmp_path_factory.mktemp("cli") / "tamiyo.db") as base_url:
        with TamiyoClient(base_url, deadline=10.0) as client, client.run("first") as run:
            for epoch in range(1, 4):
                run.epoch(epoch=epoch, val_loss=1.0, val_accuracy=50.0 + epoch, available_slots=1)
        yield base_url


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def all_commands() -> dict[str, Any]:
    """Every command by its name."""
    group: Any = get_command(app)
    with group.make_context("tamiyo", ["runs"]) as context:
        return {name: group.get_command(context, name) for name in group.list_commands(context)}


def test_every_command_is_there_and_explains_itself() -> None:
    commands = all_commands()

    assert tuple(sorted(commands)) == tuple(sorted(COMMANDS))
    for name in COMMANDS:
        code, output = invoke(name, "--help")
        assert code == 0
        assert len(output) > 100


def test_help_tells_every_default() -> None:
    for command, option, default in (
        ("serve", "--port", "[default: TAMIYO_PORT or 8000]"),
        ("replay", "--policy", "[default: the run's]"),
        ("override", "--seed", "[default: the only live one; with WAIT all]"),
        ("follow", "run_id", "[default: all of them]"),
        ("doctor", "--url", "[default: http://127.0.0.1:8000, if it is]"),
    ):
        lines = [line for line in invoke(command, "--help")[1].splitlines() if option in line]
        assert default in lines[-1]


def test_no_help_has_brackets_that_the_terminal_takes_for_a_style() -> None:
    commands = all_commands()
    texts = [one.help or "" for one in commands.values()]
    texts += [getattr(one, "help", None) or "" for command in commands.values() for one in command.params]

    assert [text for text in texts if re.search(r"(?<!\\)\[", text)] == []


def test_every_command_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

    assert [name for name in COMMANDS if f"`tamiyo {name}" not in text] == []


def test_version_is_told() -> None:
    assert invoke("--version") == (0, f"tamiyo {__version__} (leyline 1.0)\n")


def test_runs_lists_runs(url: str) -> None:
    code, output = invoke("runs", "--url", url)

    assert code == 0
    assert "first" in output
    assert "COMPLETED" in output
    assert "3 WAIT" in output


def test_decisions_lists_the_newest_first(url: str) -> None:
    code, output = invoke("decisions", "first", "--url", url, "--json")

    assert code == 0
    assert [json.loads(line)["epoch"] for line in output.splitlines()] == [3, 2, 1]


def test_decisions_filters_by_action(url: str) -> None:
    code, output = invoke("decisions", "first", "--action", "CULL", "--url", url, "--json")

    assert (code, output) == (0, "")


def test_why_tells_the_numbers_compared(url: str) -> None:
    code, output = invoke("why", "first", "2", "--url", url)

    assert code == 0
    assert "too early" in output
    assert "available_slots" in output


def test_text_of_trainers_is_shown_and_not_obeyed(url: str) -> None:
    name = "[/x][red]"
    with TamiyoClient(url, deadline=10.0) as client, client.run("marked") as run:
        seed = {"seed_id": name, "slot_id": "[bold]", "blueprint_id": "norm", "stage": "TRAINING"}
        run.epoch(epoch=0, available_slots=0, seeds=[seed])

    for arguments in (("decisions", "marked"), ("why", "marked", "0")):
        code, output = invoke(*arguments, "--url", url)
        assert code == 0
        assert name in output.replace("\n", "")


def test_control_characters_are_replaced() -> None:
    assert harmless("a\x1b[31mb\rc\nd") == "a\ufffd[31mb\ufffdc\nd"


def test_unknown_run_is_one_line_and_status_1(url: str) -> None:
    code, output = invoke("decisions", "nobody", "--url", url)

    assert code == 1
    assert "nobody" in output
    assert "Traceback" not in output


def test_serve_says_in_one_line_why_a_certificate_cannot_be_used(
    tmp_path: Path,
) -> None:
    result = CliRunner().invoke(app, ["serve"], env={"TAMIYO_TLS_CERTFILE": str(tmp_path / "absent.pem")})

    assert result.exit_code == 2
    assert "absent.pem" in result.output
    assert len(result.output.splitlines()) == 1


def test_serve_says_in_one_line_why_a_database_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, no database " * 50)
    # In a process of its own: a service that begins to start takes over the process's logging.
    command = [sys.executable, "-m", "tamiyo_cli", "serve", "--database-url", "sqlite:///notes.db"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert finished.returncode == 2
    assert "notes.db" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("RETENTION", "soon", "'soon' is no duration"),
        ("DEVICE", "gpu", "must be auto, cpu, cuda or cuda:N"),
        ("AUTO_CREATE", "maybe", "must be true or false, got"),
        ("WORKERS", "many", "must be a whole number, got"),
        ("STALL_SECONDS", "long", "must be a number, got"),
        ("LOG_LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_bad_setting_is_told_with_the_variable_it_came_from(variable: str, value: str, told: str) -> None:
    name = f"TAMIYO_{variable}"
    for command in (["serve"], ["prune", "--dry-run"]):
        result = CliRunner().invoke(app, command, env={name: value})
        assert result.exit_code == 2
        assert result.output.startswith(f"tamiyo {command[0]}: {name}: ")
        assert told in result.output
        assert len(result.output.splitlines()) == 1


def test_a_bad_option_is_told_as_one() -> None:
    with pytest.raises(ValidationError) as error:
        Settings(port=70_000, workers=0)
    told = [*faults(error.value, {"port"})]
    assert told[0].startswith("--port: ")
    assert told[1].startswith("TAMIYO_WORKERS: ")


def test_settings_that_do_not_go_together_are_named_as_variables() -> None:
    result = CliRunner().invoke(app, ["serve"], env={"TAMIYO_TLS_KEYFILE": "key.pem"})

    assert result.exit_code == 2
    assert result.output.startswith(
        "tamiyo serve: TAMIYO_TLS_KEYFILE is of no use without TAMIYO_TLS_CERTFILE"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_says_in_one_line_that_its_port_is_taken(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tamiyo_cli", "serve", "--port", port, "--workers", workers]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    told = f"tamiyo serve: cannot listen on 127.0.0.1 port {port}: something listens there already"
    assert ended.stderr.startswith(told)
    assert "--port or TAMIYO_PORT" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("file", ["nowhere/r.json", "."])
def test_demo_says_before_it_trains_that_results_cannot_be_written(tmp_path: Path, file: str) -> None:
    database = tmp_path / "demo.db"
    code, output = invoke("demo", "--database", str(database), "--json", str(tmp_path / file))

    assert code == 1
    assert re.fullmatch(r"tamiyo demo: [^\n]+ results[^\n]*\n", output)
    assert not database.exists()


def test_demo_says_where_the_service_was_named_that_a_database_is_too_much_for() -> None:
    command = ["demo", "--database", "new.db"]
    for more, remedy in ((["--url", "http://127.0.0.1:1"], "leave out --url"), ([], "unset TAMIYO_URL")):
        environment = {"COLUMNS": "200", "TAMIYO_URL": None if more else "http://127.0.0.1:2"}
        result = CliRunner().invoke(app, [*command, *more], env=environment)
        assert result.exit_code == 2
        assert f"leave out --database, or {remedy}" in result.output


def test_demo_names_the_data_sets_there_are() -> None:
    code, output = invoke("demo", "--dataset", "imagenet")

    assert code == 2
    assert "digits" in output
