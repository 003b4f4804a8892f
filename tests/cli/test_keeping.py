"""`tamiyo prune` and `tamiyo backup` as a user types them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tamiyo_cli.app import app
from tamiyo_service.store import SqlStore
from tamiyo_service.store.rows import RunRow
from typer.testing import CliRunner

from tests.service.clocks import SteppingClock
from tests.service.retained import archived, make_run


def invoke(*arguments: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"} | environment)
    return result.exit_code, result.output


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database whose run `old` was completed 40 days ago, `silent` is silent since then, `young` is not."""
    url = f"sqlite:///{tmp_path / 'tamiyo.db'}"

    async def fill() -> None:
        store, clock = SqlStore(url), SteppingClock()
        await store.open()
        clock.now = datetime.now(UTC) - timedelta(days=40)
        await make_run(store, clock, "old", done=True)
        await make_run(store, clock, "silent", epochs=5)
        clock.now = datetime.now(UTC)
        await make_run(store, clock, "young")
        await store.close()

    asyncio.run(fill())
    return url


def there(url: str) -> list[str]:
    """The runs that are left."""

    async def look() -> list[RunRow | None]:
        store = SqlStore(url)
        await store.open()
        rows = [await store.run(name) for name in ("old", "silent", "young")]
        await store.close()
        return rows

    return [row.run_id for row in asyncio.run(look()) if row is not None]


def test_a_dry_run_lists_what_would_go_and_changes_nothing(url: str) -> None:
    arguments = ("prune", "--completed-for", "30d", "--silent-for", "30d", "--database-url", url, "--dry-run")
    code, output = invoke(*arguments)
    assert code == 0
    assert [line.split("  ")[:3] for line in output.splitlines()] == [
        ["old", "COMPLETED", "4 inputs"],
        ["silent", "ACTIVE", "5 inputs"],
    ]
    code, output = invoke(*arguments, "--json")
    listed = [json.loads(line) for line in output.splitlines()]
    assert [(run["run_id"], run["inputs"]) for run in listed] == [("old", 4), ("silent", 5)]
    assert there(url) == ["old", "silent", "young"]


def test_what_has_expired_goes_and_nothing_else(url: str) -> None:
    code, output = invoke("prune", "--completed-for", "30d", "--database-url", url)
    assert code == 0
    assert output.startswith("1 runs with 4 inputs deleted; ")
    assert there(url) == ["silent", "young"]


def test_the_rules_of_the_settings_hold_unless_others_are_given(url: str) -> None:
    environment = {"TAMIYO_DATABASE_URL": url, "TAMIYO_RETENTION": "30d"}
    assert invoke("prune", "--silent-for", "30d", **environment)[0] == 0
    assert there(url) == ["old", "young"]
    assert invoke("prune", **environment)[0] == 0
    assert there(url) == ["young"]


@pytest.mark.parametrize("by_setting", [True, False])
def test_runs_are_archived_first(url: str, tmp_path: Path, by_setting: bool) -> None:
    folder = tmp_path / "archive"
    options = () if by_setting else ("--archive", str(folder))
    environment = {"TAMIYO_ARCHIVE": str(folder)} if by_setting else {}
    code, output = invoke(
        "prune", "--silent-for", "P30D", "--database-url", url, "--json", *options, **environment
    )
    assert code == 0
    told = json.loads(output)
    assert (told["runs"], told["inputs"], told["spared"]) == (1, 5, 0)
    assert told["archived_bytes"] > 0
    assert [row["run_id"] for row in archived(folder, "runs")] == ["silent"]
    assert there(url) == ["old", "young"]


def test_an_sqlite_file_is_made_smaller(url: str) -> None:
    arguments = ("prune", "--silent-for", "30d", "--database-url", url, "--vacuum")
    code, output = invoke(*arguments, "--json")
    assert code == 0
    assert json.loads(output)["bytes_after"] <= json.loads(output)["bytes_before"]
    code, output = invoke(*arguments)
    assert "the database went from" in output


def test_what_cannot_be_vacuumed_is_refused_before_anything_is_deleted() -> None:
    nowhere = "postgresql://tamiyo@127.0.0.1:9/tamiyo"
    code, output = invoke("prune", "--silent-for", "30d", "--database-url", nowhere, "--vacuum")
    assert code == 1
    assert "only SQLite files are vacuumed" in output
    assert "leave --vacuum out" in output


def test_pruning_says_what_is_missing() -> None:
    code, output = invoke("prune")
    assert code == 2
    assert "--completed-for 90d" in output
    code, output = invoke("prune", "--silent-for", "30")
    assert code == 2
    assert "--silent-for" in output
    assert "12h" in output
    code, output = invoke("prune", TAMIYO_RETENTION="soon")
    assert code == 2
    assert "TAMIYO_RETENTION" in output


def test_what_cannot_be_pruned_is_one_line_and_status_1(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options in (
        ("--database-url", f"sqlite:///{tmp_path / 'none.db'}"),
        ("--database-url", "mysql://db/tamiyo"),
        ("--database-url", url, "--archive", str(tmp_path / "file" / "archive")),
    ):
        code, output = invoke("prune", "--silent-for", "30d", *options)
        assert code == 1, output
        assert output.startswith("tamiyo prune: ")
        assert len(output.splitlines()) == 1
    assert there(url) == ["old", "silent", "young"]


def test_a_backup_says_what_is_in_it(url: str, tmp_path: Path) -> None:
    code, output = invoke("backup", str(tmp_path / "copy.db"), "--database-url", url, "--json")
    assert code == 0
    told = json.loads(output)
    assert (told["runs"], told["decisions"]) == (3, 11)
    assert told["size_bytes"] == (tmp_path / "copy.db").stat().st_size
    assert there(f"sqlite:///{tmp_path / 'copy.db'}") == ["old", "silent", "young"]


def test_a_backup_replaces_a_file_only_by_force(url: str, tmp_path: Path) -> None:
    arguments = ("backup", str(tmp_path / "copy.db"))
    environment = {"TAMIYO_DATABASE_URL": url}
    assert invoke(*arguments, **environment)[0] == 0
    code, output = invoke(*arguments, **environment)
    assert code == 1
    assert "--force" in output
    assert len(output.splitlines()) == 1
    code, output = invoke(*arguments, "--force", **environment)
    assert code == 0
    assert "3 runs, 11 decisions" in output


def test_a_backup_of_postgresql_is_left_to_its_own_tool(tmp_path: Path) -> None:
    code, output = invoke("backup", str(tmp_path / "copy.db"), "--database-url", "postgresql://db/tamiyo")
    assert code == 1
    assert "pg_dump" in output
