"""`tamiyo doctor`: what is wrong is found, and what to do is told."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tamiyo_cli import service_checks
from tamiyo_cli.app import app
from tamiyo_cli.findings import Verdict
from tamiyo_models import SHIPPED
from tamiyo_service import Settings
from tamiyo_service.store import SqlStore, prepare_database
from tamiyo_service.store.migrate import REVISION
from tamiyo_service.testing import running_service
from typer.testing import CliRunner

FIXTURE = Path(__file__).parents[1] / "fixtures" / "tamiyo-0.1.0.db"
NOWHERE = "http://127.0.0.1:9"


def examine(*arguments: str, **environment: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The status, and the findings by check."""
    result = CliRunner().invoke(app, ["doctor", "--json", *arguments], env={"COLUMNS": "200"} | environment)
    findings: dict[str, list[dict[str, Any]]] = {}
    for line in result.stdout.splitlines():
        finding = json.loads(line)
        findings.setdefault(finding["check"], []).append(finding)
    return result.exit_code, findings


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database that is up to date."""
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    prepare_database(url)
    return url


def test_a_sound_installation_passes(database: str, told: str) -> None:
    code, findings = examine("--database-url", database, "--url", told)
    assert code == 0
    here = ("configuration", "store", "disk", "models", "device")
    checks = (*here, "service", "clock", "readiness", "access")
    assert {check: findings[check][0]["verdict"] for check in checks} == dict.fromkeys(checks, "ok")


def test_people_get_a_table(database: str) -> None:
    result = CliRunner().invoke(app, ["doctor", "--database-url", database], env={"COLUMNS": "200"})
    assert "configuration" in result.stdout
    assert "what to do" in result.stdout


def test_settings_that_cannot_be_used_fail_with_their_names() -> None:
    code, findings = examine(TAMIYO_PORT="many", TAMIYO_PROT="1")
    assert code == 1
    told = [(one["verdict"], one["detail"].split(":")[0], one["remedy"]) for one in findings["configuration"]]
    assert ("failed", "TAMIYO_PORT", "correct it; see docs/settings.md") in told
    assert ("warning", "TAMIYO_PROT is no setting", "did you mean TAMIYO_PORT?") in told


def test_a_certificate_that_cannot_be_used_fails(database: str, tmp_path: Path) -> None:
    certificate = str(tmp_path / "absent.pem")
    code, findings = examine("--database-url", database, TAMIYO_TLS_CERTFILE=certificate)
    assert code == 1
    assert "TAMIYO_TLS_CERTFILE" in findings["configuration"][0]["remedy"]


def test_an_older_database_is_told_what_an_upgrade_does_and_is_left_alone(tmp_path: Path) -> None:
    file = Path(shutil.copy(FIXTURE, tmp_path / "old.db"))
    before = file.read_bytes()
    code, findings = examine("--database-url", f"sqlite:///{file}")
    assert code == 0
    assert findings["store"][0]["verdict"] == "warning"
    assert "upgrades it to" in findings["store"][0]["detail"]
    steps = [step["detail"].split(": ")[0] for step in findings["upgrade"]]
    assert steps == [f"{number:04}" for number in range(2, int(REVISION) + 1)]
    assert findings["upgrade"][0]["detail"].startswith("0002: Indices for the lists")
    assert "backup" in findings["store"][0]["remedy"]
    assert file.read_bytes() == before


def test_a_service_that_nobody_can_call_is_told_of(database: str) -> None:
    required = {"TAMIYO_AUTH": "required"}
    _, findings = examine("--database-url", database, **required)
    (finding,) = findings["keys"]
    assert finding["verdict"] == "warning"
    named = ["--name", "NAME", "--scope", "admin", "--database-url", database]
    assert finding["remedy"] == f"make one: tamiyo keys create {' '.join(named)}"
    assert CliRunner().invoke(app, ["keys", "create", *named]).exit_code == 0
    _, findings = examine("--database-url", database, **required)
    assert findings["keys"][0]["verdict"] == "ok"


def test_where_no_keys_are_asked_for_that_is_said(database: str) -> None:
    _, findings = examine("--database-url", database)
    (finding,) = findings["keys"]
    assert finding["verdict"] == "skipped"
    assert finding["detail"].startswith("by the settings of this environment none are asked for")


def test_a_service_with_keys_is_asked_with_the_key_of_the_environment(database: str) -> None:
    made = ["keys", "create", "--name", "ada", "--scope", "trainer", "--database-url", database]
    key = CliRunner().invoke(app, made).stdout.strip()
    with running_service(Settings(auth="required"), store=SqlStore(database)) as url:
        arguments = ("--database-url", database, "--url", url)
        found = [examine(*arguments, TAMIYO_API_KEY=sent) for sent in (key, "", "tamiyo_nonsense")]
    accesses = [findings["access"][0] for _, findings in found]
    assert [code for code, _ in found] == [0, 0, 1]
    assert [access["verdict"] for access in accesses] == ["ok", "warning", "failed"]
    assert accesses[0]["detail"] == "calls with the key of TAMIYO_API_KEY are answered"
    assert accesses[1]["detail"].startswith("a call without a key is refused: ")
    assert "export TAMIYO_API_KEY=KEY" in accesses[1]["remedy"]
    assert accesses[2]["detail"].startswith("the key of TAMIYO_API_KEY is refused: ")
    assert "nonsense" not in str(accesses)


@pytest.mark.parametrize(
    ("behind", "told", "verdict"),
    [
        (0.0, "agree", Verdict.OK),
        (1.9, "agree", Verdict.OK),
        (4.0, "about 3 s behind", Verdict.OK),
        (-3.0, "about 4 s ahead", Verdict.OK),
        (60.0, "about 59 s behind", Verdict.WARNING),
    ],
)
def test_a_clock_is_compared_as_finely_as_its_header_tells(
    behind: float, told: str, verdict: Verdict
) -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    response = httpx.Response(200, headers={"date": format_datetime(moment, usegmt=True)})
    finding = service_checks.clock(response, moment + timedelta(seconds=behind))
    assert finding.verdict is verdict
    assert told in finding.detail


def test_a_newer_database_fails(database: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tamiyo.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    code, findings = examine("--database-url", database)
    assert code == 1
    assert "newer" in findings["store"][0]["detail"]


def test_what_is_no_database_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, no database " * 50)
    for url in (
        f"sqlite:///{tmp_path / 'notes.db'}",
        f"sqlite:///{tmp_path / 'no' / 'x.db'}",
        "mysql://db/x",
    ):
        code, findings = examine("--database-url", url)
        assert code == 1
        (finding,) = findings["store"]
        assert finding["verdict"] == "failed"
        assert finding["remedy"]


def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    code, findings = examine("--database-url", f"sqlite:///{tmp_path / 'new.db'}")
    assert code == 0
    assert "makes it" in findings["store"][0]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_a_spoiled_model_fails(database: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED / "imitation-cnn", tmp_path / "models" / "mine")) / "1.0.0"
    (folder / "network.pt").write_bytes(b"spoiled")
    code, findings = examine("--database-url", database, TAMIYO_MODELS=str(tmp_path / "models"))
    assert code == 1
    assert any("mine/1.0.0" in one["detail"] for one in findings["models"] if one["verdict"] == "failed")
    assert findings["models folder"][0]["verdict"] == "ok"


def test_folders_that_cannot_be_used_fail(database: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folders = {"TAMIYO_MODELS": str(tmp_path / "none"), "TAMIYO_ARCHIVE": str(tmp_path / "file" / "archive")}
    code, findings = examine("--database-url", database, **folders)
    assert code == 1
    assert findings["models folder"][0]["verdict"] == "failed"
    assert findings["archive"][0]["verdict"] == "failed"


def test_a_service_that_should_be_there_and_is_not_fails(database: str) -> None:
    code, findings = examine("--database-url", database, "--url", NOWHERE)
    assert code == 1
    assert findings["service"][0]["verdict"] == "failed"
    assert "tamiyo serve" in findings["service"][0]["remedy"]


@pytest.mark.parametrize(
    ("url", "detail", "remedy"),
    [
        (NOWHERE, f"{NOWHERE} does not answer: nothing listens there", "start it (tamiyo serve)"),
        (
            "postgresql://ada:secret@db/tamiyo",
            "'postgresql://***' is no address of a service",
            "--url or TAMIYO_URL names one",
        ),
        ("http://ada:secret@db", "the address has a password in it", "export TAMIYO_API_KEY=KEY"),
    ],
)
def test_why_a_service_cannot_be_asked_is_told_without_a_password(url: str, detail: str, remedy: str) -> None:
    (finding,) = service_checks.service_findings(url, expected=True)
    assert (finding.verdict, finding.detail) == (Verdict.FAILED, detail)
    assert finding.remedy.startswith(remedy)
    assert "secret" not in str(finding)
    (finding,) = service_checks.service_findings(url, expected=False)
    assert (finding.verdict, finding.detail) == (
        Verdict.SKIPPED,
        f"{detail}; name one with --url to have it checked",
    )


def test_no_service_is_no_fault_where_none_was_named() -> None:
    (finding,) = service_checks.service_findings(NOWHERE, expected=False)
    assert finding.verdict is Verdict.SKIPPED
