"""``tamiyo keys``: made once, listed without themselves, revoked for good; and sent by the commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest
from tamiyo_cli.app import app
from tamiyo_client import TamiyoClient, UnauthorizedError
from tamiyo_service import Settings
from tamiyo_service.store import SqlStore
from tamiyo_service.testing import running_service
from typer.testing import CliRunner, Result

OLDER = Path(__file__).parents[1] / "fixtures" / "tamiyo-0.1.0.db"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of a database that is not there yet."""
    return f"sqlite:///{tmp_path / 'tamiyo.db'}"


def keys(database: str, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["keys", *arguments, "--database-url", database], env={"COLUMNS": "250", "TAMIYO_API_KEY": ""}
    )


def database_file(database: str) -> Path:
    return Path(database.removeprefix("sqlite:///"))


def created(database: str, *arguments: str) -> dict[str, object]:
    result = keys(database, "create", "--json", *arguments)
    assert result.exit_code == 0, result.output
    made: dict[str, object] = json.loads(result.stdout)
    return made


def test_a_key_is_shown_once_alone_on_standard_output(database: str) -> None:
    result = keys(database, "create", "--name", "ci", "--scope", "trainer")
    assert result.exit_code == 0
    assert re.fullmatch(r"tamiyo_[A-Za-z0-9_-]{43}\n", result.stdout)
    key = result.stdout.strip()
    audit = json.loads(result.stderr.splitlines()[-1])
    assert (audit["event"], audit["action"], audit["name"]) == ("audit", "key_created", "ci")
    assert key not in result.stderr
    assert key not in keys(database, "list").output
    assert key not in keys(database, "list", "--json").output


def test_keys_are_listed_with_what_they_are_for(database: str) -> None:
    options = ("--prefix", "team-a.", "--prefix", "team-b.", "--expires", "90d")
    made = created(database, "--name", "ci", "--scope", "trainer", *options)
    (line,) = keys(database, "list", "--json").stdout.splitlines()
    listed = json.loads(line)
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["scope"], listed["state"]) == ("trainer", "live")
    assert listed["prefixes"] == ["team-a.", "team-b."]
    assert "hash" not in listed
    table = keys(database, "list").stdout
    assert str(made["key_id"]) in table
    assert "team-a.…" in table


def test_a_key_is_revoked_by_its_id(database: str) -> None:
    made = created(database, "--name", "ci", "--scope", "trainer")
    result = keys(database, "revoke", str(made["key_id"]), "--reason", "left the team")
    assert result.exit_code == 0
    audit = json.loads(result.stderr.splitlines()[-1])
    assert (audit["action"], audit["reason"]) == ("key_revoked", "left the team")
    assert json.loads(keys(database, "list", "--json").stdout)["state"] == "revoked"


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--name", "ci", "--scope", "root"),
        ("create", "--name", "", "--scope", "trainer"),
        ("create", "--name", "ci", "--scope", "trainer", "--prefix", "a/b"),
        ("create", "--name", "ci", "--scope", "trainer", "--expires", "soon"),
        ("create", "--scope", "trainer"),
    ],
)
def test_what_is_mistyped_makes_no_key(database: str, arguments: tuple[str, ...]) -> None:
    assert keys(database, *arguments).exit_code == 2
    assert not database_file(database).exists()


def test_what_cannot_be_done_is_one_line_and_status_1(database: str) -> None:
    for url, arguments in ((database, ("revoke", "k0")), ("nonsense", ("list",))):
        result = keys(url, *arguments)
        assert result.exit_code == 1
        assert result.output.startswith("tamiyo keys ")
        assert "Traceback" not in result.output


def test_commands_and_client_send_the_key_of_the_environment(database: str) -> None:
    made = created(database, "--name", "ann", "--scope", "operator")
    key = str(made["key"])
    with running_service(Settings(auth="required"), store=SqlStore(database)) as url:
        httpx.put(f"{url}/runs/alpha", headers={"authorization": f"Bearer {key}"}).raise_for_status()
        runner = CliRunner()
        for command in (["runs"], ["show", "alpha"], ["hold", "alpha", "--reason", "why"], ["note", "alpha"]):
            told = runner.invoke(app, [*command, "--url", url], env={"TAMIYO_API_KEY": key})
            assert told.exit_code == 0, told.output
            refused = runner.invoke(app, [*command, "--url", url], env={"TAMIYO_API_KEY": "tamiyo_nonsense"})
            assert refused.exit_code == 1
            assert len(refused.output.splitlines()) == 1
            assert "tamiyo_nonsense" not in refused.output
        with TamiyoClient(url, api_key=key) as client:
            assert client.get_run("alpha").run_id == "alpha"
        with TamiyoClient(url, api_key="tamiyo_nonsense") as client:
            with pytest.raises(UnauthorizedError) as error:
                client.get_run("alpha")
            assert "nonsense" not in f"{error.value!r} {error.value.problem!r} {client!r}"


def test_what_no_key_can_be_is_not_sent() -> None:
    result = CliRunner().invoke(app, ["show", "alpha"], env={"TAMIYO_API_KEY": "schlüssel\n1"})
    assert result.exit_code == 1
    assert "TAMIYO_API_KEY is no key" in result.output
    assert "schl" not in result.output


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "k0")])
def test_looking_for_keys_makes_no_database(database: str, arguments: tuple[str, ...]) -> None:
    file = database_file(database)
    result = keys(database, *arguments)
    assert result.exit_code == 1
    what = "there is no such database; name it with --database-url"
    assert result.output == f"tamiyo keys {arguments[0]}: {database}: {what}\n"
    assert not file.exists()


def test_a_database_without_tables_is_left_as_it_is(database: str) -> None:
    database_file(database).touch()
    result = keys(database, "list")
    assert result.exit_code == 1
    assert "it has no tables of Tamiyo; name it with --database-url" in result.output
    assert database_file(database).stat().st_size == 0


@pytest.mark.parametrize(
    "arguments", [("list",), ("revoke", "k0"), ("create", "--name", "ci", "--scope", "trainer")]
)
def test_a_database_of_an_older_version_is_left_as_it_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = Path(shutil.copy(OLDER, tmp_path))
    before = file.read_bytes()
    result = keys(f"sqlite:///{file}", *arguments)
    assert result.exit_code == 1
    assert "another version of Tamiyo (0001, not " in result.output
    assert result.output.endswith("use that version, or bring them up to date with `tamiyo migrate`\n")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("prune", "--dry-run", "--silent-for", "30d"), ("doctor",)]
)
def test_a_place_that_cannot_be_looked_at_is_told_of(tmp_path: Path, command: tuple[str, ...]) -> None:
    url = f"sqlite:///{tmp_path / ('a' * 300)}"
    result = CliRunner().invoke(app, command, env={"TAMIYO_DATABASE_URL": url, "COLUMNS": "2000"})
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert "it cannot be opened ([Errno 36] File name too long" in result.output


def test_a_first_key_makes_the_database_and_says_so(database: str) -> None:
    first = keys(database, "create", "--name", "ci", "--scope", "trainer")
    told = f"tamiyo keys create: {database}: there is no such database; it is made now"
    assert first.stderr.splitlines()[0] == told
    assert len(first.stdout.splitlines()) == 1
    assert "made now" not in keys(database, "create", "--name", "ci", "--scope", "trainer").stderr
